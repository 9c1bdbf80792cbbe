"""Sensors that wait for Hopsworks: an execution's end, and features that are fresh."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AirflowFailException, BaseSensorOperator, PokeReturnValue
from hopsworks_flink.clients.hopsworks.event_time import EventTime, threshold
from hopsworks_flink.clients.hopsworks.executions import SUCCEEDED, ExecutionWatch, executions_url
from hopsworks_flink.clients.hopsworks.rest import HopsworksRest
from hopsworks_flink.clients.kafka.offsets import newest_timestamp
from hopsworks_flink.exceptions import HopsworksConnectionError, HopsworksError
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.kafka_connection import source_kafka
from hopsworks_flink.links import FeatureGroupLink, HopsworksExecutionLink
from hopsworks_flink.sensors._base import DeferrableSensor
from hopsworks_flink.tasks.arguments import as_float, as_int, as_text, one_of
from hopsworks_flink.tasks.context import task_errors
from hopsworks_flink.tasks.links import HOPSWORKS_COLOUR

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    from hopsworks_flink._compat import Context


class HopsworksExecutionSensor(DeferrableSensor):
    """Waits until one execution of a Hopsworks job has succeeded: this one, by its number, never the latest.

    One that failed, was killed or is not known fails the sensor at once and for good. Hopsworks out of reach counts as
    not yet.

    :param job_name: name of the job (templated).
    :param execution_id: number of the execution, as the operators that start it return it (templated).
    :param deferrable: wait in the triggerer, without a worker slot. Default: Airflow's setting
        ``[operators] default_deferrable``.
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :param kwargs: arguments of Airflow's sensors: ``poke_interval`` and ``timeout`` in seconds, ``mode``,
        ``soft_fail``, …
    :return: (XCom) ``job_name``, ``execution_id``, ``state``, ``final_status``.
    :raises AirflowSensorTimeout: it did not end in time.
    :raises AirflowFailException: an argument or the connection is wrong, there is no such execution, or it failed.
    """

    template_fields: Sequence[str] = ("job_name", "execution_id", "hopsworks_conn_id")
    operator_extra_links = (HopsworksExecutionLink(),)
    ui_color = HOPSWORKS_COLOUR

    def __init__(
        self,
        *,
        job_name: str,
        execution_id: int | str,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.execution_id = execution_id
        self.hopsworks_conn_id = hopsworks_conn_id
        self._known: tuple[int, str] | None = None
        self._state: str | None = None

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        with task_errors():
            name, number = as_text(self.job_name, "job_name"), as_int(self.execution_id, "execution_id")
            watch = ExecutionWatch(name, number, deadline=float("inf"))
            settings = HopsworksHook(self.hopsworks_conn_id).settings
            try:
                with HopsworksRest(settings) as hopsworks:
                    project_id, job_type = self._job(hopsworks, name)
                    execution = hopsworks.execution(project_id, name, number, job_type)
            except HopsworksConnectionError as error:
                self.log.warning("%s", error)
                return PokeReturnValue(False)
            event = watch.observe(execution, time.time())
        if watch.state != self._state:
            self.log.info("Execution %d of job %s is %s.", number, name, watch.state)
            HopsworksExecutionLink().persist(context, self, executions_url(settings.url, project_id, name))
        self._state = watch.state
        return PokeReturnValue(True, self._settle(event)) if event else PokeReturnValue(False)

    def make_trigger(self, deadline: float) -> BaseTrigger:
        """The execution's trigger.

        :raises HopsworksConnectionError: the first look did not come through, so the job's type is not known.
        """
        if self._known is None:
            raise HopsworksConnectionError("Hopsworks cannot be reached.")
        from hopsworks_flink.triggers.hopsworks import HopsworksExecutionTrigger

        return HopsworksExecutionTrigger(
            hopsworks_conn_id=self.hopsworks_conn_id,
            project_id=self._known[0],
            job_name=as_text(self.job_name, "job_name"),
            job_type=self._known[1],
            execution_id=as_int(self.execution_id, "execution_id"),
            deadline=deadline,
            poll_interval=max(self.poke_interval, 0.1),
        )

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Go on when the trigger has reported."""
        return self._settle(event or {})

    def _job(self, hopsworks: HopsworksRest, name: str) -> tuple[int, str]:
        """Id of the project and type of the job; requested once."""
        if self._known is None:
            project_id = hopsworks.project_id()
            self._known = (project_id, hopsworks.job_type(project_id, name))
        return self._known

    def _settle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        status, state = event.get("status"), event.get("state")
        what = f"Execution {event.get('execution_id')} of job {event.get('job_name')}"
        if status == SUCCEEDED:
            return {name: event[name] for name in ("job_name", "execution_id", "state", "final_status")}
        if status in ("FAILED", "KILLED", "NOT_FOUND"):
            raise AirflowFailException(f"{what} is {state} ({event.get('final_status')}): it cannot succeed any more.")
        text = f"{what} is still {state} after {self.timeout:g} s."
        raise self.unsuccessful(event, text, HopsworksConnectionError, HopsworksError)


class FeatureFreshnessSensor(BaseSensorOperator):
    """Waits until the newest online value of a feature group is not older than it may be.

    The SDK cannot ask the online store for a maximum, but it can ask for one row whose event time is young enough:
    that is one short query, whatever the size of the group. Every look logs in to Hopsworks, which takes a moment, and
    the online store can only be asked by a blocking client: for long waits use ``mode="reschedule"``, which holds no
    worker slot between the looks.

    :param name: name of the feature group, which must be online and have an event time (templated).
    :param version: its version, from 1 (templated).
    :param max_age: seconds that the newest event time may lie behind the reference; the time of a ``date`` is its
        midnight in UTC (templated).
    :param reference: ``clock``: now; ``source``: the newest record of ``source_topic``, so that a source that is silent
        does not make features stale. A source without any record is not fresh; default: ``clock`` (templated).
    :param source_topic: Kafka topic that the features are computed from; its records' timestamps count; None: for
        ``clock`` only (templated).
    :param event_time_unit: what a ``bigint`` event time counts: ``milliseconds`` or ``seconds`` since the epoch;
        default: ``milliseconds`` (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :param kafka_conn_id: Airflow connection of type ``kafka`` to read the source's newest timestamp from; None: the
        Kafka of the feature store (templated).
    :param kwargs: arguments of Airflow's sensors: ``poke_interval`` and ``timeout`` in seconds, ``mode``,
        ``soft_fail``, …
    :return: (XCom) ``not_before`` (the oldest event time that is fresh) and ``event_time`` (one that is, not
        necessarily the newest), both ISO 8601 in UTC.
    :raises AirflowSensorTimeout: not fresh in time.
    :raises AirflowFailException: an argument or a connection is wrong, or the group is not online or has no event time.
    """

    template_fields: Sequence[str] = (
        "name",
        "version",
        "max_age",
        "reference",
        "source_topic",
        "event_time_unit",
        "hopsworks_conn_id",
        "kafka_conn_id",
    )
    operator_extra_links = (FeatureGroupLink(),)
    ui_color = HOPSWORKS_COLOUR

    def __init__(
        self,
        *,
        name: str,
        version: int | str,
        max_age: float | str,
        reference: str = "clock",
        source_topic: str | None = None,
        event_time_unit: str = "milliseconds",
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        kafka_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.version = version
        self.max_age = max_age
        self.reference = reference
        self.source_topic = source_topic
        self.event_time_unit = event_time_unit
        self.hopsworks_conn_id = hopsworks_conn_id
        self.kafka_conn_id = kafka_conn_id
        self._missing: str | None = None

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        with task_errors():
            max_age = as_float(self.max_age, "max_age", zero=True)
            unit = one_of(self.event_time_unit, "event_time_unit", ("milliseconds", "seconds"))
            reference = one_of(self.reference, "reference", ("clock", "source"))
            topic = as_text(self.source_topic, "source_topic") if reference == "source" else None
            name, version = as_text(self.name, "name"), as_int(self.version, "version")
            try:
                return self._look(context, name, version, max_age, unit, topic)
            except HopsworksConnectionError as error:
                self.log.warning("%s", error)
                return PokeReturnValue(False)

    def _look(
        self, context: Context, name: str, version: int, max_age: float, unit: str, topic: str | None
    ) -> PokeReturnValue:
        with HopsworksHook(self.hopsworks_conn_id).session() as session:
            group = session.get_feature_group(name, version)
            FeatureGroupLink().persist(context, self, session.feature_group_url(group))
            event_time = EventTime.of(group, unit)
            newest: float | None = time.time()
            if topic:
                stamp = newest_timestamp(source_kafka(self.kafka_conn_id, session), topic)
                newest = None if stamp is None else stamp / 1000
            if newest is None:
                return self._not_yet("source", f"Topic {topic} has no record yet: nothing can be fresh.")
            oldest = threshold(newest, max_age)
            found = session.online_event_time(group, event_time, oldest)
        limit = datetime.fromtimestamp(oldest, timezone.utc).isoformat()
        if found is None:
            return self._not_yet("value", f"No online value of {name} version {version} is from {limit} or later.")
        self.log.info("Fresh: an online value of %s version %d has event time %s.", name, version, found)
        return PokeReturnValue(True, {"not_before": limit, "event_time": found})

    def _not_yet(self, missing: str, text: str) -> PokeReturnValue:
        """Log the reason if it is not that of the previous look."""
        if missing != self._missing:
            self.log.info("%s", text)
        self._missing = missing
        return PokeReturnValue(False)
