"""One DAG ``<pipeline>__audit`` for each file in pipelines/."""

from pathlib import Path

# Airflow reads a DAG file only if the words "airflow" and "dag" stand in it.
from hopsworks_flink.dags import audit_dag
from hopsworks_flink.pipeline.catalog import load_pipelines

for pipeline in load_pipelines(Path(__file__).parent / "pipelines").pipelines:
    audit_dag(pipeline)
