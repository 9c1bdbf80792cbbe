"""## Recompute features of the past

Computes the features of a past interval again, with the streaming job's SQL in batch mode, and writes them to the
offline store. Use it when the features have changed under a new version, when a feature group is younger than its
events, or when events arrived too late for the stream. What is served online does not change.

**Which interval**: the run's data interval. A manual run takes the last whole day, or *start* and *end* of the form.
For many days: `airflow backfill create --dag-id <this DAG> --from-date 2025-03-01 --to-date 2025-03-31`, or *Backfill*
in the form; the runs follow one after the other. When the DAG is unpaused, it recomputes each day after the day has
ended and its late events have had time to arrive (*arrival margin*).

**To run it again**: trigger the DAG, or clear the run. The same rows are written again; intervals may overlap.

**When it fails**: the log of the failed task says why. If the topic no longer holds the interval's events, the log
names the earliest possible start; for an earlier one give the pipeline a `history` of files.
"""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from typing import Any

from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.sdk import DAG

from hopsworks_flink.assets import flink_job_asset, topic_asset
from hopsworks_flink.dags.base import (
    RETRY_DELAY,
    as_written,
    field,
    intervals,
    materialize_task,
    number_field,
    pipeline_dag,
    text_field,
)
from hopsworks_flink.operators.flink import FlinkRecomputeFeaturesOperator
from hopsworks_flink.pipeline.interval import arrivals_over, refuse_future
from hopsworks_flink.pipeline.recompute import recomputable
from hopsworks_flink.pipeline.spec import MOST_PARALLEL, Pipeline
from hopsworks_flink.pipeline.times import ISO_TIME, as_time
from hopsworks_flink.tasks.context import task_errors

PARAMS = {
    "start": text_field(
        ISO_TIME,
        "a time such as 2025-03-01T12:00:00Z",
        # A hint for the form, which Airflow does not check.
        format="date-time",
        title="Start",
        description="of the interval, in event time; empty: that of the run's data interval",
    ),
    "end": text_field(
        ISO_TIME,
        "a time such as 2025-03-01T12:00:00Z",
        format="date-time",
        title="End",
        description="of the interval, exclusive; empty: that of the run's data interval",
    ),
    "arrival_margin": text_field(
        r"^(\d+(ms|[dhms]))+$",
        "a duration such as 90m or 1h30m",
        default="1h",
        title="Arrival margin",
        description="how long the delivery of an event to the topic may take; a run waits so long, and the "
        "pipeline's max_disorder, after the end of its interval",
    ),
    "allow_deleted": field(
        False,
        type="boolean",
        title="Allow deleted records",
        description="compute although the topic may have lost records that the interval needs, or is compacted",
        section="Advanced",
    ),
    "parallelism": number_field(1, 1, MOST_PARALLEL, title="Parallelism", section="Advanced"),
}


def recompute_dag(pipeline: Pipeline, **dag_arguments: Any) -> DAG | None:
    """The DAG that computes a pipeline's features of the past again; None if no feature group has a past.

    A feature group without event time keeps only the newest row of each key in the offline store.

    :param dag_arguments: of the DAG, over the defaults; ``default_args`` are merged, ``tags`` added.
    """
    groups = recomputable(pipeline)
    if not groups:
        return None
    names = [group.full_name for group in groups]
    defaults = {
        "schedule": intervals("0 0 * * *"),
        # More than one, so that a manual run need not wait for a scheduled one that waits for late events.
        "max_active_runs": 16,
        # So that empty fields of the form arrive as None and not as the text "None".
        "render_template_as_native_obj": True,
        "params": {
            **PARAMS,
            "feature_groups": field(
                names,
                type="array",
                items={"type": "string", "enum": names},
                minItems=1,
                examples=names,
                title="Feature groups",
                section="Advanced",
            ),
        },
        "default_args": {"retries": 1, "retry_delay": RETRY_DELAY},
        "user_defined_macros": {"arrivals_over": partial(_arrivals_over, pipeline)},
    }
    with pipeline_dag(pipeline, "recompute", __doc__, ["flink", "offline"], defaults, dag_arguments) as dag:
        wait = DateTimeSensor(
            task_id="wait_for_late_events",
            # The wait may take hours: it needs no triggerer, and no worker slot between two looks.
            mode="reschedule",
            poke_interval=300,
            target_time="{{ arrivals_over(params.end, params.arrival_margin, data_interval_end | default(none)) }}",
            timeout=30 * 24 * 3600,
        )
        recompute = FlinkRecomputeFeaturesOperator(
            task_id="recompute",
            pipeline=as_written(pipeline.to_dict()),
            start="{{ params.start }}",
            end="{{ params.end }}",
            feature_groups="{{ params.feature_groups }}",
            arrival_margin="{{ params.arrival_margin }}",
            allow_deleted="{{ params.allow_deleted }}",
            parallelism="{{ params.parallelism }}",
            timeout=24 * 3600,
            inlets=[topic_asset(pipeline.source.topic)],
            outlets=[flink_job_asset(f"{pipeline.name}__recompute")],
            # One at a time: the streaming job needs the cluster's slots first.
            max_active_tis_per_dag=1,
        )
        materialize = [materialize_task(group) for group in groups]

        wait >> recompute >> materialize
    return dag


def _arrivals_over(pipeline: Pipeline, end: Any, arrival_margin: Any, data_interval_end: datetime | None) -> str:
    """Until when the first task waits; it is refused here what would be refused when the wait is over."""
    with task_errors():
        # Only an end that somebody wrote: the scheduler's clock has seen the end of a data interval pass.
        if (written := as_time(end, "end")) is not None:
            refuse_future(written, datetime.now(timezone.utc))
        return arrivals_over(end, arrival_margin, pipeline.source.max_disorder, data_interval_end)
