"""Operator that computes a pipeline's features of the past once more."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.files import OWN_JARS
from hopsworks_flink.clients.flink.jobs import rows_written
from hopsworks_flink.deployment.feature_job import joined_groups, registered_groups
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.kafka_connection import source_kafka
from hopsworks_flink.hooks.registry_connection import registries
from hopsworks_flink.operators.flink.run import FlinkRunJobOperator
from hopsworks_flink.tasks import lineage
from hopsworks_flink.tasks.arguments import as_bool, as_float
from hopsworks_flink.tasks.context import task_errors
from hopsworks_flink.tasks.deferral import may_defer
from hopsworks_flink.tasks.outlets import emit

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.pipeline.interval import Interval
    from hopsworks_flink.pipeline.plan import JobPlan
    from hopsworks_flink.pipeline.recompute import PartitionHistory, Reach
    from hopsworks_flink.pipeline.spec import Pipeline

_PROGRAM = "feature_pipeline"


class FlinkRecomputeFeaturesOperator(FlinkRunJobOperator):
    """Computes the features of a past interval with a Flink job that ends by itself, for the offline store only.

    The SQL is the streaming job's, run in batch mode over the records of the source topic that the interval needs, or
    over the files that the pipeline names as its history.
    Written are the windows that end after ``start`` and at ``end`` or before. The rows go to the feature groups' online
    topic, marked for the offline store: what is served does not change. Materialize the groups afterwards. Doing it
    again, or recomputing intervals that overlap, writes the same rows once more.

    The rows equal the stream's, but for two differences that are meant: an event that came too late for the stream
    counts here, and the windows that the stream has not closed yet are closed. Feature groups without an event time
    have no past (the offline store keeps their newest row only) and are left out.

    A retry attaches to the job that an earlier try has started, as long as it reads the same records.

    :param pipeline: the pipeline as a mapping, or the path of its file (templated).
    :param start: begin of the interval in event time, ISO 8601, UTC unless it says otherwise; None: that of the run's
        data interval (templated).
    :param end: end of the interval, exclusive; None: that of the run's data interval (templated).
    :param feature_groups: names with version (``cards_1``) of those to recompute; None: all with an event time
        (templated).
    :param arrival_margin: how long the delivery of an event to the topic may take, clocks of producers that differ
        included, e.g. ``1h``. The pipeline's ``max_disorder`` is added: so long the stream counts events that come out
        of order. Records that arrived later than both after the interval's end are not read, and a run waits until
        then; default: ``1h`` (templated).
    :param allow_deleted: whether to compute although the topic may have lost records that the interval needs, by its
        retention or because it is compacted; values may then be too small; default: false (templated).
    :param source_kafka_conn_id: Airflow connection of type ``kafka`` for the source topic; None: the feature store's
        own broker (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :param kwargs: other arguments of :class:`FlinkRunJobOperator` except the job's name, program, files and arguments.
    :return: (XCom) as :class:`FlinkRunJobOperator`, and ``interval`` (begin and end, ISO 8601), ``feature_groups``,
        ``offsets`` (partition → begin and end of what was read), ``joined_offsets`` (join → the same of its topic),
        ``records_read`` (how many of ``offsets`` that are: what a transaction has aborted, and its end, take some as
        well), ``files`` (the path, where the pipeline has a history of files; then no offsets), ``rows`` (feature group
        → rows written; None where Flink does not tell). Without any record to read no job is started, and ``job_id`` is
        None. Events of the task's outlets carry the same.
    :raises AirflowFailException: an argument is wrong, a feature group is not registered so, the topic does not hold
        what the interval needs any more, is compacted or has lost records while the job read them, or Hopsworks is
        older than 5.1 and would serve old values.
    :raises KafkaError: a transaction among the records stays open.
    """

    #: How long a transaction among the records may stay open: by default producers give theirs a minute.
    open_transaction_seconds = 60.0

    template_fields: Sequence[str] = (
        "pipeline",
        "start",
        "end",
        "feature_groups",
        "arrival_margin",
        "allow_deleted",
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
        start: str | datetime | None = None,
        end: str | datetime | None = None,
        feature_groups: Sequence[str] | str | None = None,
        arrival_margin: str | timedelta = "1h",
        allow_deleted: bool | str = False,
        source_kafka_conn_id: str | None = None,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(job_name="", program=_PROGRAM, **kwargs)
        self.pipeline = pipeline
        self.start = start
        self.end = end
        self.feature_groups = feature_groups
        self.arrival_margin = arrival_margin
        self.allow_deleted = allow_deleted
        self.source_kafka_conn_id = source_kafka_conn_id
        self.hopsworks_conn_id = hopsworks_conn_id
        self._plan: JobPlan | None = None
        self._rows: Mapping[str, int | None] = {}
        self._brokers: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait until all events of the interval can be there, then recompute it."""
        from hopsworks_flink.pipeline.interval import longest_arrival

        with task_errors():
            pipeline, interval = self._checked(context)
            complete = interval.end + longest_arrival(self._margin(), pipeline.source.max_disorder)
            if datetime.now(timezone.utc) < complete:
                self._wait_until(interval, complete)
            return self._recompute(context, pipeline, interval)

    def execute_after_wait(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Go on when all events of the interval can be there.

        :param event: of Airflow's ``DateTimeTrigger``, the moment; of no interest.
        """
        with task_errors():
            return self._recompute(context, *self._checked(context))

    def execute_complete(
        self, context: Context, event: Mapping[str, Any] | None = None, **identity: Any
    ) -> dict[str, Any]:
        """Go on when the job has ended."""
        result = super().execute_complete(context, event, **identity)
        with task_errors():
            return self._report(context, result)

    def get_openlineage_facets_on_start(self) -> Any:
        """Topic or files, and feature groups, with their columns."""
        return lineage.of_recompute(self.pipeline, self._names(), {})

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """The same, with the rows that were written."""
        return lineage.of_recompute(self.pipeline, self._names(), self._rows)

    def _checked(self, context: Context) -> tuple[Pipeline, Interval]:
        """What the arguments say, before anything remote is touched."""
        from hopsworks_flink.pipeline.interval import refuse_future, resolve_interval
        from hopsworks_flink.pipeline.recompute import select_groups
        from hopsworks_flink.pipeline.spec import Pipeline

        pipeline = Pipeline.parse(self.pipeline)  # type: ignore[arg-type]
        select_groups(pipeline, self._names())
        self._margin()
        as_bool(self.allow_deleted, "allow_deleted")
        begin, end = context.get("data_interval_start"), context.get("data_interval_end")
        run = (begin, end) if isinstance(begin, datetime) and isinstance(end, datetime) else None
        interval = resolve_interval(self.start, self.end, run)
        refuse_future(interval.end, datetime.now(timezone.utc))
        return pipeline, interval

    def _names(self) -> list[str] | None:
        names = self.feature_groups
        if names in (None, "", "None"):
            return None
        return names.replace(",", " ").split() if isinstance(names, str) else list(names or ())

    def _margin(self) -> timedelta:
        from hopsworks_flink.pipeline.interval import as_margin

        return as_margin(self.arrival_margin)

    def _wait_until(self, interval: Interval, complete: datetime) -> None:
        self.log.info(
            "Events of %s may arrive until %s: waiting (arrival_margin %s, and max_disorder of the pipeline).",
            interval,
            complete.isoformat(),
            self.arrival_margin,
        )
        if may_defer(self):
            from airflow.providers.standard.triggers.temporal import DateTimeTrigger

            self.defer(trigger=DateTimeTrigger(moment=complete), method_name="execute_after_wait", timeout=None)
        pause = as_float(self.poll_interval, "poll_interval")
        while (left := (complete - datetime.now(timezone.utc)).total_seconds()) > 0:
            time.sleep(min(left, pause))

    def _recompute(self, context: Context, pipeline: Pipeline, interval: Interval) -> dict[str, Any]:
        self._plan = self._compile(pipeline, interval)
        self.job_name = self._plan.job_name
        if self._facts["records_read"] == 0:
            self.log.info("The topic has no record that the interval needs: there is nothing to compute.")
            nothing = {"job_id": None, "job_name": self.job_name, "state": None, **self._facts}
            return self._emitted(context, {**nothing, "rows": dict.fromkeys(self._facts["feature_groups"], 0)})
        return self._report(context, self.run_job(context))

    def _compile(self, pipeline: Pipeline, interval: Interval) -> JobPlan:
        from hopsworks_flink.pipeline import recompute as history

        groups = history.select_groups(pipeline, self._names())
        left_out = [group.full_name for group in pipeline.feature_groups if group not in groups]
        if left_out:
            self.log.info("Left out: %s (no event time, or not asked for).", ", ".join(left_out))
        with HopsworksHook(self.hopsworks_conn_id).session() as session:
            history.check_platform(session.platform_version())
            registered = [*registered_groups(session, pipeline, groups), *joined_groups(session, pipeline)]
            self._brokers = self._ask_brokers(session)
        self._facts = {"interval": interval.to_json(), "feature_groups": [group.full_name for group in groups]}
        needs = history.reach(pipeline, groups, interval, self._margin())
        joined = self._versions(pipeline, needs, interval)
        self._facts["joined_offsets"] = {name: _offsets(partitions) for name, partitions in joined.items()}
        if pipeline.history:
            self.file_formats = (OWN_JARS, *(("parquet",) if pipeline.history.format == "parquet" else ()))
            self._facts.update(files=pipeline.history.path, offsets={}, records_read=None)
            self.log.info("Interval %s: reading %s.", interval, pipeline.history.path)
            return history.compile_recompute(pipeline, registered, groups, interval, None, joined)
        self.file_formats = (OWN_JARS,)
        partitions = self._partitions(pipeline, needs, interval)
        offsets = _offsets(partitions)
        self._facts.update(
            files=None, offsets=offsets, records_read=sum(end - first for first, end in offsets.values())
        )
        self.log.info("Interval %s: reading %s of %s.", interval, offsets, pipeline.source.topic)
        return history.compile_recompute(pipeline, registered, groups, interval, partitions, joined)

    def _partitions(self, pipeline: Pipeline, needs: Reach, interval: Interval) -> list[PartitionHistory]:
        """Which records to read, after making sure that they are there."""
        from hopsworks_flink.clients.kafka.offsets import compaction, kept_since, partition_histories, wait_until_stable
        from hopsworks_flink.pipeline.recompute import refuse_compacted, refuse_deleted

        broker, topic = self._broker("source"), pipeline.source.topic
        partitions = partition_histories(broker, topic, needs.since, needs.until)
        if not as_bool(self.allow_deleted, "allow_deleted"):
            refuse_compacted(topic, compaction(broker, topic), interval)
            emptied = any(one.low and one.oldest is None for one in partitions)
            refuse_deleted(topic, partitions, interval, needs, kept_since(broker, topic) if emptied else None)
        ends = {one.partition: one.end for one in partitions if one.first < one.end}
        wait_until_stable(broker, topic, ends, self.open_transaction_seconds)
        return partitions

    def _versions(self, pipeline: Pipeline, needs: Reach, interval: Interval) -> dict[str, list[PartitionHistory]]:
        """Which records of joined topics to read: all, so that versions count that were written afterwards."""
        from hopsworks_flink.clients.kafka.offsets import (
            deletes,
            partition_histories,
            replaced_since,
            wait_until_stable,
        )
        from hopsworks_flink.pipeline.recompute import refuse_lost_versions

        found = {}
        for name, join in pipeline.source.join.items():
            broker, topic = self._broker(join.broker), join.topic
            # What was stamped later is of no interest where that is the time since which a version holds.
            until = needs.until if join.event_time.is_kafka_timestamp else None
            partitions = partition_histories(broker, topic, 0, until)
            if not as_bool(self.allow_deleted, "allow_deleted"):
                kept = replaced_since(broker, topic)
                left = partitions if deletes(broker, topic) else []
                refuse_lost_versions(topic, left, kept, interval, needs.since)
            wait_until_stable(
                broker, topic, {one.partition: one.end for one in partitions}, self.open_transaction_seconds
            )
            found[name] = partitions
            self.log.info("Versions of %s: %s.", topic, {one.partition: [one.first, one.end] for one in partitions})
        return found

    def build_bundle(self) -> Bundle:
        """The runner with the plan beside it."""
        assert self._plan is not None
        bundle = super().build_bundle()
        return Bundle(bundle.module, {**bundle.files, "plan.json": self._plan.to_json().encode()})

    def secret_files(self) -> Mapping[str, bytes]:
        """How to reach the brokers."""
        from hopsworks_flink.clients.kafka.java_properties import java_client_properties
        from hopsworks_flink.pipeline.recompute import history_bindings
        from hopsworks_flink.pipeline.spec import Pipeline

        source, sink = self._broker("source"), self._broker("feature_store")
        pipeline = Pipeline.parse(self.pipeline)  # type: ignore[arg-type]
        values = history_bindings(
            pipeline,
            source_kafka=java_client_properties(source),
            sink_kafka=java_client_properties(sink),
            registries=registries(pipeline),
        )
        return {"bindings.json": json.dumps(values).encode()}

    def _ask_brokers(self, session: HopsworksSession) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return source_kafka(self.source_kafka_conn_id, session), session.kafka_config()

    def _broker(self, name: str) -> Mapping[str, Any]:
        """The settings that reach a broker, ``source`` or ``feature_store``, as joins name it."""
        # Not known yet after a deferral.
        if self._brokers is None:
            with HopsworksHook(self.hopsworks_conn_id).session() as session:
                self._brokers = self._ask_brokers(session)
        return self._brokers[1 if name == "feature_store" else 0]

    def _refuse_deleted_meanwhile(self, result: Mapping[str, Any]) -> None:
        """Flink passes over what was deleted between the look at the topic and the reading, and finishes."""
        from hopsworks_flink.clients.kafka.offsets import first_offsets
        from hopsworks_flink.pipeline.recompute import refuse_deleted_meanwhile
        from hopsworks_flink.pipeline.spec import Pipeline

        if as_bool(self.allow_deleted, "allow_deleted"):
            return
        source = Pipeline.parse(self.pipeline).source  # type: ignore[arg-type]
        # A task that was deferred before an upgrade does not know what it read of joined topics.
        joined = result.get("joined_offsets", {})
        reads = [("source", source.topic, result["offsets"])]
        reads += [(join.broker, join.topic, joined.get(name)) for name, join in source.join.items()]
        for broker, topic, read in reads:
            if read:
                refuse_deleted_meanwhile(topic, read, first_offsets(self._broker(broker), topic))

    def _report(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        self._refuse_deleted_meanwhile(result)
        job = FlinkHook(self.flink_conn_id).find_job(result["job_id"]) or {}
        result["rows"] = rows_written(job.get("vertices") or (), result["feature_groups"])
        self.log.info("Rows written: %s.", result["rows"])
        return self._emitted(context, result)

    def _emitted(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        self._rows = result["rows"]
        emit(context, self, result)
        return result


def _offsets(partitions: Sequence[PartitionHistory]) -> dict[str, list[int]]:
    """Partition → begin and end of what is read, as JSON keeps it."""
    return {str(one.partition): [one.first, one.end] for one in partitions}
