"""Feature groups as the API manages them: checks, schemas and topics, queries."""
