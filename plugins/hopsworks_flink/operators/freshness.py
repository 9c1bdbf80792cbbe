"""Operator that measures how long features take from an event to the online store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AirflowFailException, AirflowSkipException, BaseOperator, get_stats
from hopsworks_flink.clients.hopsworks.event_time import EventTime
from hopsworks_flink.clients.kafka.client import produce
from hopsworks_flink.clients.kafka.offsets import holds_more_than, newest_by_partition, stable_offsets
from hopsworks_flink.deployment.record import Record
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.kafka_connection import source_kafka
from hopsworks_flink.links import FeatureGroupLink
from hopsworks_flink.tasks.arguments import as_float
from hopsworks_flink.tasks.context import skip_while_deploying, task_errors
from hopsworks_flink.tasks.links import HOPSWORKS_COLOUR

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.pipeline.canary import Canary
    from hopsworks_flink.pipeline.spec import Pipeline

# Flink refreshes watermarks at most every 10 s; a canary that turns out to be behind is followed by another one.
_AGAIN_SECONDS = 10.0
_MOST_SAMPLES = 500


class MeasureFreshnessOperator(BaseOperator):
    """Writes a canary, an event under a reserved key, and measures the time until its features can be read online.

    The canary has nothing but key and event time, never ahead of what its partition has seen: it moves no watermark,
    and makes no other event late. It is read in the pipeline's feature group whose windows close most often; until the
    next one closes it cannot be read, so the time is that of a whole window's slide at worst. Without new events no
    window closes: then nothing is measured, and the task is skipped.

    The reserved key is ``__canary__``, -9223372036854775807 (bigint) or -2147483647 (int); its rows are in the online
    and the offline store, to be left out of training data. Airflow's metrics get ``hopsworks_flink.<job>.freshness``
    (seconds); the samples are in the Airflow Variable ``hopsworks_flink.freshness.<job>``. The online store can only be
    asked by a blocking client, so the task keeps its worker slot.

    :param pipeline: the pipeline as a mapping, or the path of its file; it must have a ``freshness`` (templated).
    :param deploy_dag_id: DAG that deploys the pipeline; nothing is measured while it is at work; None: there is none
        (templated).
    :param window: seconds over which p50 and p99 are taken; default: 86400 (templated).
    :param poll_interval: seconds between two looks at the online store; default: 2.
    :param source_kafka_conn_id: Airflow connection of type ``kafka`` for the source topic; None: the feature store's
        own broker (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :param flink_conn_id: Airflow connection of type ``flink``; default: ``flink_default`` (templated).
    :return: (XCom) ``seconds``, ``p50``, ``p99``, ``measured``, ``missed``.
    :raises AirflowSkipException: a deployment is at work, no job runs, no events arrive, or no canary could be written
        as the watermark stands.
    :raises AirflowFailException: the features could not be read within ``freshness``; the text has the figures.
    """

    template_fields: Sequence[str] = (
        "pipeline",
        "deploy_dag_id",
        "window",
        "source_kafka_conn_id",
        "hopsworks_conn_id",
        "flink_conn_id",
    )
    operator_extra_links = (FeatureGroupLink(),)
    ui_color = HOPSWORKS_COLOUR

    def __init__(
        self,
        *,
        pipeline: Mapping[str, Any] | str,
        deploy_dag_id: str | None = None,
        window: float | str = 86_400.0,
        poll_interval: float = 2.0,
        source_kafka_conn_id: str | None = None,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        flink_conn_id: str = FlinkHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.deploy_dag_id = deploy_dag_id
        self.window = window
        self.poll_interval = poll_interval
        self.source_kafka_conn_id = source_kafka_conn_id
        self.hopsworks_conn_id = hopsworks_conn_id
        self.flink_conn_id = flink_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Write a canary, wait until it can be read, and compare the time with the pipeline's bound."""
        from hopsworks_flink.pipeline.canary import Canary
        from hopsworks_flink.pipeline.spec import Pipeline

        with task_errors():
            pipeline = Pipeline.parse(self.pipeline)  # type: ignore[arg-type]
            if pipeline.freshness is None:
                raise ConfigurationError(f"pipeline {pipeline.name!r} has no freshness to measure: add freshness: 5m.")
            window, poll = as_float(self.window, "window"), as_float(self.poll_interval, "poll_interval")
            if self.deploy_dag_id:
                skip_while_deploying(context, self.deploy_dag_id)
            limit = pipeline.freshness.total_seconds()
            with HopsworksHook(self.hopsworks_conn_id).session() as session:
                broker = source_kafka(self.source_kafka_conn_id, session)
                run = _Run(Canary.of(pipeline), FlinkHook(self.flink_conn_id), session, broker)
                FeatureGroupLink().persist(context, self, session.feature_group_url(run.group))
                seconds = run.measure(limit, poll)
        return self._judge(pipeline, seconds, limit, window)

    def _judge(self, pipeline: Pipeline, seconds: float | None, limit: float, window: float) -> dict[str, Any]:
        from hopsworks_flink.pipeline.canary import Freshness

        now = time.time()
        record = Record.across_runs("freshness", pipeline.job_name)
        samples = [sample for sample in (record.read() or {}).get("samples") or [] if now - sample["at"] <= window]
        samples.append({"at": round(now, 3), "seconds": round(seconds or limit, 3), "missed": seconds is None})
        record.write({"samples": samples[-_MOST_SAMPLES:]})
        freshness = Freshness.of(samples)
        get_stats().gauge(f"hopsworks_flink.{pipeline.job_name}.freshness", samples[-1]["seconds"])
        within = f"Within {window:g} s: {freshness}."
        if seconds is None:
            raise AirflowFailException(
                f"The features of an event could not be read online {limit:g} s after it was written; freshness of "
                f"{pipeline.name} allows {limit:g} s. {within}"
            )
        self.log.info("An event's features could be read online after %.1f s. %s", seconds, within)
        return {
            "seconds": round(seconds, 3),
            "p50": freshness.p50,
            "p99": freshness.p99,
            "measured": freshness.measured,
            "missed": freshness.missed,
        }


class _Run:
    """One measurement."""

    def __init__(self, canary: Canary, hook: FlinkHook, session: HopsworksSession, broker: Mapping[str, Any]) -> None:
        self.canary, self.hook, self.session, self.broker = canary, hook, session, broker
        self.topic = canary.pipeline.source.topic
        self.group = session.get_feature_group(canary.group.name, canary.group.version)
        self.column = EventTime.of(self.group, "milliseconds")

    def measure(self, limit: float, poll: float) -> float | None:
        """Seconds from the first canary that was written until one can be read; None: not in time.

        :raises AirflowSkipException: no job runs, no events arrive, or the watermark stands.
        """
        newest = newest_by_partition(self.broker, self.topic)
        if not newest or time.time() - max(newest.values()) / 1000 > limit:
            raise AirflowSkipException(f"Topic {self.topic} had no event for {limit:g} s: nothing to measure.")
        # Where events arrive: one for an idle partition would hold the others back for its idle timeout.
        partition = max(newest, key=lambda partition: newest[partition])
        before, sent = stable_offsets(self.broker, self.topic), 0
        begin, written_at = time.monotonic(), 0.0
        times: list[int] = []
        while time.monotonic() - begin <= limit:
            if not times or time.monotonic() - written_at >= _AGAIN_SECONDS:
                moment = self._next_time()
                # A row of an earlier canary that lies behind Flink's figure already would be taken for this one's.
                if times or not self._readable([moment]):
                    if not times:
                        begin = time.monotonic()
                    self._write(partition, moment)
                    written_at, sent = time.monotonic(), sent + 1
                    times.append(moment)
            if times and self._readable(times):
                return time.monotonic() - begin
            time.sleep(poll)
        if not times:
            raise AirflowSkipException(
                f"The watermark of job {self.canary.pipeline.job_name!r} has not come further than an earlier canary's "
                "row: no canary could be written. The verdict on it is supervise_job's."
            )
        if not holds_more_than(self.broker, self.topic, before, sent):
            raise AirflowSkipException(f"No event arrived on topic {self.topic} meanwhile: no window has closed.")
        return None

    def _next_time(self) -> int:
        facts = self.hook.facts(self.canary.pipeline.job_name, counts=True)
        if len(facts.job_ids) != 1 or facts.watermark is None:
            raise AirflowSkipException(
                f"Job {self.canary.pipeline.job_name!r} is {facts.state or 'not there'} and has no watermark: the "
                "verdict on it is supervise_job's."
            )
        return self.canary.event_time(facts.watermark)

    def _write(self, partition: int, moment: int) -> None:
        by_record = self.canary.pipeline.source.event_time.is_kafka_timestamp
        stamp = moment if by_record else int(time.time() * 1000)
        produce(self.broker, self.topic, partition, self.canary.value_at(moment), stamp)

    def _readable(self, times: Sequence[int]) -> bool:
        """Whether a row that one of the canaries has made can be read."""
        found = self.session.online_event_time_of(self.group, self.column, self.canary.key, self.canary.value)
        if found is None:
            return False
        return self.canary.is_shown(datetime.fromisoformat(found).timestamp() * 1000, min(times))
