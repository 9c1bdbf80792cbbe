"""Whether a streaming job is well, judged from what Flink's REST API tells: value objects and a pure gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hopsworks_flink.clients.flink.jobs import TERMINAL_STATES


@dataclass(frozen=True)
class JobHealth:
    """The facts about one job at one moment.

    :param vertices: name of each vertex -> its state; with parallelism > 1 a vertex is RUNNING when all subtasks are.
    :param completed_checkpoints: completed since this job id started (a restore does not count).
    :param restarts: how often Flink restarted the job; None if the metric is not there yet.
    :param latest_checkpoint_path: newest completed checkpoint or savepoint, if any.
    :param root_exception: first lines of the last failure that Flink recorded, if any.
    """

    job_id: str
    state: str
    vertices: Mapping[str, str] = field(default_factory=dict)
    completed_checkpoints: int = 0
    restarts: int | None = None
    latest_checkpoint_path: str | None = None
    root_exception: str | None = None

    @property
    def all_running(self) -> bool:
        """Whether the job and each of its vertices runs."""
        return self.state == "RUNNING" and bool(self.vertices) and set(self.vertices.values()) == {"RUNNING"}

    @classmethod
    def from_rest(
        cls,
        job: Mapping[str, Any],
        checkpoints: Mapping[str, Any] | None,
        exceptions: Mapping[str, Any] | None,
        metrics: Mapping[str, str],
    ) -> JobHealth:
        """Read the answers of ``/jobs/{id}``, ``…/checkpoints``, ``…/exceptions`` and ``…/metrics``."""
        latest = ((checkpoints or {}).get("latest") or {}).get("completed") or {}
        restarts = metrics.get("numRestarts")
        return cls(
            job_id=job["jid"],
            state=job["state"],
            vertices={f"{v['name']} ({v['id'][:8]})": v["status"] for v in job.get("vertices", ())},
            completed_checkpoints=int(((checkpoints or {}).get("counts") or {}).get("completed", 0)),
            restarts=int(restarts) if restarts is not None else None,
            latest_checkpoint_path=latest.get("external_path"),
            root_exception=root_exception(exceptions),
        )


def root_exception(exceptions: Mapping[str, Any] | None) -> str | None:
    """The innermost cause of the newest failure in ``/jobs/{id}/exceptions``, one line; None without failure."""
    entries = ((exceptions or {}).get("exceptionHistory") or {}).get("entries") or []
    text = entries[0].get("stacktrace") if entries else (exceptions or {}).get("root-exception")
    return innermost_cause(text) if text else None


def innermost_cause(stack_trace: str) -> str:
    """The last ``Caused by:`` line of a Java stack trace (else its first line), without the words themselves."""
    lines = [line.strip() for line in stack_trace.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by:").strip() for line in lines if line.startswith("Caused by:")]
    return causes[-1] if causes else (lines[0] if lines else "")


Verdict = Literal["healthy", "waiting", "failed"]

# No restart cures this: it reads the same state with the same program once more.
_STATE_UNREADABLE = "org.apache.flink.util.StateMigrationException"
# A TaskManager still runs the job of this id that a lost JobManager had started: it ends that one by itself.
_STILL_ENDING = "different set of library BLOBs"


@dataclass(frozen=True)
class HealthCriteria:
    """What "healthy" means.

    :param require_checkpoint: a checkpoint must have completed since the job started.
    :param grace_period: seconds without a restart, all vertices running.
    :param max_restarts: more restarts than this while the gate watches mean failure at once.
    """

    require_checkpoint: bool = True
    grace_period: float = 10.0
    max_restarts: int = 5


def is_still_ending(reason: str | None) -> bool:
    """Whether a job failed only because tasks of the same id, whose JobManager was lost, have not ended yet."""
    return _STILL_ENDING in (reason or "")


class HealthGate:
    """Watches one job until the criteria hold or cannot hold any more. Fed with facts and a clock; does no I/O."""

    def __init__(self, criteria: HealthCriteria) -> None:
        self.criteria = criteria
        self.reason = "nothing seen yet"
        self._well_since: float | None = None
        self._first_restarts: int | None = None
        self._last_restarts: int | None = None

    def observe(self, health: JobHealth, now: float) -> Verdict:
        """Take the next facts.

        :param now: seconds of a monotonic clock.
        :return: the verdict; ``reason`` says why.
        """
        if health.state in TERMINAL_STATES:
            self.reason = f"the job is {health.state}" + _because(health)
            return "failed"
        if not health.all_running and (health.root_exception or "").startswith(_STATE_UNREADABLE):
            self.reason = "the job cannot carry over the state it was given" + _because(health)
            return "failed"
        if self._too_many_restarts(health):
            return "failed"
        if not health.all_running:
            self._well_since = None
            behind = sorted(f"{name}: {state}" for name, state in health.vertices.items() if state != "RUNNING")
            self.reason = f"the job is {health.state}" + (f", {'; '.join(behind[:5])}" if behind else "")
            self.reason += _because(health)
            return "waiting"
        if self._well_since is None:
            self._well_since = now
        if self.criteria.require_checkpoint and health.completed_checkpoints < 1:
            self.reason = "all vertices run, but no checkpoint has completed since the start"
            return "waiting"
        well = now - self._well_since
        if well < self.criteria.grace_period:
            self.reason = f"all vertices run since less than {self.criteria.grace_period:g} s"
            return "waiting"
        self.reason = "all vertices run" + (
            f", {health.completed_checkpoints} checkpoint(s) completed since the start"
            if self.criteria.require_checkpoint
            else ""
        )
        return "healthy"

    def _too_many_restarts(self, health: JobHealth) -> bool:
        if health.restarts is None:
            return False
        if self._first_restarts is None or is_still_ending(health.root_exception):
            self._first_restarts = health.restarts
        if self._last_restarts is not None and health.restarts > self._last_restarts:
            self._well_since = None
        self._last_restarts = health.restarts
        seen = health.restarts - self._first_restarts
        if seen <= self.criteria.max_restarts:
            return False
        self.reason = f"the job restarted {seen} times within the watch" + _because(health)
        return True


def _because(health: JobHealth) -> str:
    return f" (cause: {health.root_exception})" if health.root_exception else ""
