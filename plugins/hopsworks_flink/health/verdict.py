"""One verdict on a supervised streaming job, and what follows from it. Pure: fed with looks, does no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

HEALTHY, DEGRADED, SICK, MISSING, DUPLICATED = "healthy", "degraded", "sick", "missing", "duplicated"
#: From well to worst; the verdict is the worst of its reasons.
KINDS = (HEALTHY, DEGRADED, SICK, MISSING, DUPLICATED)
# A job on its way to RUNNING, or out of it.
_IN_BETWEEN = ("CREATED", "INITIALIZING", "RECONCILING", "RESTARTING", "FAILING", "CANCELLING", "SUSPENDED")

Action = Literal["none", "warn", "redeploy", "alert"]


@dataclass(frozen=True)
class Bounds:
    """What the job is held to, as in :class:`~hopsworks_flink.pipeline.spec.supervision.Supervision`; in seconds."""

    max_checkpoint_age: float = 300.0
    max_restarts: int = 3
    restart_window: float = 600.0
    max_lag: int | None = None
    max_silence: float | None = None


@dataclass(frozen=True)
class Look:
    """The facts about a pipeline's job at one moment; JSON-safe, so that the next look can be held against it.

    :param at: epoch seconds.
    :param job_ids: all jobs of the name that have not ended.
    :param job_id: the one that runs, or the last one that ended; None: Flink knows none.
    :param parallelism: the largest of its vertices.
    :param age: seconds since its start.
    :param behind: vertices that do not run, with their states.
    :param checkpoint_age: seconds since the last completed checkpoint; None: none since the start.
    :param restarts: within the window.
    :param cause: innermost cause of its last failure.
    :param watermark: the lowest one, epoch milliseconds; None: none yet.
    :param lag: events of the topic that were not read; None: not told.
    :param read: events read; ``late``: of these, dropped behind the watermark; ``written``: rows; all since the start.
    :param written_at: when ``written`` was last seen to change, epoch seconds.
    """

    at: float
    job_ids: tuple[str, ...] = ()
    job_id: str | None = None
    state: str | None = None
    parallelism: int | None = None
    age: float = 0.0
    behind: tuple[str, ...] = ()
    checkpoint_age: float | None = None
    restarts: int = 0
    cause: str | None = None
    watermark: int | None = None
    lag: int | None = None
    read: int | None = None
    late: int | None = None
    written: int | None = None
    written_at: float | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Look | None:
        """What an earlier look left behind; None if there is none, or nothing of ours."""
        if not data or "at" not in data:
            return None
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in data.items() if n in known}
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """JSON-safe facts."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def after(self, before: Look | None) -> Look:
        """This look, knowing from the one before since when nothing was written."""
        same = before is not None and before.job_id == self.job_id and before.written == self.written
        return replace(self, written_at=before.written_at if same and before is not None else self.at)


@dataclass(frozen=True)
class Reason:
    """One thing that is wrong.

    :param kind: how bad it is.
    :param topic: a word that names it, by which the runbook has a section.
    :param text: a clause with the figures.
    :param curable: whether deploying the pipeline again can help.
    """

    kind: str
    topic: str
    text: str
    curable: bool = False


@dataclass(frozen=True)
class Verdict:
    """How the job is, with all reasons; none if it is healthy."""

    reasons: tuple[Reason, ...] = field(default_factory=tuple)

    @property
    def kind(self) -> str:
        """The worst of the reasons."""
        return max((reason.kind for reason in self.reasons), key=KINDS.index, default=HEALTHY)

    @property
    def curable(self) -> bool:
        """Whether deploying again can help: everything that makes it so bad can be cured so."""
        return bool(self.reasons) and all(reason.curable for reason in self.reasons if reason.kind == self.kind)

    def __str__(self) -> str:
        return "; ".join(reason.text for reason in self.reasons) or "all bounds are kept"

    def because(self, *reasons: Reason) -> Verdict:
        """The verdict with more reasons, of somebody who knows more than Flink tells."""
        return Verdict((*self.reasons, *reasons))


def judge(job_name: str, look: Look, before: Look | None, bounds: Bounds) -> Verdict:
    """The verdict on a look.

    :param before: the look before it, at the same job or another one; None: this is the first.
    """
    if len(look.job_ids) > 1:
        text = f"{len(look.job_ids)} jobs named {job_name!r} run at once: {', '.join(look.job_ids)}"
        return Verdict((Reason(DUPLICATED, "duplicated", text),))
    if not look.job_ids:
        last = f"; job {look.job_id} is {look.state}" if look.job_id else ""
        return Verdict((Reason(MISSING, "missing", f"no job named {job_name!r} runs{last}{_because(look)}", True),))
    found = [*_of_its_state(look, bounds), *_of_its_restarts(look, bounds), *_of_its_checkpoints(look, bounds)]
    if before is not None and before.job_id == look.job_id:
        found += _of_its_progress(look, before)
    return Verdict((*found, *_of_its_lag(look, bounds), *_of_its_silence(look, before, bounds)))


def _of_its_state(look: Look, bounds: Bounds) -> list[Reason]:
    if look.state == "RUNNING" and not look.behind:
        return []
    text = f"job {look.job_id} is {look.state}"
    if look.behind:
        text += f", {len(look.behind)} of its vertices are not RUNNING ({'; '.join(look.behind[:3])})"
    known = look.state in _IN_BETWEEN or look.state == "RUNNING"
    # A job takes its time to start, or to start again; one that was not well for this long has got stuck.
    unwell = look.age if look.checkpoint_age is None else look.checkpoint_age
    passing = known and unwell <= bounds.max_checkpoint_age
    return [Reason(DEGRADED if passing else SICK, "state", text + _because(look), curable=not passing)]


def _of_its_restarts(look: Look, bounds: Bounds) -> list[Reason]:
    if not look.restarts:
        return []
    text = f"it restarted {look.restarts} time(s) within {bounds.restart_window:g} s{_because(look)}"
    if look.restarts > bounds.max_restarts:
        return [Reason(SICK, "restarts", f"{text}, {bounds.max_restarts} are allowed", True)]
    return [Reason(DEGRADED, "restarts", text)]


def _of_its_checkpoints(look: Look, bounds: Bounds) -> list[Reason]:
    age = look.age if look.checkpoint_age is None else look.checkpoint_age
    if age <= bounds.max_checkpoint_age:
        return []
    done = "has completed no checkpoint since its start" if look.checkpoint_age is None else "completed its last one"
    text = f"the job {done} {age:.0f} s ago, {bounds.max_checkpoint_age:g} s are allowed"
    return [Reason(SICK, "checkpoints", text.replace("last one", "last checkpoint"), True)]


def _of_its_progress(look: Look, before: Look) -> list[Reason]:
    """What only two looks at one job show."""
    found = []
    grown = _difference(look.lag, before.lag)
    if look.state == "RUNNING" and look.watermark == before.watermark and grown is not None and grown > 0:
        text = (
            f"the watermark has not moved within {look.at - before.at:.0f} s while the lag grew by {grown} to "
            f"{look.lag} events"
        )
        # It reads or it waits for a partition: another job at the same place would do the same.
        found.append(Reason(SICK, "watermark", text))
    dropped = _difference(look.late, before.late)
    if dropped is not None and dropped > 0:
        found.append(Reason(DEGRADED, "late", f"{dropped} events came behind the watermark and count nowhere"))
    return found


def _of_its_lag(look: Look, bounds: Bounds) -> list[Reason]:
    if bounds.max_lag is None or look.lag is None or look.lag <= bounds.max_lag:
        return []
    return [Reason(DEGRADED, "lag", f"{look.lag} events wait in the topic, {bounds.max_lag} are allowed")]


def _of_its_silence(look: Look, before: Look | None, bounds: Bounds) -> list[Reason]:
    if bounds.max_silence is None or before is None or look.written is None or look.written_at is None:
        return []
    silent = look.at - look.written_at
    read = _difference(look.read, before.read)
    if silent <= bounds.max_silence or not read or read < 0:
        return []
    text = f"nothing was written for {silent:.0f} s while events were read, {bounds.max_silence:g} s are allowed"
    return [Reason(SICK, "silence", text)]


def _difference(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else now - before


def _because(look: Look) -> str:
    return f" (cause: {look.cause})" if look.cause else ""


def decide(verdict: Verdict, policy: str, attempts: Sequence[float], at: float, limit: int, window: float) -> Action:
    """What follows from a verdict.

    :param policy: ``alert`` or ``redeploy``.
    :param attempts: when the pipeline was deployed again, epoch seconds.
    :param at: now, epoch seconds.
    :param limit: so many attempts within ``window`` seconds are the most.
    """
    if verdict.kind == HEALTHY:
        return "none"
    if verdict.kind == DEGRADED:
        return "warn"
    if policy != "redeploy" or not verdict.curable or len(recent(attempts, at, window)) >= limit:
        return "alert"
    return "redeploy"


def recent(attempts: Sequence[float], at: float, window: float) -> list[float]:
    """Those of the attempts that are not older than the window."""
    return [attempt for attempt in attempts if at - attempt <= window]
