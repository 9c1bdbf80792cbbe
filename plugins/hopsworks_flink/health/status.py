"""What supervision leaves for the status page: the figures of its last look, and those of a day. Pure, JSON-safe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from hopsworks_flink.health.facts import JobFacts
from hopsworks_flink.health.verdict import KINDS, Verdict

#: Verdicts that are not one on a job: nobody could look; the pipeline was taken out of service.
UNKNOWN, UNDEPLOYED = "unknown", "undeployed"
#: XCom key under which a deployment that failed says why: ``action`` (``failed``, ``rolled_back``) and ``text``.
OUTCOME = "deployment_outcome"
DAY_SECONDS = 86_400.0
#: So many looks at the most; one every five minutes makes 288 a day.
MOST_LOOKS = 300
MOST_CHANGES = 30
#: The figures of a look that are kept for a day.
FIGURES = ("at", "verdict", "lag", "read", "written", "behind", "checkpoint")


@dataclass(frozen=True)
class Status:
    """A pipeline at one look.

    :param at: epoch seconds.
    :param verdict: one of `KINDS`, `UNKNOWN` or `UNDEPLOYED`.
    :param reasons: ``topic``, ``kind`` and ``text`` of each.
    :param facts: of the job, as `JobFacts.to_json`; empty: there was no look.
    :param rates: ``read`` and ``written`` a second, since the look before; without one, or after a new start, neither.
    :param version: the deployed version against the file: ``same``, ``differences`` (sentence parts), ``state`` (what a
        deployment would do with the state), ``hash``; empty: not known.
    :param freshness: ``p50``, ``p99``, ``measured`` and ``missed`` of a day and the ``limit``; empty: not measured.
    :param groups: ``name``, ``version``, ``online``, ``offline``, ``url`` and ``sample`` (rows) of each feature group.
    :param topics: role (``late``, ``quarantine``) -> ``name``, ``records`` (how many were ever written; None: unknown),
        ``reasons`` (of the newest, with how many) and ``newest``: ``at``, ``partition`` and ``offset`` in the source
        topic, ``reason``, ``detail``, ``value``.
    :param flink_url: the job in Flink's web UI.
    :param limits: ``lag``, ``checkpoint`` (seconds): the bounds on what is drawn.
    :param unknown: what could not be learned, and why, sentences.
    :param deploy_dag_id: the DAG that deploys the pipeline.
    """

    pipeline: str
    job_name: str
    topic: str
    at: float
    verdict: str
    description: str = ""
    reasons: Sequence[Mapping[str, str]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    version: Mapping[str, Any] = field(default_factory=dict)
    freshness: Mapping[str, Any] = field(default_factory=dict)
    groups: Sequence[Mapping[str, Any]] = ()
    topics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    flink_url: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    deploy_dag_id: str | None = None

    @classmethod
    def from_json(cls, data: Any) -> Status | None:
        """What an earlier look left; None if it is not ours."""
        known = {item.name for item in fields(cls)}
        try:
            return cls(**{name: value for name, value in data.items() if name in known})
        except (AttributeError, TypeError):
            return None

    def to_json(self) -> dict[str, Any]:
        """JSON-safe."""
        return asdict(self)


def reasons_of(verdict: Verdict) -> list[dict[str, str]]:
    """JSON-safe reasons."""
    return [{"topic": r.topic, "kind": r.kind, "text": r.text} for r in verdict.reasons]


def rates(facts: JobFacts, before: JobFacts | None) -> dict[str, float]:
    """Events read and rows written a second between two looks at one job."""
    if before is None or before.job_id != facts.job_id or facts.at <= before.at:
        return {}
    found = {}
    for name in ("read", "written"):
        now, then = getattr(facts, name), getattr(before, name)
        # A restart counts from zero again.
        if now is not None and then is not None and now >= then:
            found[name] = round((now - then) / (facts.at - before.at), 3)
    return found


def day_after(
    day: Mapping[str, Any] | None, status: Status, pipeline: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The day with one look more, and without what is older.

    :param day: what the look before left; None: nothing.
    :param pipeline: the file as data; it is kept, and also as the deployed one while both are the same.
    :return: ``looks`` (one list for each of `FIGURES`), ``jobs`` (``at``, ``job_id``, ``hash`` of each job that was new
        at a look), ``pipeline``, ``deployed``.
    """
    day = dict(day or {})
    looks = day.get("looks") or {}
    times = [*looks.get("at", ()), status.at]
    first = next(i for i, at in enumerate(times) if status.at - at <= DAY_SECONDS)
    first = max(first, len(times) - MOST_LOOKS)
    now = _figures(status)
    day["looks"] = {name: [*_column(looks, name, len(times) - 1), now[name]][first:] for name in FIGURES}
    job_id = status.facts.get("job_id") if status.facts.get("job_ids") else None
    jobs = list(day.get("jobs") or ())
    if job_id and (not jobs or jobs[-1]["job_id"] != job_id):
        jobs.append({"at": status.at, "job_id": job_id, "hash": status.version.get("hash")})
    day["jobs"] = jobs[-MOST_CHANGES:]
    if pipeline is not None:
        day["pipeline"] = dict(pipeline)
        if status.version.get("same"):
            day["deployed"] = dict(pipeline)
    return day


def _column(looks: Mapping[str, Any], name: str, length: int) -> list[Any]:
    """A list of this length, whatever an older version left."""
    values = list(looks.get(name) or ())[-length:] if length else []
    return [None] * (length - len(values)) + values


def _figures(status: Status) -> dict[str, float | int | None]:
    watermark = status.facts.get("watermark")
    return {
        "at": round(status.at),
        "verdict": KINDS.index(status.verdict) if status.verdict in KINDS else None,
        "lag": status.facts.get("lag"),
        "read": status.rates.get("read"),
        "written": status.rates.get("written"),
        "behind": None if watermark is None else round(max(0.0, status.at - watermark / 1000), 1),
        "checkpoint": status.facts.get("checkpoint_seconds"),
    }
