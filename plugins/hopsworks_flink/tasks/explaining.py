"""Explains values of a pipeline: asks topics, stores and Flink, computes again, and has each difference named."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from hopsworks_flink.clients.flink.jobs import MARK_PLAN, ingestion_ids
from hopsworks_flink.clients.hopsworks.event_time import EventTime
from hopsworks_flink.deployment.feature_job import joined_groups
from hopsworks_flink.exceptions import HopsworksFlinkError
from hopsworks_flink.health.explanation import (
    COUNTED,
    Event,
    Explanation,
    Facts,
    Row,
    Store,
    Written,
    findings,
    iso,
    unlike,
)
from hopsworks_flink.hooks.registry_connection import schemas_of
from hopsworks_flink.pipeline.decoding import Schemas
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.group.times import EventTimeFeature
from hopsworks_flink.pipeline.types import avro_type
from hopsworks_flink.tasks.group_topic import Key, Place, array_of, late_events, materialized, read_rows, row_of
from hopsworks_flink.tasks.source_events import Joined, Seen, SourceEvents, read_events, read_versions
from hopsworks_flink.tasks.status import deployed_version
from hopsworks_flink.testing import evaluate
from hopsworks_flink.testing.queries import window_start

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession
    from hopsworks_flink.hooks.flink import FlinkHook
    from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline

T = TypeVar("T")
# The row's time, in what is evaluated.
_AT = "__at"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Jobs of the name whose ingestion ids are asked for, the newest first.
_JOBS = 20
# Age of a row that is audited, milliseconds.
_OLDEST = 86_400_000
# Computations in the search for the events that a value lacks.
_TRIES = 40
# Milliseconds in which a row of one event is served.
_SERVED_WITHIN = 30_000


@dataclass(frozen=True)
class Asked:
    """One value to explain.

    :param key: in the order of the group's key.
    :param at: epoch milliseconds; the row that was valid then is explained.
    :param stores: which ones are asked.
    :param written_until: a row that was written later need not be offline yet, epoch milliseconds; None: it must be.
    :param served: the row that is meant, as the online store had it, which may have another by now; None: whichever was
        valid.
    """

    key: Key
    at: int
    stores: tuple[str, ...] = ("online", "offline")
    written_until: int | None = None
    served: Row | None = None


@dataclass(frozen=True)
class Job:
    """What Flink knows of a pipeline's job.

    :param known: whether it said anything.
    :param job_id: of the one that runs; None: none does.
    :param marks: of that one.
    :param ingestions: full name of a group -> ingestion ids of all jobs of the name that Flink remembers.
    """

    known: bool = False
    job_id: str | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    watermark: int | None = None
    ingestions: Mapping[str, frozenset[int]] = field(default_factory=dict)


class Explainer:
    """Explains values of one pipeline, within one login.

    :param source_conf: librdkafka settings of the source topic's broker.
    :param margin: how long after a row's time its events may arrive; None: see
        :func:`~hopsworks_flink.tasks.source_events.read_events`.
    :param seconds: bound on the reading of one topic; None: a minute.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        session: HopsworksSession,
        hook: FlinkHook,
        source_conf: Mapping[str, Any],
        *,
        hopsworks_conn_id: str,
        margin: timedelta | None = None,
        seconds: float | None = None,
    ) -> None:
        self.pipeline, self.session, self.hook, self.source_conf = pipeline, session, hook, source_conf
        self.hopsworks_conn_id, self.margin, self.seconds = hopsworks_conn_id, margin, seconds
        #: What could not be learned, and why, sentence parts.
        self.unknown: list[str] = []
        self._groups: dict[str, Any] = {}

    @cached_property
    def job(self) -> Job:
        """The pipeline's job, asked once."""
        return self.told("the job in Flink", self._ask_flink, Job())

    @cached_property
    def schemas(self) -> Schemas | None:
        """Of the source's registry, by their ids; None: it has none."""
        return schemas_of(self.pipeline.source)

    @cached_property
    def versions(self) -> Joined:
        """What the joined topics hold, read once."""
        ids = {ref.full_name: ref.feature_group_id for ref in joined_groups(self.session, self.pipeline)}
        return read_versions(self.pipeline, self.source_conf, self.session.kafka_config(), ids, self.seconds)

    @cached_property
    def differences(self) -> list[str]:
        """How the file differs from what is deployed."""
        if MARK_PLAN not in self.job.marks:
            return []
        parts = (lambda: self.session, self.pipeline, self.job.marks, self.hopsworks_conn_id)
        version = self.told("the deployed version", lambda: deployed_version(*parts), dict[str, Any]())
        return [] if version.get("same", True) else list(version["differences"])

    def explain(self, group: FeatureGroup, asked: Sequence[Asked], *, always: bool = True) -> list[Explanation]:
        """Explain rows of one feature group; each topic is read once for all of them.

        :param always: read the group's topic in any case; else only where a value differs.
        :raises HopsworksNotFoundError: the group is not registered.
        :raises ConfigurationError: there is no source topic, or too much to hold.
        :raises KafkaError: the source's broker does not answer.
        """
        registered = self._registered(group)
        # In this order: what is served is not behind Flink's figure, and what it was made of is in the topic.
        watermark = self.job.watermark
        served, now = [self._served(group, one) for one in asked], int(time.time() * 1000)
        times = [moment for one, rows in zip(asked, served, strict=True) for moment in _first(group, one, rows)]
        # Without event time both stores have the newest row, whatever was asked for.
        last = now if group.event_time is None else max(times)
        found = read_events(
            self.pipeline,
            group,
            self.source_conf,
            self.schemas,
            {one.key for one in asked},
            min(times),
            last,
            self.margin,
            joined=self.versions,
            seconds=self.seconds,
        )
        late = self.told(
            f"topic {self.pipeline.late_topic}",
            lambda: late_events(self.pipeline, self.session.kafka_config(), found.span.since),
            dict[tuple[int, int], int](),
        )
        values = [
            _Value(self, group, registered, one, found, late, watermark, rows, now)
            for one, rows in zip(asked, served, strict=True)
        ]
        needed = values if always else [value for value in values if value.differs]
        if needed:
            self.told(f"topic {registered._online_topic_name}", lambda: self._read_rows(needed), None)
        return [value.explanation() for value in values]

    def rows_to_audit(self, group: FeatureGroup, key: Key, now: int, settled: int) -> list[Asked]:
        """What of a key can be held against its events: the row that is online, and one that must be offline by now.

        :param now: epoch milliseconds.
        :param settled: the same: rows up to then must be offline.
        """
        if group.event_time is None:
            return [Asked(key, now, written_until=settled)]
        rows = self._rows_of(group, key) if group.online else []
        times = {_latest(group, row.time): row for row in rows if row.time is not None}
        stores = ("offline",) if group.offline else ()
        if group.online and all(at < _row_time(group, [], settled) for at in times):
            # Nothing newer is served: it is silent since then, or the store has lost its row.
            stores = ("online", *stores)
        asked = [Asked(key, settled, stores)] if stores else []
        if "online" in stores and _has_own_times(group):
            # The last row until then is the one that is served, if that is right.
            return asked
        # One of long ago is not worth reading the topic from there on.
        served = {at: row for at, row in times.items() if at > now - _OLDEST}
        return asked + [Asked(key, at, ("online",), served=row) for at, row in served.items()]

    def told(self, what: str, ask: Callable[[], T], otherwise: T) -> T:
        """The answer; without one, what is not known is noted."""
        try:
            return ask()
        except HopsworksFlinkError as error:
            if (text := f"{what}: {str(error).rstrip('.')}") not in self.unknown:
                self.unknown.append(text)
            return otherwise

    def _rows_of(self, group: FeatureGroup, key: Key) -> list[Row]:
        """What the online store has of a key."""
        named = dict(zip(group.key, key, strict=True))
        rows = self.session.rows_of(self._registered(group), named, online=True)
        types = group.feature_types(self.pipeline.source.all_columns)
        arrays = {name: avro_type(kind) for name, kind in types.items() if kind.element is not None}
        for row in rows:
            row |= {name: array_of(row.get(name), schema) for name, schema in arrays.items()}
        return sorted((row_of(group, row) for row in rows), key=lambda row: row.time or 0)

    def _served(self, group: FeatureGroup, asked: Asked) -> list[Row] | None:
        """What is served of a key; None: nobody wants to know, or the store did not answer."""
        if asked.served is not None:
            return [asked.served]
        if not group.online or "online" not in asked.stores:
            return None
        return self.told("the online store", lambda: self._rows_of(group, asked.key), None)

    def _registered(self, group: FeatureGroup) -> Any:
        """The SDK's feature group, asked for once: an audit needs it for each key."""
        if group.full_name not in self._groups:
            self._groups[group.full_name] = self.session.get_feature_group(group.name, group.version)
        return self._groups[group.full_name]

    def _read_rows(self, values: Sequence[_Value]) -> None:
        """Read the group's topic for some values of one group."""
        group, registered = values[0].group, values[0].registered
        # A row is written when an event has come that lies behind its time, and no further ahead of its arrival.
        since = max(0, min(value.at for value in values) - milliseconds(self.pipeline.source.max_future))
        own = self.job.ingestions.get(group.full_name, frozenset()) if self.job.known else None
        places = {value.place for value in values}
        rows = read_rows(self.session, group, registered, places, since, own, seconds=self.seconds)
        whole = "" if rows.span.complete else ", and no more in the time given: who wrote the rows is not known"
        read = f"topic {rows.span.topic}, written since {iso(since)}: {rows.span.records} records{whole}"
        offsets = None
        if group.offline:
            what = f"how far {group.full_name} is materialized"
            offsets = self.told(what, lambda: materialized(self.session, registered), None)
        for value in values:
            value.read.append(read)
            value.materialized = offsets
            value.written = rows.found.get(value.place, []) if rows.span.complete else None

    def _ask_flink(self) -> Job:
        jobs = self.hook.jobs_named(self.pipeline.job_name)
        running = next((job for job in jobs if not job.is_terminal), None)
        ingestions: dict[str, set[int]] = {}
        for job in jobs[:_JOBS]:
            for name, number in ingestion_ids(job.marks or self.hook.job_marks(job.job_id)).items():
                ingestions.setdefault(name, set()).add(number)
        named = {name: frozenset(numbers) for name, numbers in ingestions.items()}
        if running is None:
            return Job(True, ingestions=named)
        return Job(True, running.job_id, running.marks, self.hook.watermark(running.job_id), named)


class _Value:
    """One value on its way to an explanation."""

    def __init__(
        self,
        explainer: Explainer,
        group: FeatureGroup,
        registered: Any,
        asked: Asked,
        found: SourceEvents,
        late: Mapping[tuple[int, int], int],
        watermark: int | None,
        online: list[Row] | None,
        now: int,
    ) -> None:
        self.explainer, self.pipeline, self.group, self.registered = explainer, explainer.pipeline, group, registered
        self.asked, self.found, self.late = asked, found, late
        self.key = dict(zip(group.key, asked.key, strict=True))
        self.seen = [one for one in found.seen if one.key == asked.key]
        self.read, self.unknown = [self._what_was_read()], list[str]()
        if found.undecodable:
            self.read.append(f"{found.undecodable} of them cannot be decoded; whose they are is not known")
        for name, versions in explainer.versions.items():
            topic = self.pipeline.source.join[name].topic
            self.read.append(f"topic {topic}: {len(versions)} versions, as if all of them had been there in time")
        self.written: list[Written] | None = None
        self.materialized: Mapping[int, int] | None = None
        self.types = group.feature_types(self.pipeline.source.all_columns)
        rows = self._computed(self.seen)
        if group.event_time is None:
            self.recomputed = self._newest(rows, online, watermark, now)
            self.at = asked.at if self.recomputed is None else self.recomputed.time or 0
        else:
            self.at = self._meant(rows) or _row_time(group, [*rows, *(() if rows else online or ())], asked.at)
            self.recomputed = next((row for row in reversed(rows) if row.time == self.at), None)
        if online and not rows and _is_of_before(group, online[0], asked.at):
            self.unknown.append("what is online: its event came before those that were read; an earlier --at tells")
            online = None
        if online == [] and group.ttl is not None and self.at + milliseconds(group.ttl) <= now:
            self.read.append("online, a row of that time has expired (ttl)")
            online = None
        self.online = None if online is None else Store(self._of_time(online) or next(reversed(online), None))
        offline = self._offline() if group.offline and "offline" in asked.stores else None
        self.offline = None if offline is None else Store(next((row for row in offline if self._is_meant(row)), None))

    @property
    def place(self) -> Place:
        """Where its rows are found in the group's topic."""
        return self.asked.key, self.at if self.group.event_time is not None else None

    @property
    def differs(self) -> bool:
        """Whether there is something to name, before the group's topic is asked."""
        return any(finding.differs for finding in findings(self._facts()))

    def explanation(self) -> Explanation:
        """With the cause of each difference."""
        facts = self._facts()
        if self._waits():
            facts = replace(facts, offline=None)
        facts = replace(facts, online=self._explained(facts, self.online), offline=self._explained(facts, self.offline))
        if any(not facts.same(store.row, facts.recomputed) for store in (facts.online, facts.offline) if store):
            facts = replace(facts, differences=self.explainer.differences)
        return Explanation(
            self.pipeline.name,
            self.group.full_name,
            self.key,
            facts,
            [self._event(one) for one in self.seen if self._concerns(one)],
            findings(facts),
            self.read,
            [*self.explainer.unknown, *self.unknown],
        )

    def _facts(self) -> Facts:
        job = self.explainer.job
        watermark = job.watermark
        if self.group.is_projection and job.job_id is not None:
            # A row of one event alone waits for no watermark.
            watermark = max(self.at, watermark or 0)
        return Facts(
            self.at,
            self.types,
            self.recomputed,
            self.online,
            self.offline,
            has_time=self.group.event_time is not None,
            closing=_closing(self.group, self.at),
            watermark=watermark,
            job=job.job_id,
            asked_flink=job.known,
            written=self.written,
            materialized=self.materialized,
            gone=self.found.gone,
            refused=[one.event for one in self.seen if one.event.is_refused],
            unread=self.found.unread,
        )

    def _waits(self) -> bool:
        """Whether the newest row is too young to be offline already."""
        until = self.asked.written_until
        return until is not None and any(one.timestamp > until for one in self.written or ())

    def _what_was_read(self) -> str:
        span = self.found.span
        upto = "now" if span.until is None else iso(span.until)
        whole = "" if span.complete else ", and no more in the time given"
        return (
            f"topic {span.topic}, Kafka time {iso(span.since)} to {upto}: {span.records} records{whole}, "
            f"{len(self.seen)} of this key"
        )

    # --- places that have the value --------------------------------------------------------------------------------

    def _computed(self, seen: Sequence[Seen]) -> list[Row]:
        """Rows of the key that events come to, by their time; those of single events in the order of their arrival."""
        # With its time also where the group's rows do not carry it. The name is none that a file may have.
        timed = EventTimeFeature.model_construct(
            feature=_AT, type="bigint", is_="event" if self.group.by_event else "window_end"
        )
        group = self.group.model_copy(update={"event_time": timed, "order": []})
        pipeline = self.pipeline.model_copy(update={"feature_groups": [group]})
        if not group.is_projection:
            # Of events at one time the place in the topic decides, not when they came.
            seen = sorted(seen, key=lambda one: (one.event.partition, one.event.offset))
        (rows,) = evaluate(pipeline, [one.values for one in seen], self.explainer.versions).values()
        own, found = self.group.event_time, []
        for row in rows:
            at = row.pop(_AT)
            if own is not None:
                row[own.feature] = at if own.type == "bigint" else _EPOCH + timedelta(milliseconds=at)
            if tuple(row[name] for name in self.group.key) == self.asked.key:
                found.append(Row(at, row))
        return found

    def _newest(self, rows: Sequence[Row], online: Sequence[Row] | None, watermark: int | None, now: int) -> Row | None:
        """The row that stores without times must have: the newest one that was emitted, or a later one if it is served.

        Flink's figure is seconds old, and an event may come after the store was asked.
        """
        if self.group.is_projection:
            arrived = [one for one in self.seen if one.event.timestamp <= now - _SERVED_WITHIN]
            emitted, newest = len(self._computed(arrived)), len(rows)
        else:
            emitted = newest = sum(
                watermark is None or _closing(self.group, row.time or 0) <= watermark for row in rows
            )
        for row in reversed(rows[max(0, emitted - 1) :] if online else ()):
            if not unlike(row, online[0], self.types):  # type: ignore[index]
                return row
        return rows[newest - 1] if newest else None

    def _meant(self, rows: Sequence[Row]) -> int | None:
        """Time of the row that was asked for as the online store had it, which is no finer than seconds."""
        if (served := self.asked.served) is None or served.time is None:
            return None
        near = [row for row in rows if served.time <= (row.time or 0) <= self.asked.at]
        equal = [row for row in near if not unlike(row, served, self.types)]
        return next((row.time for row in reversed(equal or near)), None)

    def _offline(self) -> list[Row] | None:
        """Rows of the key, and of the time where rows have one; None: the store did not answer."""
        within = None
        if self.group.event_time is not None:
            event_time = EventTime(self.group.event_time.feature, self.group.event_time.type)
            within = (event_time, self.at / 1000 - 1, self.at / 1000 + 1)
        try:
            rows = self.explainer.session.rows_of(self.registered, self.key, online=False, within=within)
        except HopsworksFlinkError as error:
            self.unknown.append(f"the offline store: {str(error).rstrip('.')}")
            return None
        return [row_of(self.group, row) for row in rows]

    def _is_meant(self, row: Row) -> bool:
        return row.time in (None, self.at)

    def _of_time(self, rows: Sequence[Row]) -> Row | None:
        """The row of the time; the only one, where rows have none."""
        for row in rows:
            # The online store keeps whole seconds.
            if self._is_meant(row) or row.time == self.at // 1000 * 1000:
                return row if row.time is None else Row(self.at, row.values)
        return None

    # --- events ----------------------------------------------------------------------------------------------------

    @cached_property
    def _begin(self) -> int:
        """Time of the first event that may belong to the row, epoch milliseconds."""
        window = self.group.window
        if window.gap is None:
            return window_start(window, 0, self.at)
        gap = milliseconds(window.gap)
        begin = self.at - gap
        times = {one.event.time or 0 for one in self.seen if one.event.outcome == COUNTED}
        for moment in sorted((moment for moment in times if moment < begin), reverse=True):
            if begin - moment > gap:
                break
            begin = moment
        return begin

    def _concerns(self, one: Seen, *, before: int = 0) -> bool:
        """Whether an event belongs to the row (or came so many milliseconds too early for it), or counts nowhere."""
        moment = one.event.time
        if moment is None or one.event.is_refused:
            return True
        if self.group.is_projection:
            return moment == self.at
        begin = self._begin - before
        return begin <= moment <= self.at if self.group.emit == "on_event" else begin <= moment < self.at

    def _event(self, one: Seen) -> Event:
        """With how far it came behind the watermark: by the job's own word, else as its partition tells."""
        event = one.event
        behind = self.late.get((event.partition, event.offset))
        if behind is None and event.time is not None:
            by_partition = one.certain - milliseconds(self.pipeline.source.max_disorder) - event.time
            behind = by_partition if by_partition > 0 else None
        return replace(event, behind=behind)

    def _explained(self, facts: Facts, store: Store | None) -> Store | None:
        """With the late events without which the same computation gives the store's value, if there are such."""
        if store is None or facts.is_open or self.group.is_projection or facts.same(store.row, facts.recomputed):
            return store
        row = store.row if facts.holds(store) else None
        for candidate in itertools.islice(self._candidates(absent=row is None), _TRIES):
            left = [one for one in self.seen if one not in candidate]
            value = next((row for row in self._computed(left) if row.time == self.at), None)
            if facts.same(value, row):
                return replace(store, lacking=[self._event(one) for one in candidate])
        return store

    def _candidates(self, *, absent: bool) -> Iterator[list[Seen]]:
        """Sets of events that may have come too late, the most certain first."""
        disorder = milliseconds(self.pipeline.source.max_disorder)
        # The row of a window that has emptied is made by the events before.
        before = milliseconds(self.group.row_length - self.group.window.size)
        counted = [one for one in self.seen if one.event.outcome == COUNTED and self._concerns(one, before=before)]
        told = [one for one in counted if (one.event.partition, one.event.offset) in self.late]
        certain = [one for one in counted if one.is_late_for(self.at, disorder, certain=True)]
        yield from (found for found in (told, certain) if found)
        if absent:
            # Without any event there is no row: that would prove nothing.
            return
        # Events of other partitions may have closed the window, at a moment that nobody has kept. And late is not lost:
        # an event behind the watermark still counts in windows that are open.
        possible = [one for one in counted if one in told or one.is_late_for(self.at, disorder, certain=False)]
        for begin in range(len(possible)):
            yield possible[begin:]


def _closing(group: FeatureGroup, at: int) -> int:
    """The watermark at which a row is emitted: a window holds no event of its end, a row of an event does."""
    return at - 1 if group.emit == "on_window" and not group.has_sessions else at


def _has_own_times(group: FeatureGroup) -> bool:
    """Whether its rows' times are events', and not those of windows that stand in a grid."""
    return group.by_event or group.has_sessions


def _first(group: FeatureGroup, asked: Asked, served: Sequence[Row] | None) -> list[int]:
    """Times that are asked for: also that of the row that is served, whose event may be of long before."""
    times = [row.time for row in served or () if row.time is not None] if _has_own_times(group) else []
    return [asked.at, *(moment for moment in times if asked.at - _OLDEST < moment < asked.at)]


def _is_of_before(group: FeatureGroup, row: Row, asked: int) -> bool:
    """Whether a row that is still right may be of an event too long ago to be read."""
    if group.event_time is None:
        return group.is_projection
    return _has_own_times(group) and (row.time or 0) <= asked - _OLDEST


def _latest(group: FeatureGroup, at: int) -> int:
    """The last moment that the online store, which keeps whole seconds, may keep as this one (epoch milliseconds)."""
    cut = _has_own_times(group) and group.event_time is not None and group.event_time.type == "timestamp"
    return at + 999 if cut and at % 1000 == 0 else at


def _row_time(group: FeatureGroup, rows: Sequence[Row], asked: int) -> int:
    """Time of the row that was valid at a moment, epoch milliseconds."""
    if not _has_own_times(group):
        pane = milliseconds(group.window.pane)
        return asked // pane * pane
    return max((row.time for row in rows if row.time is not None and row.time <= asked), default=asked)
