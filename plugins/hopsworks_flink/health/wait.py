"""What a look at a Flink job means to somebody who waits: one reading for workers, triggers and sensors. No I/O."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hopsworks_flink.clients.flink.failures import root_exception
from hopsworks_flink.clients.flink.http import is_transient
from hopsworks_flink.clients.flink.jobs import TERMINAL_STATES
from hopsworks_flink.exceptions import FlinkApiError, FlinkError, FlinkJobNotFound

#: Flink does not know the job (any more).
NOT_FOUND = "NOT_FOUND"
#: How a wait can end besides a state of the job.
TIMEOUT = "timeout"
ERROR = "error"
#: How the wait for a stop can end besides: no savepoint could be taken.
SAVEPOINT_FAILED = "savepoint_failed"
#: A question to a client, blocking or not: the method's name and its arguments.
Question: TypeAlias = tuple[str, ...]


class JobWatch:
    """Follows one job to its end. Fed with looks and a clock.

    :param deadline: epoch seconds.
    """

    def __init__(self, job_id: str, deadline: float) -> None:
        self.job_id = job_id
        self.deadline = deadline
        self.state: str | None = None
        self.changed = False

    def observe(self, job: Mapping[str, Any] | None, now: float) -> dict[str, Any] | None:
        """Take the next look; ``changed`` then says whether the state is another one than before.

        :param job: what ``GET /jobs/{id}`` answers; None if Flink does not know it.
        :param now: epoch seconds.
        :return: how the wait ended, None to go on: ``status`` is a terminal state, ``NOT_FOUND`` or ``timeout``.
        """
        state = str(job["state"]) if job else NOT_FOUND
        self.changed, self.state = state != self.state, state
        if state == NOT_FOUND or state in TERMINAL_STATES:
            milliseconds = (job or {}).get("duration")
            seconds = milliseconds / 1000 if milliseconds is not None else None
            return {**self.event(state), "duration_seconds": seconds}
        return self.event(TIMEOUT) if now >= self.deadline else None

    def event(self, status: str) -> dict[str, Any]:
        """The end of the wait, as triggers report it."""
        return {"status": status, "job_id": self.job_id, "state": self.state, "duration_seconds": None}


@dataclass(frozen=True)
class HealthBounds:
    """What a running job must keep to.

    :param max_checkpoint_age: seconds since the newest checkpoint that completed, and there must be one since the
        job's start; None: checkpoints do not matter.
    :param max_restarts: more failures than this within the window are too many; None: they do not matter.
    :param restart_window: seconds.
    """

    max_checkpoint_age: float | None = None
    max_restarts: int | None = None
    restart_window: float = 600.0


@dataclass(frozen=True)
class Finding:
    """One verdict on a job.

    :param healthy: whether it keeps to all bounds.
    :param kind: a word for the reason, the same as long as nothing but a number in the reason changes.
    :param reason: one sentence.
    :param hopeless: True if this job can never be healthy again.
    :param facts: JSON: ``job_id``, ``state``, ``checkpoint_age_seconds``, ``restarts_in_window``.
    """

    healthy: bool
    kind: str
    reason: str
    hopeless: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


def examine(
    job_name: str | None, job_id: str | None, bounds: HealthBounds, now: float
) -> Generator[Question, Any, Finding]:
    """Judge one job. Yields questions to a REST client and takes the answers (errors are thrown in).

    :param job_name: the one job of this name that has not ended; or
    :param job_id: this job.
    :param now: epoch seconds, for a JobManager that does not tell its own time.
    """
    if job_id is None:
        entries = yield ("jobs",)
        ids = [e["jid"] for e in entries if e["name"] == job_name and e["state"] not in TERMINAL_STATES]
        if not ids:
            return Finding(False, "absent", f"no job named {job_name!r} runs")
        if len(ids) > 1:
            return Finding(False, "ambiguous", f"{len(ids)} jobs named {job_name!r} run at once: {', '.join(ids)}")
        (found,) = ids
    else:
        found = job_id
    try:
        job = yield ("job", found)
    except FlinkJobNotFound:
        return Finding(False, NOT_FOUND, f"Flink does not know a job {found}", hopeless=job_id is not None)
    exceptions = checkpoints = None
    # A job that initialises has no execution graph yet, and answers 404 to these.
    try:
        exceptions = yield ("exceptions", found)
        checkpoints = yield ("checkpoints", found)
    except FlinkApiError as error:
        if error.status_code != 404:
            raise
    return judge(job, checkpoints, exceptions, bounds, now, by_id=job_id is not None)


def away(error: FlinkError) -> Finding:
    """The verdict when nobody answers: not healthy, and that may change.

    :raises FlinkError: the error, if it will stay.
    """
    if not is_transient(error):
        raise error
    return Finding(False, "away", str(error).rstrip("."))


def judge(
    job: Mapping[str, Any],
    checkpoints: Mapping[str, Any] | None,
    exceptions: Mapping[str, Any] | None,
    bounds: HealthBounds,
    now: float,
    by_id: bool = True,
) -> Finding:
    """The verdict on what ``/jobs/{id}``, ``…/checkpoints`` and ``…/exceptions`` answered."""
    state = job["state"]
    clock = job.get("now") or now * 1000
    age, without = checkpoint_age(job, checkpoints, clock)
    restarts, cut_off = restarts_since(exceptions, clock - bounds.restart_window * 1000)
    facts = {
        "job_id": job["jid"],
        "state": state,
        "checkpoint_age_seconds": None if without else round(age, 3),
        "restarts_in_window": restarts,
    }
    cause = f" (cause: {text})" if (text := root_exception(exceptions)) else ""
    if state != "RUNNING":
        ended = by_id and state in TERMINAL_STATES
        return Finding(False, state, f"job {job['jid']} is {state}{cause}", ended, facts)
    behind = sorted(f"{v['name']}: {v['status']}" for v in job.get("vertices", ()) if v["status"] != "RUNNING")
    if behind or not job.get("vertices"):
        text = "; ".join(behind[:5]) or "it has no vertices yet"
        return Finding(False, "vertices", f"not every vertex of job {job['jid']} runs: {text}{cause}", facts=facts)
    late = _out_of_bounds(bounds, age, without, restarts, cut_off)
    if late:
        kind, text = late
        return Finding(False, kind, f"job {job['jid']} {text}{cause}", facts=facts)
    last = "no checkpoint" if without else f"last checkpoint {age:.0f} s ago"
    reason = f"job {job['jid']} runs with all {len(job['vertices'])} vertices, {last}, {restarts} restart(s) lately"
    return Finding(True, "healthy", reason, facts=facts)


def _out_of_bounds(
    bounds: HealthBounds, age: float, without: bool, restarts: int, cut_off: bool
) -> tuple[str, str] | None:
    """Which bound a running job breaks, if any: a word and the rest of a sentence."""
    if bounds.max_restarts is not None and (restarts > bounds.max_restarts or cut_off):
        number = f"at least {restarts}" if cut_off else str(restarts)
        allowed = f"{bounds.max_restarts} are allowed"
        return "restarts", f"restarted {number} times within {bounds.restart_window:g} s, {allowed}"
    if bounds.max_checkpoint_age is None:
        return None
    if without:
        return "first checkpoint", f"has completed no checkpoint since its start {age:.0f} s ago"
    if age > bounds.max_checkpoint_age:
        allowed = f"{bounds.max_checkpoint_age:g} s are allowed"
        return "checkpoint", f"completed its last checkpoint {age:.0f} s ago, {allowed}"
    return None


def checkpoint_age(job: Mapping[str, Any], checkpoints: Mapping[str, Any] | None, clock: float) -> tuple[float, bool]:
    """Seconds since the last completed checkpoint, else since the start; and whether there is none."""
    completed = ((checkpoints or {}).get("latest") or {}).get("completed") or {}
    moment = completed.get("latest_ack_timestamp") or completed.get("trigger_timestamp")
    since = job.get("start-time", clock) if moment is None else moment
    return max(0.0, (clock - since) / 1000), moment is None


def restarts_since(exceptions: Mapping[str, Any] | None, since: float) -> tuple[int, bool]:
    """Failures after a moment (epoch milliseconds), and whether there may be more than Flink remembers."""
    history = (exceptions or {}).get("exceptionHistory") or {}
    entries = history.get("entries") or []
    recent = [entry for entry in entries if (entry.get("timestamp") or 0) >= since]
    return len(recent), bool(entries) and len(recent) == len(entries) and bool(history.get("truncated"))
