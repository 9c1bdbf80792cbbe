"""What one look at a job tells: the facts from which all judgements are made, and the questions that gather them."""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from hopsworks_flink.clients.flink.failures import root_exception
from hopsworks_flink.clients.flink.http import Question
from hopsworks_flink.clients.flink.jobs import NOT_FOUND, TERMINAL_STATES, lowest_watermark
from hopsworks_flink.exceptions import FlinkApiError
from hopsworks_flink.health.rows import OnlineRows

# Metrics of the source, the window operators, and the writers of feature groups, not of the topics of late and refused
# events. A chained operator has no counts of records at its vertex.
_METRICS = {
    "lag": r"(.+\.)?pendingRecords",
    "late": r"(.+\.)?numLateRecordsDropped",
    "written": r".+(?<!_late)(?<!_quarantine)__Writer\.numRecordsSend",
}
# Without an operator's name it is what the head of a chain reads: each operator behind it counts once more.
_READ = {"read": r"numRecordsIn"}
# A joined topic's is called "prices topic", and its records are no events.
_JOINED = re.compile(r"Source: \w+ topic\b")


@dataclass(frozen=True)
class JobFacts:
    """One job at one moment; JSON-safe, so that the next look can be compared with it.

    :param at: epoch seconds.
    :param job_ids: the job's id, unless it has ended; with a name, the ids of all jobs of that name that have not.
    :param job_id: the job that runs, or the last one that ended; None: Flink knows none, or several run.
    :param state: Flink's state of it; ``NOT_FOUND`` if Flink does not know the id.
    :param parallelism: the largest of its vertices.
    :param age: seconds since its start.
    :param vertices: how many it has; None: not told.
    :param behind: vertices that do not run, with their states; with parallelism > 1 all subtasks must run.
    :param checkpoints: how many have completed since its start (a restore does not count).
    :param checkpoint_age: seconds since the last completed checkpoint; None: none since the start.
    :param checkpoint_seconds: how long that checkpoint took.
    :param well_for: seconds for which all its subtasks are known to have run without a restart: since the oldest
        checkpoint that Flink remembers of this time. One is only triggered, and only completes, while all of them run.
    :param restarts: within the window.
    :param restarts_cut_off: whether there may have been more than Flink remembers.
    :param restarts_ever: since its start; None: not told.
    :param cause: innermost cause of its last failure.
    :param watermark: the lowest one, epoch milliseconds; None: none yet.
    :param lag: events of the topic that were not read; None: not told.
    :param read: events read; ``late``: of these, dropped behind the watermark; ``written``: rows; all since the start.
    :param written_at: when ``written`` was last seen to change, epoch seconds.
    :param online: feature group -> what the online store did with the job's rows; empty: not asked for.
    """

    at: float
    job_ids: tuple[str, ...] = ()
    job_id: str | None = None
    state: str | None = None
    parallelism: int | None = None
    age: float = 0.0
    vertices: int | None = None
    behind: tuple[str, ...] = ()
    checkpoints: int = 0
    checkpoint_age: float | None = None
    checkpoint_seconds: float | None = None
    well_for: float = 0.0
    restarts: int = 0
    restarts_cut_off: bool = False
    restarts_ever: int | None = None
    cause: str | None = None
    watermark: int | None = None
    lag: int | None = None
    read: int | None = None
    late: int | None = None
    written: int | None = None
    written_at: float | None = None
    online: Mapping[str, OnlineRows] = field(default_factory=dict)

    @property
    def all_running(self) -> bool:
        """Whether the job and each of its vertices run."""
        return self.state == "RUNNING" and bool(self.vertices) and not self.behind

    @property
    def summary(self) -> str:
        """One sentence about a job that runs."""
        last = "no checkpoint" if self.checkpoint_age is None else f"last checkpoint {self.checkpoint_age:.0f} s ago"
        return f"job {self.job_id} is {self.state} with {self.vertices} vertices, {last}, {self.restarts} restart(s)"

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> JobFacts | None:
        """The facts of an earlier look; None if there are none, or it is not ours."""
        if not data or "at" not in data:
            return None
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in data.items() if n in known}
        rows = {name: {**row, "short": tuple(row["short"])} for name, row in data.get("online", {}).items()}
        return cls(**{**values, "online": {name: OnlineRows(**row) for name, row in rows.items()}})

    def to_json(self) -> dict[str, Any]:
        """JSON-safe facts."""
        online = {name: {**asdict(rows), "short": list(rows.short)} for name, rows in self.online.items()}
        return {**{name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}, "online": online}

    def after(self, before: JobFacts | None) -> JobFacts:
        """These facts, with the time of the last row that the look before knew, and which online rows are new."""
        known = before.online if before is not None else {}
        # What the platform did not tell this time is asked for the next time.
        online = {name: rows.after(known.get(name)) for name, rows in (self.online or known).items()}
        same = before is not None and before.job_id == self.job_id and before.written == self.written
        return replace(self, written_at=before.written_at if same and before is not None else self.at, online=online)


def job_facts(
    job_name: str | None, job_id: str | None, now: float, *, restart_window: float = 600.0, counts: bool = False
) -> Generator[Question, Any, JobFacts]:
    """Look at one job once. Yields questions to a REST client and takes the answers; errors are thrown in.

    :param job_name: the one job of this name that has not ended, else the last one; or
    :param job_id: this job.
    :param now: epoch seconds, for a JobManager that does not tell its own time.
    :param restart_window: seconds in which restarts count.
    :param counts: also ask each vertex for its counts and its watermark; only the blocking client can.
    """
    if job_id is None:
        named = [entry for entry in (yield ("jobs",)) if entry["name"] == job_name]
        active = tuple(entry["jid"] for entry in named if entry["state"] not in TERMINAL_STATES)
        if len(active) > 1 or not named:
            return JobFacts(now, active)
        job = max(named, key=lambda entry: (entry["jid"] in active, entry["start-time"]))
    else:
        job = yield ("find_job", job_id)
        if job is None:
            return JobFacts(now, job_id=job_id, state=NOT_FOUND)
        active = () if job["state"] in TERMINAL_STATES else (job_id,)
    # The list of jobs is always true. What follows it comes out of a cache of Flink's, a few seconds old.
    facts = JobFacts(now, active, job["jid"], job["state"], age=max(0.0, now - job["start-time"] / 1000))
    try:
        exceptions = yield ("exceptions", job["jid"])
        facts = replace(facts, cause=root_exception(exceptions))
        if not active:
            return facts
        job = job if "vertices" in job else (yield ("job", job["jid"]))
        facts = _with_execution(facts, job, exceptions, restart_window)
        facts = _with_checkpoints(facts, job, (yield ("checkpoints", job["jid"])))
        ever = (yield ("job_metrics", job["jid"], ["numRestarts"])).get("numRestarts")
        facts = replace(facts, restarts_ever=None if ever is None else int(ever))
        return (yield from _with_counts(facts, job)) if counts else facts
    except FlinkApiError as error:
        if error.status_code != 404:
            raise
        # It ended just now, or has no execution graph yet.
        return facts


def _with_execution(
    facts: JobFacts, job: Mapping[str, Any], exceptions: Mapping[str, Any], restart_window: float
) -> JobFacts:
    clock = _clock(facts, job)
    vertices = job.get("vertices") or []
    history = exceptions.get("exceptionHistory") or {}
    entries = history.get("entries") or []
    recent = [entry for entry in entries if (entry.get("timestamp") or 0) >= clock - restart_window * 1000]
    return replace(
        facts,
        parallelism=max((int(vertex.get("parallelism") or 1) for vertex in vertices), default=None),
        age=max(0.0, (clock - job.get("start-time", clock)) / 1000),
        vertices=len(vertices),
        behind=tuple(sorted(f"{v['name']}: {v['status']}" for v in vertices if v["status"] != "RUNNING")),
        restarts=len(recent),
        restarts_cut_off=bool(entries) and len(recent) == len(entries) and bool(history.get("truncated")),
    )


def _with_checkpoints(facts: JobFacts, job: Mapping[str, Any], checkpoints: Mapping[str, Any]) -> JobFacts:
    completed = (checkpoints.get("latest") or {}).get("completed") or {}
    moment = completed.get("latest_ack_timestamp") or completed.get("trigger_timestamp")
    took = completed.get("end_to_end_duration")
    running_since = (job.get("timestamps") or {}).get("RUNNING") or math.inf
    proofs = [
        one["trigger_timestamp"]
        for one in checkpoints.get("history") or ()
        if one["status"] == "COMPLETED" and one["trigger_timestamp"] >= running_since
    ]
    return replace(
        facts,
        checkpoints=int((checkpoints.get("counts") or {}).get("completed", 0)),
        checkpoint_age=None if moment is None else round(max(0.0, (_clock(facts, job) - moment) / 1000), 3),
        checkpoint_seconds=None if took is None else took / 1000,
        well_for=max(0.0, (_clock(facts, job) - min(proofs)) / 1000) if proofs else 0.0,
    )


def _with_counts(facts: JobFacts, job: Mapping[str, Any]) -> Generator[Question, Any, JobFacts]:
    sums: dict[str, float] = {}
    watermarks = []
    for vertex in job.get("vertices") or ():
        patterns = {**_METRICS, **(_READ if _reads_events(vertex["name"]) else {})}
        if _JOINED.match(str(vertex["name"])):
            del patterns["lag"]
        found = yield ("vertex_metrics", job["jid"], vertex["id"], patterns)
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + value
        watermarks.append((yield ("watermarks", job["jid"], vertex["id"])))
    whole = {name: round(value) for name, value in sums.items()}
    if any(_reads_events(name) for name in facts.behind):
        # A source that does not run has what it last said, or nothing: not what waits now.
        whole.pop("lag", None)
    return replace(
        facts,
        watermark=lowest_watermark(watermarks),
        lag=whole.get("lag"),
        read=whole.get("read"),
        late=whole.get("late"),
        written=whole.get("written"),
    )


def _reads_events(vertex: str) -> bool:
    return vertex.startswith("Source: ") and not _JOINED.match(vertex)


def _clock(facts: JobFacts, job: Mapping[str, Any]) -> float:
    """The JobManager's time, epoch milliseconds."""
    return float(job.get("now") or facts.at * 1000)
