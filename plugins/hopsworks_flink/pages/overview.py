"""The overview: one row for each pipeline, in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from hopsworks_flink.health.status import UNDEPLOYED, UNKNOWN, Status
from hopsworks_flink.health.verdict import DEGRADED, DUPLICATED, HEALTHY, MISSING, SICK
from hopsworks_flink.health.words import duration, number
from hopsworks_flink.pages.known import Dag, Known

#: More than these are no verdict of supervision: a deployment is at work; nobody looks.
DEPLOYING, UNWATCHED = "deploying", "unwatched"
#: From what needs a person now to what needs nobody.
ORDER = (DUPLICATED, MISSING, SICK, UNKNOWN, UNWATCHED, DEGRADED, DEPLOYING, UNDEPLOYED, HEALTHY)
#: Looks come every five minutes; three that are missing are no accident.
STALE_SECONDS = 16 * 60.0
_NONE = "—"
# Those with a schedule; and a deployment of a paused DAG waits for ever.
_TO_BE_UNPAUSED = ("deploy", "supervise", "offline_backfill", "recompute")


@dataclass(frozen=True)
class Look:
    """What is to be said about a pipeline now.

    :param kind: one of `ORDER`.
    :param reason: why, a sentence; empty for a healthy one.
    """

    kind: str
    reason: str


@dataclass(frozen=True)
class Row:
    """A pipeline in the overview; everything that is shown is text.

    :param differs: what differs between the deployed version and the file; empty: nothing, or not known.
    :param old: whether the figures are those of a look that is long ago.
    :param next_runs: verb and when.
    """

    dag_id: str
    name: str
    description: str
    look: Look
    more: int
    seen: str
    old: bool
    job: str
    flink_url: str | None
    job_details: str
    version: str
    differs: str
    lag: str
    behind: str
    rates: str
    checkpoint: str
    freshness: str
    freshness_bad: bool
    materialized: str
    materialized_details: str
    next_runs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Overview:
    """The page.

    :param counts: kind -> number of pipelines, in `ORDER`.
    """

    rows: Sequence[Row]
    counts: Mapping[str, int]
    at: str


def overview(known: Sequence[Known], now: float) -> Overview:
    """The page at a moment, epoch seconds: what needs a person first."""
    rows = sorted((row_of(one, now) for one in known), key=lambda row: (ORDER.index(row.look.kind), row.name))
    counts = Counter(row.look.kind for row in rows)
    return Overview(rows, {kind: counts[kind] for kind in ORDER if counts[kind]}, clock(now))


def look_of(known: Known, now: float) -> Look:
    """What is to be said about a pipeline."""
    status, supervise = known.status, known.dags.get("supervise")
    if known.deploying:
        return Look(DEPLOYING, "a deployment runs or is queued; the next look judges what it leaves")
    paused = supervise is not None and supervise.paused
    if status is None:
        return Look(UNWATCHED, f"nobody looks: unpause {known.dag_id}" if paused else "there was no look yet")
    age = now - status.at
    if age > STALE_SECONDS and status.verdict != UNDEPLOYED:
        why = f"unpause {known.dag_id}" if paused else f"see why runs of {known.dag_id} do not end"
        return Look(UNWATCHED, f"the last look was {duration(age)} ago ({status.verdict}): {why}")
    if status.verdict == UNDEPLOYED:
        return Look(UNDEPLOYED, "it was taken out of service; deploy it to bring it back")
    return Look(status.verdict if status.verdict in ORDER else UNKNOWN, worst_reason(status))


def worst_reason(status: Status) -> str:
    """The text of the worst reason; empty without one."""
    order = {kind: place for place, kind in enumerate(ORDER)}
    return min((r for r in status.reasons), key=lambda r: order.get(r["kind"], 99), default={"text": ""})["text"]


def row_of(known: Known, now: float) -> Row:
    """One pipeline."""
    status = known.status
    facts: Mapping[str, Any] = status.facts if status else {}
    look = look_of(known, now)
    running = bool(facts.get("job_ids"))
    newest = max(known.materialized.values(), key=lambda one: one.at, default=None)
    freshness, bad = freshness_words(status.freshness if status else {})
    return Row(
        dag_id=known.dag_id,
        name=known.name,
        description=status.description if status else "",
        look=look,
        more=max(0, len(status.reasons) - 1) if status and look.kind == status.verdict else 0,
        seen=f"looked at {ago(status.at, now)}" if status else "",
        old=look.kind in (UNWATCHED, UNKNOWN),
        job=str(facts.get("job_id"))[:8] if running else "the last one" if facts.get("job_id") else _NONE,
        flink_url=web_url(status.flink_url) if status else None,
        job_details=job_words(facts) if running else str(facts.get("state") or "").lower(),
        version=version_words(status.version if status else {}),
        differs="; ".join(status.version.get("differences") or ()) if status else "",
        lag=amount(facts.get("lag")),
        behind=behind_words(facts, status.at if status else now),
        rates=rate_words(status.rates if status else {}),
        checkpoint=_NONE if facts.get("checkpoint_age") is None else f"{duration(facts['checkpoint_age'])} ago",
        freshness=freshness,
        freshness_bad=bad,
        materialized=_NONE if newest is None else ago(newest.at, now),
        materialized_details=_materialized_words(known),
        next_runs=[
            (verb, until(dag, now))
            for verb, dag in known.dags.items()
            if dag.next_run or (dag.paused and verb in _TO_BE_UNPAUSED)
        ],
    )


def job_words(facts: Mapping[str, Any]) -> str:
    """How a running job is."""
    restarts = facts.get("restarts_ever")
    parts = [f"up {duration(facts.get('age') or 0.0)}"]
    if restarts is not None:
        parts.append(f"{restarts} restart{'' if restarts == 1 else 's'}")
    if facts.get("parallelism"):
        parts.append(f"parallelism {facts['parallelism']}")
    return ", ".join(parts)


def version_words(version: Mapping[str, Any]) -> str:
    """Whether what runs is what the file says."""
    if "same" not in version:
        return _NONE
    return "as the file" if version["same"] else "differs"


def behind_words(facts: Mapping[str, Any], at: float) -> str:
    """How far the watermark was behind the clock."""
    watermark = facts.get("watermark")
    return _NONE if watermark is None else duration(max(0.0, at - watermark / 1000))


def rate_words(rates: Mapping[str, float]) -> str:
    """Events in and rows out."""
    if not rates:
        return _NONE
    return f"{amount(rates.get('read'))} in, {amount(rates.get('written'))} out"


def freshness_words(freshness: Mapping[str, Any]) -> tuple[str, bool]:
    """p50 and p99 against the bound, and whether the bound is broken."""
    if not freshness:
        return _NONE, False
    limit = f"of {duration(freshness['limit'])}"
    if "p99" not in freshness:
        return f"not yet measured, {limit}", False
    bad = freshness["p99"] > freshness["limit"] or bool(freshness.get("missed"))
    return f"{duration(freshness['p50'])} / {duration(freshness['p99'])} {limit}", bad


def _materialized_words(known: Known) -> str:
    if not known.materialized:
        return ""
    rows = sum(one.rows for one in known.materialized.values())
    ends = [one.end for one in known.materialized.values() if one.end is not None]
    unproved = [name for name, one in known.materialized.items() if not one.verified]
    parts = [f"{number(rows)} row{'' if rows == 1 else 's'}"]
    if ends:
        parts.append(f"to offset {number(sum(ends))}")
    if unproved:
        parts.append("not proved by offsets")
    return ", ".join(parts)


def amount(value: float | None) -> str:
    """A number, if it is known."""
    return _NONE if value is None else number(value)


def ago(at: float, now: float) -> str:
    """How long ago."""
    return f"{duration(max(0.0, now - at))} ago"


def until(dag: Dag, now: float) -> str:
    """When a DAG runs next."""
    if dag.paused:
        return "paused"
    assert dag.next_run is not None
    return f"in {duration(dag.next_run - now)}" if dag.next_run > now else "now"


def clock(at: float) -> str:
    """A moment, in UTC."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def web_url(url: str | None) -> str | None:
    """An address that a link may have: what stands in a connection is not trusted to be one."""
    return url if url and url.startswith(("http://", "https://")) else None
