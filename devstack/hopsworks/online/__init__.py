"""The online store and the consumer that fills it."""
