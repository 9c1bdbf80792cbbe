"""States of executions of Hopsworks jobs, and when a wait for one ends. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hopsworks_flink.exceptions import HopsworksConnectionError, HopsworksFlinkError

#: How a wait can end.
SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
KILLED = "KILLED"
#: Hopsworks does not know the execution (any more).
NOT_FOUND = "NOT_FOUND"
TIMEOUT = "timeout"
ERROR = "error"

_SUCCESS = frozenset({"FINISHED", "SUCCEEDED"})
_FAILURE = frozenset({"FAILED", "KILLED", "FRAMEWORK_FAILURE", "APP_MASTER_START_FAILED", "INITIALIZATION_FAILED"})
# Their state says FINISHED while their final status may still become FAILED.
_YARN_TYPES = frozenset({"SPARK", "PYSPARK"})


@dataclass(frozen=True)
class Execution:
    """One execution of a job, from Hopsworks' REST API or from the SDK.

    :param job_type: ``SPARK``, ``PYSPARK``, ``PYTHON`` …; it decides which of the two states counts.
    :param state: ``INITIALIZING``, ``RUNNING``, ``FINISHED`` …
    :param final_status: ``UNDEFINED`` until it has ended.
    """

    execution_id: int
    job_type: str
    state: str
    final_status: str

    @classmethod
    def from_json(cls, body: Mapping[str, Any], job_type: str) -> Execution:
        """Parse an answer of ``GET …/jobs/{name}/executions/{id}``."""
        return cls(
            execution_id=int(body["id"]),
            job_type=job_type.upper(),
            state=str(body.get("state") or "UNDEFINED").upper(),
            final_status=str(body.get("finalStatus") or "UNDEFINED").upper(),
        )

    @classmethod
    def from_sdk(cls, execution: Any, job_type: str) -> Execution:
        """Read the SDK's object."""
        body = {"id": execution.id, "state": execution.state, "finalStatus": execution.final_status}
        return cls.from_json(body, job_type)

    @property
    def outcome(self) -> str | None:
        """``SUCCEEDED``, ``FAILED`` or ``KILLED``; None while it runs."""
        states = (self.final_status,) if self.job_type in _YARN_TYPES else (self.state, self.final_status)
        for state in states:
            if state == KILLED:
                return KILLED
            if state in _FAILURE:
                return FAILED
            if state in _SUCCESS:
                return SUCCEEDED
        return None


class ExecutionWatch:
    """The wait for one execution's end, as a state machine: fed with observations and a clock.

    :param job_name: name of its job.
    :param deadline: epoch seconds.
    """

    def __init__(self, job_name: str, execution_id: int, deadline: float) -> None:
        self.job_name = job_name
        self.execution_id = execution_id
        self.deadline = deadline
        self.state: str | None = None
        self.final_status: str | None = None
        self.changed = False

    def observe(self, execution: Execution | None, now: float) -> dict[str, Any] | None:
        """Take the next observation; ``changed`` then says whether the state has changed.

        :param execution: None if Hopsworks does not know it.
        :param now: epoch seconds.
        :return: the event that ends the wait; None to go on.
        """
        state = execution.state if execution else NOT_FOUND
        self.changed, self.state = state != self.state, state
        self.final_status = execution.final_status if execution else None
        status = execution.outcome if execution else NOT_FOUND
        if status is None and now >= self.deadline:
            status = TIMEOUT
        return self.event(status) if status else None

    def ended_by(self, error: HopsworksFlinkError, now: float) -> dict[str, Any]:
        """The event of a wait that an error ends: ``timeout`` if Hopsworks is away at the deadline, else ``error``."""
        away = isinstance(error, HopsworksConnectionError) and now >= self.deadline
        return {**self.event(TIMEOUT if away else ERROR), "message": str(error), "permanent": error.permanent}

    def event(self, status: str) -> dict[str, Any]:
        """The event that ends the wait, JSON."""
        return {
            "status": status,
            "job_name": self.job_name,
            "execution_id": self.execution_id,
            "state": self.state,
            "final_status": self.final_status,
        }


def executions_url(url: str, project_id: int, job_name: str) -> str:
    """Address of a job's executions in Hopsworks' UI.

    :param url: of the server.
    """
    return f"{url}/p/{project_id}/jobs/named/{quote(job_name, safe='')}/executions"
