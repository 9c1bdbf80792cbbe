"""One DAG ``<pipeline>__offline_backfill`` for each file in pipelines/."""

from pathlib import Path

# Airflow reads a DAG file only if the words "airflow" and "dag" stand in it.
from hopsworks_flink.dags import offline_backfill_dag
from hopsworks_flink.pipeline.catalog import load_pipelines

for pipeline in load_pipelines(Path(__file__).parent / "pipelines").pipelines:
    offline_backfill_dag(pipeline)
