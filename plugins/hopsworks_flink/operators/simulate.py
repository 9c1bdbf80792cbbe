"""Operator that fills a pipeline's source topic with synthetic events."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.files import read_program
from hopsworks_flink.deployment.feature_job import BINDINGS_FILE, PROGRAM
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.kafka_connection import source_kafka
from hopsworks_flink.operators.flink.run import FlinkRunJobOperator
from hopsworks_flink.pipeline.times import as_time
from hopsworks_flink.tasks import lineage
from hopsworks_flink.tasks.arguments import as_float, as_int
from hopsworks_flink.tasks.context import task_errors

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context

_PROGRAM = "transaction_simulator"
# The simulator shares the reading of bindings with the pipeline's runner.
_LIBRARY = PROGRAM


class FlinkSimulateEventsOperator(FlinkRunJobOperator):
    """Writes seeded synthetic events into the source topic of a pipeline, with a Flink job that ends by itself.

    Event time begins where the topic ends, at most three hours ago, and runs as fast as it must to reach the present
    with the last event, unless ``start`` or ``speed_up`` say otherwise. The topic is Avro or JSON; not every type of
    column can be made (:func:`~hopsworks_flink.pipeline.simulation.simulator_arguments`).

    :param pipeline: the pipeline as a mapping, or the path of its file (templated).
    :param events: how many events; default: 10000 (templated).
    :param rate: events a second on the clock; default: 1000 (templated).
    :param cards: how many different keys; default: 100 (templated).
    :param seed: another seed gives other events; default: 1 (templated).
    :param disorder: largest distance of an event's time from its arrival, seconds of event time; default: 3
        (templated).
    :param skew: 1 spreads the events evenly over the keys, larger values favour a few; default: 1 (templated).
    :param start: event time of the first event, ISO 8601, UTC unless it says otherwise; None: where the topic ends, at
        most three hours ago (templated).
    :param speed_up: seconds of event time in a second on the clock; None: as many as it takes to reach the present with
        the last event (templated).
    :param source_kafka_conn_id: Airflow connection of type ``kafka`` for the source topic; None: the feature store's
        own broker (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :param kwargs: other arguments of :class:`FlinkRunJobOperator` except the job's name, program, files and arguments.
    :return: (XCom) as :class:`FlinkRunJobOperator`.
    :raises AirflowFailException: an argument is out of bounds, or the topic does not exist.
    """

    template_fields: Sequence[str] = (
        "pipeline",
        "events",
        "rate",
        "cards",
        "seed",
        "disorder",
        "skew",
        "start",
        "speed_up",
        "source_kafka_conn_id",
        "hopsworks_conn_id",
        "parallelism",
        "flink_configuration",
        "jars",
        "flink_conn_id",
    )

    def __init__(
        self,
        *,
        pipeline: Mapping[str, Any] | str,
        events: int | str = 10_000,
        rate: int | str = 1_000,
        cards: int | str = 100,
        seed: int | str = 1,
        disorder: float | str = 3.0,
        skew: float | str = 1.0,
        start: str | datetime | None = None,
        speed_up: float | str | None = None,
        source_kafka_conn_id: str | None = None,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(job_name="", program=_PROGRAM, **kwargs)
        self.pipeline = pipeline
        self.events = events
        self.rate = rate
        self.cards = cards
        self.seed = seed
        self.disorder = disorder
        self.skew = skew
        self.start = start
        self.speed_up = speed_up
        self.source_kafka_conn_id = source_kafka_conn_id
        self.hopsworks_conn_id = hopsworks_conn_id
        self._kafka: dict[str, Any] = {}

    def execute(self, context: Context) -> dict[str, Any]:
        """Choose the event times, then run the simulator to its end."""
        from hopsworks_flink.pipeline.spec import Pipeline

        with task_errors():
            parsed = Pipeline.parse(self.pipeline)  # type: ignore[arg-type]
            arguments = self._checked()
            self._kafka = self._broker()
            self.job_name = f"{parsed.name}__simulate"
            self.arguments = self._command_line(parsed, arguments)
            return self.run_job(context)

    def get_openlineage_facets_on_start(self) -> Any:
        """The topic, with its columns."""
        return lineage.of_events(self.pipeline)

    def build_bundle(self) -> Bundle:
        """The simulator and the module it shares with the pipeline's runner."""
        bundle = super().build_bundle()
        module, text = read_program(_LIBRARY)
        return Bundle(bundle.module, {**bundle.files, f"{module}.py": text})

    def secret_files(self) -> Mapping[str, bytes]:
        """How to reach the broker."""
        from hopsworks_flink.clients.kafka.java_properties import java_client_properties
        from hopsworks_flink.pipeline.plan import kafka_options, secret_values

        kafka = java_client_properties(self._kafka or self._broker())
        bindings = {"values": {"kafka": kafka_options(kafka)}, "secrets": secret_values([kafka])}
        return {BINDINGS_FILE: json.dumps(bindings).encode()}

    def _checked(self) -> dict[str, Any]:
        return {
            "events": as_int(self.events, "events"),
            "rate": as_int(self.rate, "rate"),
            "cards": as_int(self.cards, "cards"),
            "seed": as_int(self.seed, "seed", minimum=0),
            "disorder": as_float(self.disorder, "disorder", zero=True),
            "skew": as_float(self.skew, "skew"),
            "start": as_time(self.start, "start"),
            "speed_up": None if self.speed_up in (None, "") else as_float(self.speed_up, "speed_up"),
        }

    def _broker(self) -> dict[str, Any]:
        return source_kafka(self.source_kafka_conn_id, self.hopsworks_conn_id)

    def _command_line(self, pipeline: Any, arguments: dict[str, Any]) -> list[str]:
        from hopsworks_flink.clients.kafka.offsets import newest_timestamp
        from hopsworks_flink.pipeline.simulation import event_time_range, simulator_arguments

        start, speed_up = arguments.pop("start"), arguments.pop("speed_up")
        times = event_time_range(
            now=int(time.time() * 1000),
            newest=newest_timestamp(self._kafka, pipeline.source.topic),
            events=arguments["events"],
            rate=arguments["rate"],
            start=start,
            speed_up=speed_up,
        )
        self.log.info("Event time starts at %d ms and runs at %.1f times the clock.", times.start, times.speed_up)
        return simulator_arguments(pipeline, times, **arguments)
