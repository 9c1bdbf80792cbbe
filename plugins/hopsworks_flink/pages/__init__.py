"""The status page "Streaming features" in Airflow's UI: what supervision has collected, as HTML."""
