"""## Deploy a feature pipeline

Brings the platform to what the pipeline's file says, and starts the streaming job if it does not run already.
Running it again changes nothing.

**What it does**: source topic and schema, feature groups (in parallel) → streaming Flink job.

**When a feature group got more features**: the task of the job materializes what the topic holds, stops the job,
materializes the rest, appends the features and starts the new job with a rewarm; no row is lost. Any other change of a
registered group is refused: raise its version.

**When the file changed**: the running job is stopped with a savepoint and its successor continues from there. If
Flink cannot carry the state over (another aggregate, for example), the previous job is brought back and the task
fails; trigger with *state* = `rewarm` then: the new job reads again what the open windows need, and every value is
exact. With `fresh` it reads the topic from its configured start.

**When it fails**: the log of the failed task says what is wrong and what to do; then clear the task or trigger
again. A deployment that was interrupted finds its own job; there is never a second one.
"""

from __future__ import annotations

from pathlib import Path

import pendulum
from airflow.sdk import DAG, Param

from hopsworks_flink.assets import flink_job_asset
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator, HopsworksCreateTopicOperator
from hopsworks_flink.pipeline.catalog import load_pipelines
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_topic_arguments
from hopsworks_flink.pipeline.sql.late import late_topic_arguments
from hopsworks_flink.pipeline.sql.quarantine import quarantine_topic_arguments
from hopsworks_flink.pipeline.times import ZONED_TIME

PARAMS = {
    "state": Param(
        "auto",
        enum=["auto", "restore", "rewarm", "fresh"],
        title="State",
        description="auto: continue from the previous job's state where it still means the same, else rewarm. restore: "
        "continue from it, or refuse. rewarm: leave it behind, but read again what the open windows need (exact after "
        "any change of the file). fresh: leave it behind.",
    ),
    "rewarm_from": Param(
        None,
        type=["null", "string"],
        pattern=ZONED_TIME,
        title="Rewarm from",
        description="For a rewarm after a job that shows no watermark any more: a time at or before the end of "
        "the last window that is out, as ISO time with zone or epoch milliseconds.",
        section="Flink",
    ),
    "savepoint_path": Param(
        None,
        type=["null", "string"],
        pattern=r"^(([a-zA-Z][a-zA-Z0-9+.-]*:)?/\S+)?$",
        title="Savepoint path",
        description="Start from this savepoint or retained checkpoint, whatever else there is.",
        section="Flink",
    ),
    "parallelism": Param(1, type="integer", minimum=1, maximum=256, title="Parallelism", section="Flink"),
}

for pipeline in load_pipelines(Path(__file__).parent / "pipelines").pipelines:
    with DAG(
        dag_id=f"{pipeline.name}__deploy",
        description=pipeline.description or None,
        doc_md=__doc__,
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=1,
        params=PARAMS,
        default_args={"owner": "feature-platform", "retries": 1, "retry_delay": pendulum.duration(seconds=30)},
        tags=["hopsworks", "flink", pipeline.name],
    ):
        create_topic = HopsworksCreateTopicOperator(task_id="create_source_topic", **source_topic_arguments(pipeline))
        create_feature_groups = [
            HopsworksCreateFeatureGroupOperator(
                task_id=f"create_{group.full_name}",
                # New features wait for the moment at which the job rests.
                on_drift="append_later",
                **feature_group_arguments(pipeline, group),
            )
            for group in pipeline.feature_groups
        ]
        deploy_job = FlinkDeployFeaturePipelineOperator(
            task_id="deploy_streaming_job",
            pipeline=pipeline.to_dict(),
            parallelism="{{ params.parallelism }}",
            state="{{ params.state }}",
            rewarm_from="{{ params.rewarm_from or '' }}",
            savepoint_path="{{ params.savepoint_path or '' }}",
            on_drift="append",
            deferrable=True,
            # Remembers what ran healthily last and where its state lies, also when the JobManager has forgotten.
            outlets=[flink_job_asset(pipeline.job_name)],
            # Airflow before 3.3 keeps that in the asset's events, which a task reads of its inlets only.
            inlets=[flink_job_asset(pipeline.job_name)],
        )

        [create_topic, *create_feature_groups] >> deploy_job
        if pipeline.late_topic:
            create_late_topic = HopsworksCreateTopicOperator(
                task_id="create_late_topic", **late_topic_arguments(pipeline)
            )
            create_late_topic >> deploy_job
        if pipeline.quarantine_topic:
            create_quarantine_topic = HopsworksCreateTopicOperator(
                task_id="create_quarantine_topic", **quarantine_topic_arguments(pipeline)
            )
            create_quarantine_topic >> deploy_job
