"""## Take a feature pipeline out of service

Stops the pipeline's streaming job. Everything else stays, unless the form names it.

**What it does**: stops the job with a savepoint, from which the next `<pipeline>__deploy` continues as long as the
topic and the state still mean the same. `<pipeline>__supervise` then skips its runs until it is deployed again.

**To delete as well**: choose the feature groups and topics in the form, each by its name. A feature group goes with its
online rows and its offline table, a topic with its records; other pipelines or models that use them lose them. None of
that can be undone. It happens after the job was stopped, and not at all if that fails.

**For good**: remove the pipeline's file afterwards; its DAGs go with it.

**When it fails**: the log of the failed task says what is wrong; while a deployment runs, nothing is stopped. Clear it:
what is stopped and deleted already is passed over.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from hopsworks_flink.dags.base import RETRY_DELAY, field, pipeline_dag
from hopsworks_flink.operators.flink import FlinkUndeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import HopsworksDeleteOperator
from hopsworks_flink.pipeline.spec import Pipeline


def undeploy_dag(pipeline: Pipeline, *, deploy_dag_id: str | None = None, **dag_arguments: Any) -> DAG:
    """The DAG that stops a pipeline's job, and deletes what its form names.

    :param deploy_dag_id: the DAG that deploys the pipeline; None: ``<pipeline>__deploy``.
    :param dag_arguments: of the DAG, over the defaults; ``default_args`` are merged, ``tags`` added.
    """
    groups = [group.full_name for group in pipeline.feature_groups]
    possible = [pipeline.source.topic, pipeline.late_topic, pipeline.quarantine_topic]
    topics = [topic for topic in possible if topic]
    params = {
        "mode": field(
            "savepoint",
            enum=["savepoint", "drain", "cancel"],
            title="How the job ends",
            description="savepoint: its state is kept for a later deployment. drain: open windows are emitted first, "
            "as if they were complete; a later deployment computes them again. cancel: at once, without state.",
        ),
        "delete_feature_groups": _choice(
            groups, "Feature groups to delete", "with their online rows and offline table"
        ),
        "delete_topics": _choice(topics, "Topics to delete", "with their records"),
    }
    # Native, so that lists of the form arrive as lists.
    defaults = {
        "schedule": None,
        "render_template_as_native_obj": True,
        "params": params,
        "default_args": {"retries": 1, "retry_delay": RETRY_DELAY},
    }
    with pipeline_dag(pipeline, "undeploy", __doc__, ["flink"], defaults, dag_arguments) as dag:
        stop_job = FlinkUndeployFeaturePipelineOperator(
            task_id="stop_streaming_job",
            job_name=pipeline.job_name,
            mode="{{ params.mode }}",
            deploy_dag_id=deploy_dag_id or f"{pipeline.name}__deploy",
        )
        delete = HopsworksDeleteOperator(
            task_id="delete_what_was_named",
            feature_groups="{{ params.delete_feature_groups }}",
            topics="{{ params.delete_topics }}",
        )
        stop_job >> delete
    return dag


def _choice(names: list[str], title: str, description: str) -> Param:
    return field(
        [],
        type="array",
        items={"type": "string", "enum": names},
        uniqueItems=True,
        examples=names,
        title=title,
        description=description,
    )
