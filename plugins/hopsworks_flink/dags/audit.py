"""## Audit a pipeline's values

Every day a sample of keys is drawn, and their values are held against each other: what is online, what is offline, and
what the events in the topic come to when another engine (DuckDB) computes them again. Each difference gets a cause;
docs/explain.md lists them with their remedies.

**When it fails**: a value is other than the pipeline means. The log of `audit_values` names the cause, and the command
that shows the value with its events: `hopsworks-flink explain`. Differences that the pipeline means, such as late
events, are warnings in the log, and counted in the task's XCom.

**Before the first run**: deploy the pipeline and unpause its offline backfill, then unpause this DAG. The worker needs
DuckDB (`pip install duckdb`) and access to the offline store (Arrow Flight).
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG

from hopsworks_flink.dags.base import as_written, intervals, number_field, pipeline_dag, text_field
from hopsworks_flink.operators.audit import AuditFeaturesOperator
from hopsworks_flink.pipeline.spec import Pipeline

PARAMS = {
    # Not "keys": in a template that is a method of all fields.
    "sample": number_field(20, 1, 1_000, title="Keys", description="how many are drawn from the newest events"),
    "settle": text_field(
        r"^(\d+(ms|[dhms]))+$",
        "a duration such as 90m or 1h30m",
        default="1h",
        title="Settle",
        description="how long after its time a row must be in the offline store",
    ),
}


def audit_dag(pipeline: Pipeline, *, deploy_dag_id: str | None = None, **dag_arguments: Any) -> DAG:
    """The DAG that holds a sample of a pipeline's values against their events.

    :param deploy_dag_id: the DAG that deploys the pipeline; None: ``<pipeline>__deploy``.
    :param dag_arguments: of the DAG, over the defaults; ``default_args`` are merged, ``tags`` added.
    """
    defaults = {
        "schedule": intervals("30 4 * * *"),
        "params": PARAMS,
        "default_args": {"retries": 1, "retry_delay": pendulum.duration(minutes=5)},
    }
    with pipeline_dag(pipeline, "audit", __doc__, ["flink", "offline"], defaults, dag_arguments) as dag:
        AuditFeaturesOperator(
            task_id="audit_values",
            pipeline=as_written(pipeline.to_dict()),
            sample="{{ params.sample }}",
            settle="{{ params.settle }}",
            deploy_dag_id=deploy_dag_id or f"{pipeline.name}__deploy",
        )
    return dag
