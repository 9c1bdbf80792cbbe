"""Why a value is what it is: the places that have it, held against each other, and a name for each difference. Pure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

from hopsworks_flink.pipeline.types import FeatureType

LATE = "late_event"
STALE = "stale_online"
BEHIND = "online_behind"
WAITING = "not_materialized"
RECOMPUTED = "recomputed_since"
FOREIGN = "another_writer"
GONE = "events_gone"
OTHER_FILE = "file_differs"
REFUSED = "refused_event"
OPEN = "window_open"
UNEXPLAINED = "unexplained"

#: Cause -> what to do about it, a sentence.
REMEDIES: Mapping[str, str] = {
    LATE: "Raise source.max_disorder if events come late often; recompute the interval for the offline store "
    "(<pipeline>__recompute).",
    STALE: "Set on_empty: zero (or 'null', in quotes) in the feature group, or a ttl, so that a silent key does not "
    "keep its last value.",
    BEHIND: "Look whether the online store drops rows (FAILED rows: the runbook's section online) or lags behind its "
    "topic.",
    WAITING: "Run <pipeline>__offline_backfill, or wait for its next run.",
    RECOMPUTED: "Nothing is wrong: the offline store has what was computed again, the online store what the stream "
    "computed.",
    FOREIGN: "Find who else writes to the feature group and stop it; then recompute the interval, and let the stream "
    "write the key again.",
    GONE: "Keep the topic's records longer (retention.ms), or give the pipeline a history of files; this value cannot "
    "be checked any more.",
    OTHER_FILE: "Deploy the file, or explain with the file that is deployed (`hopsworks-flink plan FILE` names the "
    "differences).",
    REFUSED: "Correct the producer, or the setting that refuses the event (max_future, max_past, the event time's "
    "unit).",
    OPEN: "Wait until the watermark has passed; if it stands still, see the runbook's section watermark.",
    UNEXPLAINED: "Keep this output; widen --margin, and compare with a recompute of the interval.",
}
#: Causes by which a value is as the pipeline means it, or soon will be: an audit only warns of them.
EXPECTED = frozenset({LATE, STALE, RECOMPUTED, REFUSED, OPEN, GONE, OTHER_FILE})

#: What wrote a row: a job of the pipeline, a recompute, or somebody else.
JOB, RECOMPUTE, STRANGER = "job", "recompute", "stranger"
#: What became of an event.
COUNTED, DUPLICATE, LEFT_OUT = "counted", "duplicate", "left out by where"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Row(NamedTuple):
    """One row of a feature group.

    :param time: of the window's end or of the event, epoch milliseconds; None: the group has no event time.
    """

    time: int | None
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Event:
    """One record of the source topic that has to do with a value.

    :param time: event time, epoch milliseconds; None: it has none that counts.
    :param timestamp: Kafka's, epoch milliseconds.
    :param outcome: ``counted``, ``duplicate``, ``left out by where``, or why it is refused.
    :param behind: by how much it came behind the watermark, milliseconds; None: it did not, or nobody can say.
    """

    partition: int
    offset: int
    timestamp: int
    time: int | None
    outcome: str
    behind: int | None = None

    @property
    def is_refused(self) -> bool:
        """Whether it counts nowhere, for what it says itself."""
        return self.outcome not in (COUNTED, DUPLICATE, LEFT_OUT)

    def __str__(self) -> str:
        return f"partition {self.partition} offset {self.offset}"


@dataclass(frozen=True)
class Written:
    """One row of the key in the feature group's topic.

    :param timestamp: Kafka's, epoch milliseconds: when it was written.
    :param ingestion_id: under which the platform counts it; None: it says none.
    :param online: whether it is for the online store; ``offline`` likewise.
    """

    partition: int
    offset: int
    timestamp: int
    writer: str
    row: Row
    ingestion_id: int | None = None
    online: bool = True
    offline: bool = True

    def __str__(self) -> str:
        return f"partition {self.partition} offset {self.offset}, written {iso(self.timestamp)}"


@dataclass(frozen=True)
class Store:
    """What one store has.

    :param row: online the row of the key, offline that of the key and the time; None: there is none.
    :param lacking: events without which the same computation gives the store's value; empty: there are no such events.
    """

    row: Row | None = None
    lacking: Sequence[Event] = ()


@dataclass(frozen=True)
class Facts:
    """All that is known about one value. Stores that were not asked, or did not answer, are None.

    :param at: the row's time, epoch milliseconds.
    :param types: of the features.
    :param recomputed: the row that the events come to; None: they come to none.
    :param has_time: whether the group's rows carry their time.
    :param closing: the watermark at which the row is emitted, epoch milliseconds; None: just before its time.
    :param watermark: of the running job, epoch milliseconds; None: no job runs, or it has none.
    :param job: id of the running job; None: none runs, or Flink does not say.
    :param asked_flink: whether Flink said anything.
    :param written: the key's rows in the feature group's topic for this time (all of them, if the group has no event
        time), in the order in which they were written; None: the topic was not read, or not to its end.
    :param materialized: partition of that topic -> everything before this offset is offline; None: unknown.
    :param gone: why events are missing in the source topic, a sentence part.
    :param differences: how the file differs from what is deployed, sentence parts; empty: it does not.
    :param refused: events of the key that count nowhere.
    :param unread: why not all events were read, a sentence part.
    """

    at: int
    types: Mapping[str, FeatureType]
    recomputed: Row | None
    online: Store | None = None
    offline: Store | None = None
    has_time: bool = True
    closing: int | None = None
    watermark: int | None = None
    job: str | None = None
    asked_flink: bool = True
    written: Sequence[Written] | None = None
    materialized: Mapping[int, int] | None = None
    gone: str | None = None
    differences: Sequence[str] = ()
    refused: Sequence[Event] = ()
    unread: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the job has not come to the end of the window."""
        closing = self.at - 1 if self.closing is None else self.closing
        return self.asked_flink and (self.watermark is None or self.watermark < closing)

    @property
    def has_moved_on(self) -> bool:
        """Whether what is online is of a later time, which says nothing about this one."""
        row = self.online.row if self.online is not None else None
        return self.has_time and row is not None and row.time is not None and row.time > self.at

    def holds(self, store: Store | None) -> bool:
        """Whether a store has a row of this very time, or one that has no time."""
        return store is not None and store.row is not None and store.row.time in (None, self.at)

    def same(self, one: Row | None, other: Row | None) -> bool:
        """Whether two rows have the same values."""
        return not self.unlike(one, other)

    def unlike(self, one: Row | None, other: Row | None) -> list[str]:
        """Features in which two rows differ; all of them if only one of the rows exists."""
        return unlike(one, other, self.types)


@dataclass(frozen=True)
class Finding:
    """A difference, or something that a person will ask about, with its cause.

    :param where: the places that are concerned: ``online``, ``offline``; ``events`` if no value differs.
    :param text: figures, a clause.
    """

    cause: str
    where: tuple[str, ...]
    text: str
    remedy: str = field(default="")

    @property
    def differs(self) -> bool:
        """Whether a value is other than what the events come to."""
        return self.where != ("events",)


@dataclass(frozen=True)
class Explanation:
    """One value, explained.

    :param group: full name of the feature group.
    :param key: key feature -> value.
    :param events: those of the row, and refused ones of the key, in the order of their arrival.
    :param read: what was read, sentence parts.
    :param unknown: what could not be learned, and why, sentence parts.
    """

    pipeline: str
    group: str
    key: Mapping[str, Any]
    facts: Facts
    events: Sequence[Event]
    findings: Sequence[Finding]
    read: Sequence[str] = ()
    unknown: Sequence[str] = ()

    @property
    def differs(self) -> bool:
        """Whether a store has another value than the events come to."""
        return any(finding.differs for finding in self.findings)

    @property
    def columns(self) -> dict[str, Row | None]:
        """Place -> its row, of the places that were asked."""
        facts = self.facts
        stores = {"online": facts.online, "offline": facts.offline}
        found = {name: store.row for name, store in stores.items() if store is not None}
        return {**found, "recomputed": facts.recomputed}

    @property
    def compared(self) -> list[str]:
        """Stores that were held against what the events come to."""
        facts = self.facts
        stores = {"online": None if facts.has_moved_on else facts.online, "offline": facts.offline}
        return [name for name, store in stores.items() if store is not None]

    def to_dict(self) -> dict[str, Any]:
        """As data; values as they are."""
        columns = self.columns
        return {
            "pipeline": self.pipeline,
            "feature_group": self.group,
            "key": dict(self.key),
            "time": iso(self.facts.at),
            "differs": self.differs,
            "findings": [
                {"cause": f.cause, "where": list(f.where), "text": f.text, "remedy": f.remedy} for f in self.findings
            ],
            "values": {
                place: None if row is None else {"time": None if row.time is None else iso(row.time), **row.values}
                for place, row in columns.items()
            },
            "events": [
                {
                    "partition": event.partition,
                    "offset": event.offset,
                    "event_time": None if event.time is None else iso(event.time),
                    "kafka_time": iso(event.timestamp),
                    "outcome": event.outcome,
                    "behind_ms": event.behind,
                }
                for event in self.events
            ],
            "read": list(self.read),
            "unknown": list(self.unknown),
        }


def findings(facts: Facts) -> list[Finding]:
    """What differs and why, the most telling first; then what else a person will ask about. Empty: all is one."""
    found = [("online", _online(facts)), ("offline", _offline(facts)), ("offline", _since(facts))]
    merged: dict[tuple[str, str], tuple[str, ...]] = {}
    for where, one in found:
        if one is not None:
            merged[one] = tuple(dict.fromkeys([*merged.get(one, ()), where]))
    if facts.refused:
        merged[REFUSED, _named(facts.refused, "count nowhere", reasons=True)] = ("events",)
    return [Finding(cause, where, text, REMEDIES[cause]) for (cause, text), where in merged.items()]


def _online(facts: Facts) -> tuple[str, str] | None:
    if facts.online is None:
        return None
    row, wanted = facts.online.row, facts.recomputed
    if facts.has_moved_on:
        return None
    if facts.holds(facts.online) and (facts.has_time or wanted is not None):
        return None if facts.same(row, wanted) else _value(facts, "online", facts.online)
    if wanted is None:
        if row is None:
            return None
        return STALE, f"no event is in the window up to {iso(facts.at)}; what is served is the row of {_time(row)}"
    if facts.is_open:
        return OPEN, _open(facts)
    if newest := _newest(facts, "online"):
        served = f"served is the row of {_time(row)}" if row is not None else "there is no row"
        return BEHIND, f"the row stands in the topic ({newest}), and {served}"
    return _absent(facts, facts.online)


def _offline(facts: Facts) -> tuple[str, str] | None:
    if facts.offline is None or facts.same(facts.offline.row, facts.recomputed):
        return None
    if facts.offline.row is not None:
        if not facts.has_time and facts.recomputed is None:
            # It keeps the newest row.
            return None
        return _value(facts, "offline", facts.offline)
    if facts.is_open and not facts.holds(facts.online):
        return OPEN, _open(facts)
    if newest := _newest(facts, "offline"):
        if facts.materialized is None or newest.offset >= facts.materialized.get(newest.partition, 0):
            return WAITING, _waiting(facts, newest)
        return UNEXPLAINED, f"the row ({newest}) is behind what was materialized, and is not in the offline store"
    if facts.written is None and facts.holds(facts.online):
        return WAITING, "the row is online already"
    return _absent(facts, facts.offline)


def _since(facts: Facts) -> tuple[str, str] | None:
    """The offline row was computed again after the stream had written its own."""
    if facts.offline is None or facts.offline.row is None or not facts.same(facts.offline.row, facts.recomputed):
        return None
    rows = facts.written or ()
    again = [one for one in rows if one.writer == RECOMPUTE and facts.same(one.row, facts.offline.row)]
    streamed = [one for one in rows if one.writer == JOB]
    if not again or not streamed or facts.same(streamed[-1].row, facts.offline.row):
        return None
    return (
        RECOMPUTED,
        f"a recompute wrote the offline row ({again[-1]}); the stream had written another ({streamed[-1]})",
    )


def _value(facts: Facts, where: str, store: Store) -> tuple[str, str]:
    """Why a store has another value than the events come to."""
    rows = [one for one in facts.written or () if getattr(one, where)]
    match = next((one for one in reversed(rows) if facts.same(one.row, store.row)), None)
    if match is not None and match.writer == STRANGER:
        number = "without an ingestion id" if match.ingestion_id is None else f"ingestion id {match.ingestion_id}"
        return FOREIGN, f"its row ({match}, {number}) is of no job of this pipeline that Flink knows"
    if match is not None and match is not rows[-1] and facts.same(rows[-1].row, facts.recomputed):
        if where == "offline":
            return WAITING, _waiting(facts, rows[-1])
        return BEHIND, f"the right row stands in the topic ({rows[-1]}), and an older one is served"
    if match is None and rows:
        return FOREIGN, f"none of the {len(rows)} row(s) in the topic has its value, the last being {rows[-1]}"
    return _unlike(facts, store)


def _absent(facts: Facts, store: Store) -> tuple[str, str]:
    """Why a row was never written."""
    if facts.asked_flink and facts.job is None and not facts.differences:
        return OPEN, "no job of the pipeline runs"
    return _unlike(facts, store)


def _unlike(facts: Facts, store: Store) -> tuple[str, str]:
    """What makes the job compute something else than the events come to."""
    if facts.differences:
        return OTHER_FILE, f"the deployed job is not this file's: {'; '.join(facts.differences)}"
    if store.lacking:
        return LATE, _named(store.lacking, "came after the window had closed, and the value is right without")
    if facts.gone:
        return GONE, facts.gone
    if facts.unread:
        return UNEXPLAINED, f"not all events were read: {facts.unread}"
    return UNEXPLAINED, "the events come to another value, and nothing that was looked at says why"


def _newest(facts: Facts, where: str) -> Written | None:
    return next((one for one in reversed(facts.written or ()) if getattr(one, where)), None)


def _open(facts: Facts) -> str:
    if facts.job is None:
        return "no job of the pipeline runs, so the window is not emitted"
    seen = "has no watermark yet" if facts.watermark is None else f"its watermark is {iso(facts.watermark)}"
    return f"the job has not come to {iso(facts.at)}; {seen}"


def _waiting(facts: Facts, row: Written) -> str:
    if facts.materialized is None:
        return f"the row stands in the topic ({row}); how far it is materialized is not known"
    upto = facts.materialized.get(row.partition, 0)
    return f"the row stands in the topic ({row}), which is materialized up to offset {upto}"


def _named(events: Sequence[Event], what: str, *, reasons: bool = False, most: int = 3) -> str:
    names = [f"{event} ({event.outcome})" if reasons else str(event) for event in events[:most]]
    more = f" and {len(events) - most} more" if len(events) > most else ""
    return f"{len(events)} event(s) {what}: {', '.join(names)}{more}"


def _time(row: Row) -> str:
    return "an unknown time" if row.time is None else iso(row.time)


def iso(epoch_milliseconds: int) -> str:
    """ISO 8601 in UTC, as short as it is exact."""
    moment = _EPOCH + timedelta(milliseconds=epoch_milliseconds)
    return (
        moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{moment.microsecond // 1000:03d}" * bool(moment.microsecond)) + "Z"
    )


def key_text(values: Sequence[Any]) -> str:
    """A key as ``hopsworks-flink explain --key`` takes it: several values are a line of CSV."""
    texts = [str(value) for value in values]
    if len(texts) == 1:
        return texts[0]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(texts)
    return line.getvalue()


def fails(causes: Iterable[str]) -> bool:
    """Whether an audit that found these causes of differences fails: one is not `EXPECTED`."""
    return any(cause not in EXPECTED for cause in causes)


def unlike(one: Row | None, other: Row | None, types: Mapping[str, FeatureType]) -> list[str]:
    """Features in which two rows differ; all of them if only one of the rows exists."""
    if one is None or other is None:
        return [] if one is other else list(types)
    return [
        name
        for name, kind in types.items()
        if name in one.values and name in other.values and not same(one.values[name], other.values[name], kind)
    ]


def same(one: Any, other: Any, kind: FeatureType) -> bool:
    """Whether two values of a feature are equal: floats to the ninth digit (``float`` to the sixth), times to the
    second, which is what the online store keeps.

    An array that a store gives in a form of its own is not compared; bytes are no array.
    """
    if one is None or other is None:
        return one is other
    if kind.element is not None:
        if not isinstance(one, list) or not isinstance(other, list):
            return not isinstance(one, bytes) and not isinstance(other, bytes)
        return len(one) == len(other) and all(map(same, one, other, [kind.element] * len(one)))
    if kind.is_floating:
        places = 1e-9 if kind.name == "double" else 1e-6
        return math.isclose(one, other, rel_tol=places, abs_tol=places)
    if kind.name == "timestamp":
        return abs(_moment(one) - _moment(other)) < timedelta(seconds=1)
    if kind.name == "date":
        return _day(one) == _day(other)
    if isinstance(one, float) or isinstance(other, float):
        # No value of these types: pandas has made it of a column with nulls, or of a decimal.
        return float(one) == float(other)
    if kind.is_decimal:
        return Decimal(str(one)) == Decimal(str(other))
    return bool(one == other)


def _moment(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _day(value: Any) -> str:
    return value.strftime("%Y-%m-%d") if isinstance(value, date) else str(value)[:10]
