"""## Simulate events

Writes synthetic events into the pipeline's source topic, with a Flink job of its own that ends by itself. For
demonstrations, load tests and as a canary; the same seed gives the same events.

Event time begins where the topic ends (at most three hours ago) and runs as fast as it must to reach the present
with the last event: late events would be dropped, and Kafka refuses those from the future.

**Needs** the topic: deploy the pipeline first.
"""

from __future__ import annotations

from pathlib import Path

import pendulum
from airflow.sdk import DAG, Param

from hopsworks_flink.operators.simulate import FlinkSimulateEventsOperator
from hopsworks_flink.pipeline.catalog import load_pipelines
from hopsworks_flink.pipeline.times import ISO_TIME

PARAMS = {
    "events": Param(10_000, type="integer", minimum=1, maximum=100_000_000, title="Events"),
    "rate": Param(1_000, type="integer", minimum=1, maximum=1_000_000, title="Events a second"),
    "cards": Param(100, type="integer", minimum=1, maximum=100_000_000, title="Keys", description="e.g. credit cards"),
    "seed": Param(1, type="integer", minimum=0, maximum=1_000_000_000, title="Seed"),
    "disorder": Param(
        3.0,
        type="number",
        minimum=0,
        maximum=86_400,
        title="Disorder",
        description="seconds of event time",
        section="Advanced",
    ),
    "skew": Param(
        1.0,
        type="number",
        minimum=0.1,
        maximum=100,
        title="Skew",
        description="1 is even, 3 favours few keys",
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
        title="Seconds of event time in a second",
        section="Advanced",
    ),
}

for pipeline in load_pipelines(Path(__file__).parent / "pipelines").pipelines:
    with DAG(
        dag_id=f"{pipeline.name}__simulate",
        description=pipeline.description or None,
        doc_md=__doc__,
        schedule=None,
        start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=1,
        # So that empty fields of the form arrive as None and not as the text "None".
        render_template_as_native_obj=True,
        params=PARAMS,
        default_args={"owner": "feature-platform"},
        tags=["hopsworks", "flink", "simulation", pipeline.name],
    ):
        FlinkSimulateEventsOperator(
            task_id="simulate_events",
            pipeline=pipeline.to_dict(),
            deferrable=True,
            **{name: f"{{{{ params.{name} }}}}" for name in PARAMS},
        )
