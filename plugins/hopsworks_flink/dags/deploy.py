"""## Deploy a feature pipeline

Creates what the pipeline file describes and starts its streaming job. If all of that exists and the job is healthy, a
run changes nothing.

**What it does**: creates the source topic with its schema and the feature groups (in parallel), then deploys the Flink
job.

**When the file adds features to a feature group**: `deploy_streaming_job` materializes the group's rows, stops the job,
materializes what it wrote last, appends the features, and starts the new job with a rewarm. No row is lost. Any other
change of a registered feature group is refused: raise its version.

**When the file changed**: the running job is stopped with a savepoint. With *state* = `auto` the new job continues from
it where its state still means the same. Otherwise it rewarms: it reads again what the open windows need, and every
value is exact. With `fresh` it begins without state, at `source.start`. If the new job does not become healthy, the
previous one is brought back and the task fails.

**Where it waits**: with `deploy_dag(…, approve=["rewarm", "fresh", "feature_group"])` in the DAG file, a person
approves a deployment that leaves the job's state behind or changes a feature group, under *Required Actions*.
Rejected, nothing is touched.

**When it fails**: the log of the failed task says what is wrong and what to do. Then clear the task, or trigger the DAG
again. A repeated deployment finds the job that an interrupted one has started; it never starts a second one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import DAG

from hopsworks_flink.assets import feature_group_asset, flink_job_asset, topic_asset
from hopsworks_flink.dags.base import RETRY_DELAY, as_written, field, number_field, pipeline_dag, text_field
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator, HopsworksCreateTopicOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_topic_arguments
from hopsworks_flink.pipeline.spec import MOST_PARALLEL, Pipeline
from hopsworks_flink.pipeline.sql.late import late_topic_arguments
from hopsworks_flink.pipeline.sql.quarantine import quarantine_topic_arguments
from hopsworks_flink.pipeline.times import ZONED_TIME
from hopsworks_flink.tasks.arguments import one_of

PARAMS = {
    "state": field(
        "auto",
        enum=["auto", "restore", "rewarm", "fresh"],
        title="State",
        description="auto: continue from the previous job's state where it still means the same, else rewarm. restore: "
        "continue from it, or refuse. rewarm: leave it behind, but read again what the open windows need (exact after "
        "any change of the file). fresh: begin without state.",
    ),
    "rewarm_from": text_field(
        ZONED_TIME,
        "a time with zone such as 2025-03-01T12:00:00Z",
        title="Rewarm from",
        description="For a rewarm when Flink no longer knows the previous job's watermark: the end of a window that "
        "has been emitted, best the last one. ISO time with zone, or epoch milliseconds.",
        section="Flink",
    ),
    "savepoint_path": text_field(
        r"^(([a-zA-Z][a-zA-Z0-9+.-]*:)?/\S+)?$",
        "a path such as s3://bucket/savepoints/savepoint-1a2b3c",
        title="Savepoint path",
        description="Start from this savepoint or retained checkpoint and from no other.",
        section="Flink",
    ),
    "parallelism": number_field(
        None,
        1,
        MOST_PARALLEL,
        whole=True,
        title="Parallelism",
        description="Of the job, whose state it keeps. Empty: as the pipeline file says.",
        section="Flink",
    ),
}


def deploy_dag(
    pipeline: Pipeline,
    *,
    approve: Sequence[str] = (),
    approval: Mapping[str, Any] | None = None,
    **dag_arguments: Any,
) -> DAG:
    """The DAG that creates what a pipeline needs and starts its job.

    :param approve: what a person has to approve before anything is touched: ``rewarm``, ``fresh``, ``feature_group``
        (see :class:`~hopsworks_flink.operators.approve_deployment.ApproveDeploymentOperator`). Airflow 3.1 or newer.
    :param approval: other arguments of that task, such as ``notifiers`` or ``response_timeout``.
    :param dag_arguments: of the DAG, over the defaults; ``default_args`` are merged, ``tags`` added.
    """
    defaults = {"schedule": None, "params": PARAMS, "default_args": {"retries": 1, "retry_delay": RETRY_DELAY}}
    with pipeline_dag(pipeline, "deploy", __doc__, ["flink"], defaults, dag_arguments) as dag:
        create_topic = HopsworksCreateTopicOperator(
            task_id="create_source_topic", **_texts_as_written(source_topic_arguments(pipeline))
        )
        create_feature_groups = [
            HopsworksCreateFeatureGroupOperator(
                task_id=f"create_{group.full_name}",
                # deploy_streaming_job appends new features while the job is stopped.
                on_drift="append_later",
                **_texts_as_written(feature_group_arguments(pipeline, group)),
            )
            for group in pipeline.feature_groups
        ]
        deploy_job = FlinkDeployFeaturePipelineOperator(
            task_id="deploy_streaming_job",
            pipeline=as_written(pipeline.to_dict()),
            parallelism="{{ params.parallelism or '' }}",
            state="{{ params.state }}",
            rewarm_from="{{ params.rewarm_from or '' }}",
            savepoint_path="{{ params.savepoint_path or '' }}",
            on_drift="append",
            # The first is the deployment's record: the last healthy job and its state, for when the JobManager has
            # lost them.
            outlets=[
                flink_job_asset(pipeline.job_name),
                *(feature_group_asset(group.name, group.version) for group in pipeline.feature_groups),
            ],
            # Before Airflow 3.3 the record is kept in the asset's events, and a task can read those of its inlets only.
            inlets=[flink_job_asset(pipeline.job_name), topic_asset(pipeline.source.topic)],
        )

        first = [create_topic, *create_feature_groups]
        first >> deploy_job
        if pipeline.late_topic:
            create_late_topic = HopsworksCreateTopicOperator(
                task_id="create_late_topic", **_texts_as_written(late_topic_arguments(pipeline))
            )
            create_late_topic >> deploy_job
            first.append(create_late_topic)
        if pipeline.quarantine_topic:
            create_quarantine_topic = HopsworksCreateTopicOperator(
                task_id="create_quarantine_topic", **_texts_as_written(quarantine_topic_arguments(pipeline))
            )
            create_quarantine_topic >> deploy_job
            first.append(create_quarantine_topic)
        if approve:
            # Only for it: a DAG without approvals parses as fast as before.
            from hopsworks_flink.operators.approve_deployment import ApproveDeploymentOperator
            from hopsworks_flink.tasks.planning import APPROVABLE

            approve_deployment = ApproveDeploymentOperator(
                **{
                    "task_id": "approve_deployment",
                    "pipeline": as_written(pipeline.to_dict()),
                    "approve": [one_of(name, "approve", APPROVABLE) for name in approve],
                    "parallelism": "{{ params.parallelism or '' }}",
                    "state": "{{ params.state }}",
                    "rewarm_from": "{{ params.rewarm_from or '' }}",
                    "savepoint_path": "{{ params.savepoint_path or '' }}",
                    **(approval or {}),
                }
            )
            approve_deployment >> first
    return dag


def _texts_as_written(arguments: Mapping[str, Any]) -> dict[str, Any]:
    # Names are left as they are: their letters make no template.
    free = {name for name, value in arguments.items() if name == "description" or isinstance(value, (dict, list))}
    return {name: as_written(value) if name in free else value for name, value in arguments.items()}
