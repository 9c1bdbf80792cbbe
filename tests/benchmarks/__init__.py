"""What the compiled pipeline costs, beside Java jobs that do the same work. `make bench` runs it."""
