"""What the platform knows: feature groups, schemas, topics; how records on a topic are read."""
