"""One verdict on a streaming job, and what follows from it. Pure: made from facts and bounds, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from hopsworks_flink.clients.flink.http import is_transient
from hopsworks_flink.clients.flink.jobs import NOT_FOUND
from hopsworks_flink.exceptions import FlinkError
from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.health.facts import JobFacts

HEALTHY, DEGRADED, SICK, MISSING, DUPLICATED = "healthy", "degraded", "sick", "missing", "duplicated"
#: From well to worst; the verdict is the worst of its reasons.
KINDS = (HEALTHY, DEGRADED, SICK, MISSING, DUPLICATED)
# A job on its way to RUNNING, or out of it.
_IN_BETWEEN = ("CREATED", "INITIALIZING", "RECONCILING", "RESTARTING", "FAILING", "CANCELLING", "SUSPENDED")

Action = Literal["none", "warn", "redeploy", "alert"]


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

    @property
    def within_bounds(self) -> bool:
        """Whether the job runs and breaks no bound; restarts that the bounds allow do not count."""
        return all((reason.kind, reason.topic) == (DEGRADED, "restarts") for reason in self.reasons)

    def __str__(self) -> str:
        return "; ".join(reason.text for reason in self.reasons) or "all bounds are kept"

    def because(self, *reasons: Reason) -> Verdict:
        """The verdict with more reasons, from a source other than Flink."""
        return Verdict((*self.reasons, *reasons))

    def rooted_in(self, reason: Reason) -> Verdict:
        """The verdict with the reason that the others follow from: it comes first."""
        return Verdict((reason, *self.reasons))


def judge(job_name: str | None, facts: JobFacts, before: JobFacts | None, bounds: Bounds) -> Verdict:
    """The verdict on a job.

    :param job_name: the name it was looked for by; None: by its id.
    :param before: the look before, at the same job or another one; None: this is the first.
    """
    if len(facts.job_ids) > 1:
        text = f"{len(facts.job_ids)} jobs named {job_name!r} run at once: {', '.join(facts.job_ids)}"
        return Verdict((Reason(DUPLICATED, "duplicated", text),))
    if not facts.job_ids:
        ended = f"job {facts.job_id} is {facts.state}{_because(facts)}" if facts.job_id else ""
        if job_name is None:
            text = f"Flink does not know a job {facts.job_id}" if facts.state == NOT_FOUND else ended
            return Verdict((Reason(MISSING, "missing", text),))
        text = f"no job named {job_name!r} runs" + (f"; {ended}" if ended else "")
        return Verdict((Reason(MISSING, "missing", text, True),))
    if facts.state == "RUNNING" and facts.vertices is None:
        # It has just ended, most likely: the next look tells.
        text = f"job {facts.job_id} was RUNNING, and a moment later Flink did not know it"
        return Verdict((Reason(DEGRADED, "state", text),))
    found = _of_its_state(facts, bounds)
    # The cause is told once.
    found += _of_its_restarts(replace(facts, cause=None) if found else facts, bounds)
    found += _of_its_checkpoints(facts, bounds)
    if before is not None and before.job_id == facts.job_id:
        found += _of_its_progress(facts, before)
    found += _of_its_rows(facts, before)
    return Verdict((*found, *_of_its_lag(facts, bounds), *_of_its_silence(facts, before, bounds)))


def away(error: FlinkError) -> Verdict:
    """The verdict while Flink does not answer, which may pass.

    :raises FlinkError: the error, if it will stay.
    """
    if not is_transient(error):
        raise error
    return Verdict((Reason(DEGRADED, "away", str(error).rstrip(".")),))


def _of_its_state(facts: JobFacts, bounds: Bounds) -> list[Reason]:
    if facts.state == "RUNNING" and not facts.behind and facts.vertices != 0:
        return []
    text = f"job {facts.job_id} is {facts.state}"
    if facts.behind:
        text += f", {len(facts.behind)} of its vertices are not RUNNING ({'; '.join(facts.behind[:3])})"
    elif facts.vertices == 0:
        text += " and has no vertices yet"
    known = facts.state in _IN_BETWEEN or facts.state == "RUNNING"
    # A job takes its time to start, or to start again; one that was not well for this long has got stuck.
    unwell = facts.age if facts.checkpoint_age is None else facts.checkpoint_age
    passing = known and (bounds.max_checkpoint_age is None or unwell <= bounds.max_checkpoint_age)
    return [Reason(DEGRADED if passing else SICK, "state", text + _because(facts), curable=not passing)]


def _of_its_restarts(facts: JobFacts, bounds: Bounds) -> list[Reason]:
    if not facts.restarts:
        return []
    number = f"{'at least ' if facts.restarts_cut_off else ''}{facts.restarts} time{'s' if facts.restarts > 1 else ''}"
    text = f"it restarted {number} within {bounds.restart_window:g} s"
    if bounds.max_restarts is None or (facts.restarts <= bounds.max_restarts and not facts.restarts_cut_off):
        return [Reason(DEGRADED, "restarts", text + _because(facts))]
    return [Reason(SICK, "restarts", f"{text}, {bounds.max_restarts} are allowed{_because(facts)}", True)]


def _of_its_checkpoints(facts: JobFacts, bounds: Bounds) -> list[Reason]:
    first = facts.checkpoint_age is None
    age = facts.age if facts.checkpoint_age is None else facts.checkpoint_age
    done = "has completed no checkpoint since its start" if first else "completed its last checkpoint"
    text = f"the job {done} {age:.0f} s ago"
    if bounds.max_checkpoint_age is not None and age > bounds.max_checkpoint_age:
        return [Reason(SICK, "checkpoints", f"{text}, {bounds.max_checkpoint_age:g} s are allowed", True)]
    return [Reason(DEGRADED, "checkpoints", text)] if first and bounds.require_checkpoint else []


def _of_its_progress(facts: JobFacts, before: JobFacts) -> list[Reason]:
    """What only two looks at one job show."""
    found = []
    grown = _difference(facts.lag, before.lag)
    if facts.state == "RUNNING" and facts.watermark == before.watermark and grown is not None and grown > 0:
        text = (
            f"the watermark has not moved within {facts.at - before.at:.0f} s while the lag grew by {grown} to "
            f"{facts.lag} events"
        )
        # It reads or it waits for a partition: another job at the same place would do the same.
        found.append(Reason(SICK, "watermark", text))
    read = _added(facts.read, before.read)
    if facts.state == "RUNNING" and facts.watermark is None and before.watermark is None and read:
        text = (
            f"{read} events were read within {facts.at - before.at:.0f} s, {facts.read} since its last start, and "
            "there is no watermark: their event times are refused (missing, or too far from the Kafka timestamp), or "
            "a partition without events holds the watermark back"
        )
        found.append(Reason(SICK, "refused", text))
    if dropped := _added(facts.late, before.late):
        # The same event is late for some windows, and may count in others.
        text = f"{dropped} events came behind the watermark, too late for a window; each kind of window counts its own"
        found.append(Reason(DEGRADED, "late", text))
    return found


def _of_its_rows(facts: JobFacts, before: JobFacts | None) -> list[Reason]:
    """Rows that the online store dropped since the last look. Another job would write the same."""
    found = []
    for name, rows in facts.online.items():
        if not rows.new_failed:
            continue
        earlier = before.online.get(name) if before is not None else None
        grows = earlier is not None and 0 < 2 * earlier.new_failed <= rows.new_failed
        text = (
            f"the online store dropped {rows.new_failed} of {rows.new_failed + rows.new_taken} new rows for feature "
            f"group {name}, {rows.failed} since the job's start (FAILED in online ingestion {rows.ingestion_id}): "
        )
        if rows.short:
            text += f"a string may be longer than its column ({', '.join(rows.short)}); give the group a new version "
            text += "with longer online_types"
        else:
            text += "the platform's log of online ingestion says why"
        found.append(Reason(SICK if grows or rows.new_failed >= rows.new_taken else DEGRADED, "online", text))
    return found


def _of_its_lag(facts: JobFacts, bounds: Bounds) -> list[Reason]:
    if bounds.max_lag is None or facts.lag is None or facts.lag <= bounds.max_lag:
        return []
    return [Reason(DEGRADED, "lag", f"{facts.lag} events wait in the topic, {bounds.max_lag} are allowed")]


def _of_its_silence(facts: JobFacts, before: JobFacts | None, bounds: Bounds) -> list[Reason]:
    if bounds.max_silence is None or before is None or facts.written is None or facts.written_at is None:
        return []
    silent = facts.at - facts.written_at
    if silent <= bounds.max_silence or not _added(facts.read, before.read):
        return []
    text = f"nothing was written for {silent:.0f} s while events were read, {bounds.max_silence:g} s are allowed"
    return [Reason(SICK, "silence", text)]


def _difference(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else now - before


def _added(now: int | None, before: int | None) -> int | None:
    """What a count has got since the look before; a restart counts from zero again."""
    grown = _difference(now, before)
    return now if grown is not None and grown < 0 else grown


def _because(facts: JobFacts) -> str:
    return f" (cause: {facts.cause})" if facts.cause else ""


def next_action(
    verdict: Verdict, policy: str, attempts: Sequence[float], at: float, limit: int, window: float
) -> Action:
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
