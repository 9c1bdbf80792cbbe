"""## Supervise a pipeline's streaming job

Every five minutes the job gets one verdict: **healthy**, **degraded** (a warning in the log), **sick**, **missing** or
**duplicated**. The last three fail the task, with the reasons. With `supervision: {policy: redeploy}` in the pipeline
file they start `<pipeline>__deploy` instead, where that can help: at most `max_attempts` times within `attempt_window`,
and never while a deployment runs.

With `freshness: 5m` in the pipeline file, `measure_freshness` writes a synthetic event under a reserved key and
measures how long it takes until its features can be read online. If that takes longer than `freshness`, the task fails
with the figures (p50 and p99 of a day).

**Before the first run**: deploy the pipeline, then unpause this DAG.

**When it fails**: the log of `supervise_job` ends with the reasons; docs/runbook.md explains each verdict and reason.
"""

from __future__ import annotations

from pathlib import Path

import pendulum
from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from hopsworks_flink.operators.flink import FlinkSuperviseJobOperator
from hopsworks_flink.operators.freshness import MeasureFreshnessOperator
from hopsworks_flink.operators.trigger_deployment import TriggerDeploymentOperator
from hopsworks_flink.pipeline.catalog import load_pipelines

for pipeline in load_pipelines(Path(__file__).parent / "pipelines").pipelines:
    with DAG(
        dag_id=f"{pipeline.name}__supervise",
        description=pipeline.description or None,
        doc_md=__doc__,
        schedule=CronDataIntervalTimetable("*/5 * * * *", timezone="UTC"),
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=True,
        default_args={"owner": "feature-platform", "retries": 1, "retry_delay": pendulum.duration(seconds=20)},
        tags=["hopsworks", "flink", pipeline.name],
    ):
        supervise_job = FlinkSuperviseJobOperator(
            task_id="supervise_job",
            pipeline=pipeline.to_dict(),
            deploy_dag_id=f"{pipeline.name}__deploy",
        )
        if pipeline.supervision.policy == "redeploy":
            redeploy = TriggerDeploymentOperator(
                task_id="redeploy",
                decision="{{ ti.xcom_pull(task_ids='supervise_job') | tojson }}",
                trigger_dag_id=f"{pipeline.name}__deploy",
            )
            supervise_job >> redeploy
        if pipeline.freshness is not None:
            MeasureFreshnessOperator(
                task_id="measure_freshness",
                pipeline=pipeline.to_dict(),
                deploy_dag_id=f"{pipeline.name}__deploy",
            )
