"""Pages for a browser at the server's address: what the API knows, to look at. Nothing is changed here."""
