"""Sensor that waits for a healthy Flink job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AirflowFailException, PokeReturnValue
from hopsworks_flink.exceptions import FlinkConnectionError, FlinkError
from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.hooks.kafka_connection import source_kafka
from hopsworks_flink.links import FlinkExceptionsLink, FlinkJobLink
from hopsworks_flink.sensors._base import TIMEOUT, DeferrableSensor
from hopsworks_flink.tasks.arguments import as_float, as_int, check_name_or_id
from hopsworks_flink.tasks.context import task_errors
from hopsworks_flink.tasks.failures import cause_of
from hopsworks_flink.tasks.links import FLINK_COLOUR, push_links

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    from hopsworks_flink._compat import Context
    from hopsworks_flink.pipeline.spec import Pipeline


class FlinkJobHealthSensor(DeferrableSensor):
    """Waits until a job is RUNNING with all its vertices and keeps to the bounds on checkpoints and restarts.

    A job of a name may still have to come; a job id that has ended, or that Flink does not know, fails the sensor at
    once. Flink out of reach counts as not healthy yet.

    :param job_name: name of the job; several that run at once are not healthy; None: ``job_id`` is given (templated).
    :param job_id: id of the job, instead of its name; default: none (templated).
    :param max_checkpoint_age: seconds since the last completed checkpoint; there must be one since the job's start.
        None: checkpoints do not matter (templated).
    :param max_restarts: so many failures within ``restart_window`` are allowed. None: they do not matter. Flink
        remembers the last 16 (its ``web.exception-history-size``); when that is not enough to count them, the job is
        not healthy (templated).
    :param restart_window: seconds; default: 600 (templated).
    :param pipeline: the job's feature pipeline, as a mapping or the path of its file. It names the job if neither
        ``job_name`` nor ``job_id`` does; and if the job fails at a record that it cannot decode, the verdict names that
        record. None: no pipeline (templated).
    :param source_kafka_conn_id: Airflow connection of type ``kafka`` for the pipeline's source topic; None: the feature
        store's own broker (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks`` of that feature store; default:
        ``hopsworks_default`` (templated).
    :param deferrable: wait in the triggerer, without a worker slot. Default: Airflow's setting
        ``[operators] default_deferrable``.
    :param flink_conn_id: Airflow connection of type ``flink``; default: ``flink_default`` (templated).
    :param kwargs: arguments of Airflow's sensors: ``poke_interval`` and ``timeout`` in seconds, ``mode``,
        ``soft_fail``, …
    :return: (XCom) ``job_id``, ``state``, ``checkpoint_age_seconds``, ``restarts_in_window``.
    :raises AirflowSensorTimeout: not healthy in time; the text says why.
    :raises AirflowFailException: an argument or the connection is wrong, or the job has ended.
    """

    template_fields: Sequence[str] = (
        "job_name",
        "job_id",
        "max_checkpoint_age",
        "max_restarts",
        "restart_window",
        "pipeline",
        "source_kafka_conn_id",
        "hopsworks_conn_id",
        "flink_conn_id",
    )
    operator_extra_links = (FlinkJobLink(), FlinkExceptionsLink())
    ui_color = FLINK_COLOUR

    def __init__(
        self,
        *,
        job_name: str | None = None,
        job_id: str | None = None,
        max_checkpoint_age: float | str | None = None,
        max_restarts: int | str | None = None,
        restart_window: float | str = 600.0,
        pipeline: Mapping[str, Any] | str | None = None,
        source_kafka_conn_id: str | None = None,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        flink_conn_id: str = FlinkHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.job_id = job_id
        self.max_checkpoint_age = max_checkpoint_age
        self.max_restarts = max_restarts
        self.restart_window = restart_window
        self.pipeline = pipeline
        self.source_kafka_conn_id = source_kafka_conn_id
        self.hopsworks_conn_id = hopsworks_conn_id
        self.flink_conn_id = flink_conn_id
        self._kind: str | None = None

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        with task_errors():
            bounds = self._bounds()
            hook = FlinkHook(self.flink_conn_id)
            found = hook.examine(self._name(), self.job_id or None, bounds)
        self._tell(context, hook, found)
        healthy = found["status"] == "healthy"
        return PokeReturnValue(healthy, found["facts"] if healthy else None)

    def make_trigger(self, deadline: float) -> BaseTrigger:
        """The health trigger."""
        from hopsworks_flink.triggers.flink import FlinkHealthTrigger

        bounds = self._bounds()
        return FlinkHealthTrigger(
            job_name=self._name(),
            job_id=self.job_id or None,
            max_checkpoint_age=bounds.max_checkpoint_age,
            max_restarts=bounds.max_restarts,
            restart_window=bounds.restart_window,
            flink_conn_id=self.flink_conn_id,
            deadline=deadline,
            poll_interval=max(self.poke_interval, 0.1),
        )

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Go on when the trigger has reported."""
        event = event or {}
        status, reason = event.get("status"), event.get("reason") or event.get("message")
        facts = dict(event.get("facts") or {})
        if facts.get("job_id"):
            with task_errors():
                push_links(context, self, FlinkHook(self.flink_conn_id), facts["job_id"])
        if status == "healthy":
            self.log.info("Healthy: %s.", reason)
            return facts
        if status == "hopeless":
            raise AirflowFailException(f"{reason}: it cannot become healthy.{self._explained(facts)}")
        explained = self._explained(facts) if status == TIMEOUT else ""
        text = f"Not healthy after {self.timeout:g} s: {reason}.{explained}"
        raise self.unsuccessful(event, text, FlinkConnectionError, FlinkError)

    def _bounds(self) -> Bounds:
        check_name_or_id(self._name(), self.job_id)
        age, restarts = self.max_checkpoint_age, self.max_restarts
        return Bounds(
            max_checkpoint_age=None if age in (None, "") else as_float(age, "max_checkpoint_age"),
            require_checkpoint=age not in (None, ""),
            max_restarts=None if restarts in (None, "") else as_int(restarts, "max_restarts", minimum=0),
            restart_window=as_float(self.restart_window, "restart_window"),
        )

    def _parsed(self) -> Pipeline | None:
        if not self.pipeline:
            return None
        from hopsworks_flink.pipeline.spec import Pipeline

        return Pipeline.parse(self.pipeline)  # type: ignore[arg-type]

    def _name(self) -> str | None:
        """The job's name; None if the job is given by its id."""
        if self.job_name or self.job_id:
            return self.job_name or None
        pipeline = self._parsed()
        return pipeline.job_name if pipeline else None

    def _explained(self, facts: Mapping[str, Any]) -> str:
        """What Kafka knows of the cause: a record, or a topic that is gone; begins with a blank."""
        pipeline, job_id = self._parsed(), facts.get("job_id")
        if pipeline is None or job_id is None:
            return ""
        source, store = (
            partial(source_kafka, conn_id, self.hopsworks_conn_id) for conn_id in (self.source_kafka_conn_id, None)
        )
        cause = cause_of(FlinkHook(self.flink_conn_id), job_id, pipeline, source, store)
        return f" {cause.text}" if cause else ""

    def _tell(self, context: Context, hook: FlinkHook, found: Mapping[str, Any]) -> None:
        """Log and show a changed verdict; fail if the job cannot become healthy any more."""
        explained, healthy, facts = "", found["status"] == "healthy", found["facts"]
        if found["kind"] != self._kind:
            explained = "" if healthy else self._explained(facts)
            self.log.info("%s: %s.%s", "Healthy" if healthy else "Not healthy", found["reason"], explained)
            if facts:
                push_links(context, self, hook, facts["job_id"])
        self._kind = found["kind"]
        if found["status"] == "hopeless":
            raise AirflowFailException(f"{found['reason']}: it cannot become healthy.{explained}")
