"""## Bring features into the offline store

Every ten minutes each feature group of the pipeline is materialized: the rows that its topic has received since the
last run are upserted into the offline table. The result of each task says how many rows that were.

**Before the first run**: deploy the pipeline, then unpause this DAG.

**To run it again**: trigger the DAG, or clear a task. A materialization continues from its own offsets and upserts by
key and event time, so a repeated one does no harm.

**When it fails**: the task's log ends with the log of the Hopsworks execution, and the task links to it.
"""

from __future__ import annotations

from pathlib import Path

import pendulum
from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from hopsworks_flink.assets import feature_group_asset
from hopsworks_flink.operators.hopsworks import HopsworksMaterializeFeatureGroupOperator
from hopsworks_flink.pipeline.catalog import load_pipelines

for pipeline in load_pipelines(Path(__file__).parent / "pipelines").pipelines:
    offline_groups = [group for group in pipeline.feature_groups if group.offline]
    if not offline_groups:
        continue
    with DAG(
        dag_id=f"{pipeline.name}__offline_backfill",
        description=pipeline.description or None,
        doc_md=__doc__,
        # A plain cron string would give data intervals of zero length.
        schedule=CronDataIntervalTimetable("*/10 * * * *", timezone="UTC"),
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=True,
        default_args={
            "owner": "feature-platform",
            "retries": 2,
            "retry_delay": pendulum.duration(seconds=30),
            "retry_exponential_backoff": True,
            "max_retry_delay": pendulum.duration(minutes=10),
        },
        tags=["hopsworks", "offline", pipeline.name],
    ):
        for group in offline_groups:
            HopsworksMaterializeFeatureGroupOperator(
                task_id=f"materialize_{group.full_name}",
                name=group.name,
                version=group.version,
                deferrable=True,
                outlets=[feature_group_asset(group.name, group.version)],
                # Runs of a backfill do not count against max_active_runs; two materializations must not overlap.
                max_active_tis_per_dag=1,
            )
