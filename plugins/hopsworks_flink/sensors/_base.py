"""Base of the sensors that can wait in the triggerer."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from hopsworks_flink.exceptions import HopsworksConnectionError, HopsworksFlinkError
from hopsworks_flink.tasks.context import task_errors
from hopsworks_flink.tasks.deferral import may_defer

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    from hopsworks_flink._compat import Context

# Airflow's own time limit is for the case that the triggerer is away; until then the trigger's, which knows why.
_BACKSTOP = timedelta(minutes=5)
TIMEOUT, ERROR = "timeout", "error"


class DeferrableSensor(BaseSensorOperator):
    """Base of the sensors that look once on a worker, and then wait in the triggerer; not for use in DAGs.

    :param deferrable: wait in the triggerer, without a worker slot. Default: Airflow's setting
        ``[operators] default_deferrable``.
    """

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable

    @abstractmethod
    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""

    @abstractmethod
    def make_trigger(self, deadline: float) -> BaseTrigger:
        """The trigger that goes on waiting after the first look.

        :param deadline: epoch seconds.
        :raises HopsworksConnectionError: the first look did not come through, and it takes what that would have told.
        """

    def execute(self, context: Context) -> Any:
        """Look once, then wait on the worker or in the triggerer."""
        with task_errors():
            deferrable = may_defer(self)
        if not deferrable:
            return super().execute(context)
        deadline = time.time() + self.timeout
        try:
            first = self.poke(context)
        except AirflowFailException as error:
            # As Airflow's own loop does it.
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
            raise
        if first.is_done:
            return first.xcom_value
        try:
            trigger = self.make_trigger(deadline)
        except HopsworksConnectionError as error:
            self.log.warning("%s This task waits on its worker and holds a slot there.", error)
            return super().execute(context)
        limit = timedelta(seconds=self.timeout) + _BACKSTOP
        return self.defer(trigger=trigger, method_name="execute_complete", timeout=limit)

    @abstractmethod
    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Go on when the trigger has reported."""

    @staticmethod
    def unsuccessful(
        event: Mapping[str, Any], timed_out: str, away: type[HopsworksFlinkError], unknown: type[HopsworksFlinkError]
    ) -> Exception:
        """The error for an event that is neither success nor one of the sensor's own failures.

        :param timed_out: error text of a timeout.
        :param away: error class if the remote side could not be reached.
        :param unknown: error class for an event that this version does not know.
        """
        status, message = event.get("status"), str(event.get("reason") or event.get("message"))
        if status == TIMEOUT:
            return AirflowSensorTimeout(timed_out)
        if status == ERROR:
            return AirflowFailException(message) if event.get("permanent") else away(message)
        return unknown(f"The trigger reported {dict(event) or None!r}, which this version does not know.")
