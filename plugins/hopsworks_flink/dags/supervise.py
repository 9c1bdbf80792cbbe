"""## Supervise a pipeline's streaming job

Every five minutes the job gets one verdict: **healthy**, **degraded** (a warning in the log), **sick**, **missing** or
**duplicated**. The last three fail the task, with the reasons. With `supervision: {policy: redeploy}` in the pipeline
file they start `<pipeline>__deploy` instead, where that can help: at most `max_attempts` times within `attempt_window`,
and never while a deployment runs.

With `freshness: 5m` in the pipeline file, `measure_freshness` writes a synthetic event under a reserved key and
measures how long it takes until its features can be read online. If that takes longer than `freshness`, the task fails
with the figures (p50 and p99 of a day).

**To look at**: *Streaming features* shows what this DAG finds, for all pipelines.

**Before the first run**: deploy the pipeline, then unpause this DAG.

**When it fails**: the log of `supervise_job` ends with the reasons; docs/runbook.md explains each verdict and reason.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG

from hopsworks_flink.dags.base import as_written, intervals, pipeline_dag
from hopsworks_flink.operators.flink import FlinkSuperviseJobOperator
from hopsworks_flink.operators.freshness import MeasureFreshnessOperator
from hopsworks_flink.operators.trigger_deployment import TriggerDeploymentOperator
from hopsworks_flink.pipeline.spec import Pipeline


def supervise_dag(pipeline: Pipeline, *, deploy_dag_id: str | None = None, **dag_arguments: Any) -> DAG:
    """The DAG that watches a pipeline's job, and deploys it again where the pipeline file says so.

    :param deploy_dag_id: the DAG that deploys the pipeline; None: ``<pipeline>__deploy``.
    :param dag_arguments: of the DAG, over the defaults; ``default_args`` are merged, ``tags`` added.
    """
    deploy_dag_id = deploy_dag_id or f"{pipeline.name}__deploy"
    defaults = {
        "schedule": intervals("*/5 * * * *"),
        "default_args": {"retries": 1, "retry_delay": pendulum.duration(seconds=20)},
    }
    # Relative to where Airflow is served, which a link in this file's text would not be in the documentation.
    doc = (__doc__ or "").replace("*Streaming features*", "[Streaming features](streaming-features/)")
    with pipeline_dag(pipeline, "supervise", doc, ["flink"], defaults, dag_arguments) as dag:
        supervise_job = FlinkSuperviseJobOperator(
            task_id="supervise_job",
            pipeline=as_written(pipeline.to_dict()),
            deploy_dag_id=deploy_dag_id,
        )
        if pipeline.supervision.policy == "redeploy":
            redeploy = TriggerDeploymentOperator(
                task_id="redeploy",
                decision="{{ ti.xcom_pull(task_ids='supervise_job') | tojson }}",
                trigger_dag_id=deploy_dag_id,
            )
            supervise_job >> redeploy
        if pipeline.freshness is not None:
            MeasureFreshnessOperator(
                task_id="measure_freshness",
                pipeline=as_written(pipeline.to_dict()),
                deploy_dag_id=deploy_dag_id,
            )
    return dag
