"""## Simulate events

A Flink job writes synthetic events into the pipeline's source topic, and ends. For demonstrations and load tests. The
same seed gives the same events.

The first event follows the newest one in the topic (but is at most three hours old), and the last one happens now. In
between, event time runs as much faster than the clock as that takes: older events would be late, and newer ones would
lie in the future.

Events are made for Avro and for JSON, with columns of boolean, int, bigint, float, double and string, in JSON also of
decimal and timestamp. Of another pipeline the task says why none can be made.

**Before the first run**: deploy the pipeline, which creates the topic.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from hopsworks_flink.assets import topic_asset
from hopsworks_flink.dags.base import as_written, number_field, pipeline_dag, text_field
from hopsworks_flink.operators.simulate import FlinkSimulateEventsOperator
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.times import ISO_TIME

PARAMS = {
    "events": number_field(10_000, 1, 100_000_000, title="Events"),
    "rate": number_field(1_000, 1, 1_000_000, title="Events per second"),
    "cards": number_field(100, 1, 100_000_000, title="Keys", description="e.g. credit cards"),
    "seed": number_field(1, 0, 1_000_000_000, title="Seed"),
    "disorder": number_field(
        3.0,
        0,
        86_400,
        title="Disorder",
        description="by how many seconds of event time events may be out of order",
        section="Advanced",
    ),
    "skew": number_field(
        1.0,
        0.1,
        100,
        title="Skew",
        description="1: all keys get equally many events; 3: a few keys get most",
        section="Advanced",
    ),
    "start": text_field(
        ISO_TIME,
        "a time such as 2025-03-01T12:00:00Z",
        # A hint for the form, which Airflow does not check.
        format="date-time",
        title="Event time of the first event",
        section="Advanced",
    ),
    "speed_up": number_field(None, 0.001, 1_000_000, title="Seconds of event time per second", section="Advanced"),
}


def simulate_dag(pipeline: Pipeline, **dag_arguments: Any) -> DAG:
    """The DAG that writes synthetic events into a pipeline's source topic.

    :param dag_arguments: of the DAG, over the defaults; ``default_args`` are merged, ``tags`` added.
    """
    # Native, so that empty fields of the form arrive as None and not as the text "None".
    defaults = {"schedule": None, "render_template_as_native_obj": True, "params": PARAMS}
    with pipeline_dag(pipeline, "simulate", __doc__, ["flink", "simulation"], defaults, dag_arguments) as dag:
        FlinkSimulateEventsOperator(
            task_id="simulate_events",
            pipeline=as_written(pipeline.to_dict()),
            outlets=[topic_asset(pipeline.source.topic)],
            **{name: f"{{{{ params.{name} }}}}" for name in PARAMS},
        )
    return dag
