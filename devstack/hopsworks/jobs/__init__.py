"""Jobs and their executions."""
