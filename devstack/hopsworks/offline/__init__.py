"""Materialization: from a topic to the Delta table of a feature group."""
