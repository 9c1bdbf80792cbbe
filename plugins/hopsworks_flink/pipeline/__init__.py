"""What a pipeline file means, as pure functions: no Airflow, no I/O beyond reading the file itself."""
