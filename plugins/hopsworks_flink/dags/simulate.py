"""## Simulate events

A Flink job writes synthetic events into the pipeline's source topic, and ends. For demonstrations and load tests. The
same seed gives the same events.

The first event follows the newest one in the topic (but is at most three hours old), and the last one happens now. In
between, event time runs as much faster than the clock as that takes: older events would be late, and newer ones would
lie in the future.

**Before the first run**: deploy the pipeline, which creates the topic.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from hopsworks_flink.dags.base import pipeline_dag
from hopsworks_flink.operators.simulate import FlinkSimulateEventsOperator
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.times import ISO_TIME

PARAMS = {
    "events": Param(10_000, type="integer", minimum=1, maximum=100_000_000, title="Events"),
    "rate": Param(1_000, type="integer", minimum=1, maximum=1_000_000, title="Events per second"),
    "cards": Param(100, type="integer", minimum=1, maximum=100_000_000, title="Keys", description="e.g. credit cards"),
    "seed": Param(1, type="integer", minimum=0, maximum=1_000_000_000, title="Seed"),
    "disorder": Param(
        3.0,
        type="number",
        minimum=0,
        maximum=86_400,
        title="Disorder",
        description="by how many seconds of event time events may be out of order",
        section="Advanced",
    ),
    "skew": Param(
        1.0,
        type="number",
        minimum=0.1,
        maximum=100,
        title="Skew",
        description="1: all keys get equally many events; 3: a few keys get most",
        section="Advanced",
    ),
    "start": Param(
        None,
        type=["null", "string"],
        # A hint for the form, which Airflow does not check: the pattern is.
        format="date-time",
        pattern=ISO_TIME,
        title="Event time of the first event",
        section="Advanced",
    ),
    "speed_up": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        maximum=1_000_000,
        title="Seconds of event time per second",
        section="Advanced",
    ),
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
            pipeline=pipeline.to_dict(),
            **{name: f"{{{{ params.{name} }}}}" for name in PARAMS},
        )
    return dag
