"""## Bring features into the offline store

Every ten minutes each feature group of the pipeline is materialized: the rows that its topic has received since the
last run are upserted into the offline table. The result of each task says how many rows that were.

**Before the first run**: deploy the pipeline, then unpause this DAG.

**To run it again**: trigger the DAG, or clear a task. A materialization continues from its own offsets and upserts by
key and event time, so a repeated one does no harm.

**When it fails**: the task's log ends with the log of the Hopsworks execution, and the task links to it.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG

from hopsworks_flink.dags.base import RETRY_DELAY, intervals, materialize_task, pipeline_dag
from hopsworks_flink.pipeline.spec import Pipeline


def offline_backfill_dag(pipeline: Pipeline, **dag_arguments: Any) -> DAG | None:
    """The DAG that materializes a pipeline's feature groups; None if none of them has an offline table.

    :param dag_arguments: of the DAG, over the defaults; ``default_args`` are merged, ``tags`` added.
    """
    groups = [group for group in pipeline.feature_groups if group.offline]
    if not groups:
        return None
    defaults = {
        "schedule": intervals("*/10 * * * *"),
        "default_args": {
            "retries": 2,
            "retry_delay": RETRY_DELAY,
            "retry_exponential_backoff": True,
            "max_retry_delay": pendulum.duration(minutes=10),
        },
    }
    with pipeline_dag(pipeline, "offline_backfill", __doc__, ["offline"], defaults, dag_arguments) as dag:
        for group in groups:
            materialize_task(group)
    return dag
