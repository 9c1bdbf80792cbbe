"""The events of some keys, out of a bounded span of the source topic, each with what became of it; and the versions of
joined topics.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from hopsworks_flink.clients.kafka.newest import take_newest
from hopsworks_flink.clients.kafka.offsets import kept_since
from hopsworks_flink.clients.kafka.span import Span, read_span
from hopsworks_flink.exceptions import ConfigurationError, KafkaError
from hopsworks_flink.health.explanation import COUNTED, DUPLICATE, LEFT_OUT, Event, iso
from hopsworks_flink.health.refusal import time_problem
from hopsworks_flink.hooks.registry_connection import schemas_of
from hopsworks_flink.pipeline.decoding import Schemas, UndecodableError, decoder
from hopsworks_flink.pipeline.expressions.terms import value_of_text
from hopsworks_flink.pipeline.plan import is_row_of
from hopsworks_flink.pipeline.recompute import first_complete
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.pipeline import RESERVED_KEYS
from hopsworks_flink.pipeline.sql.quarantine import NO_VERSION, NULL
from hopsworks_flink.testing.events import KAFKA_TIMESTAMP
from hopsworks_flink.testing.queries import TOMBSTONE
from hopsworks_flink.testing.tracing import Stage, Trace, trace

if TYPE_CHECKING:
    from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
    from hopsworks_flink.pipeline.spec.source import Records
    from hopsworks_flink.pipeline.types import FeatureType

Key = tuple[Any, ...]
Joined = Mapping[str, Sequence[Mapping[str, Any]]]
#: Events that are held at the most.
MOST = 500_000
_OUTCOMES = {Stage.COUNTED: COUNTED, Stage.DUPLICATE: DUPLICATE, Stage.LEFT_OUT: LEFT_OUT}
_SAMPLE = 200
_EPOCH = datetime(1970, 1, 1)


class Seen(NamedTuple):
    """One event, with the key that it is of.

    :param values: column -> value, as `evaluate` takes it.
    :param certain: event time that its own partition had come to before it, epoch milliseconds.
    :param possible: the same of all partitions, by their Kafka timestamps.
    """

    event: Event
    key: Key
    values: Mapping[str, Any]
    certain: int
    possible: int

    def is_late_for(self, end: int, disorder: int, *, certain: bool) -> bool:
        """Whether the window up to ``end`` was closed before it, by what the topic tells (epoch milliseconds)."""
        return (self.certain if certain else self.possible) - disorder >= end - 1


@dataclass(frozen=True)
class SourceEvents:
    """What was found.

    :param span: what was read.
    :param seen: events of the keys, in the order of their arrival.
    :param undecodable: records that cannot be decoded; whose they are is not known.
    :param gone: why events may be missing, a sentence part.
    """

    span: Span
    seen: Sequence[Seen]
    undecodable: int = 0
    gone: str | None = None

    @property
    def unread(self) -> str | None:
        """Why not all of the span was read, a sentence part."""
        return None if self.span.complete else f"only {self.span.records} records were read in the time given"


@dataclass
class _Held:
    """One record that may matter.

    :param arrived: the latest Kafka timestamp in its partition up to it: producers' clocks differ, offsets do not.
    """

    partition: int
    offset: int
    timestamp: int
    arrived: int
    values: dict[str, Any]
    certain: int


@dataclass
class Reading:
    """Decodes records, keeps those that may matter, and how far the event times of each partition had come.

    :param wanted: whether an event may matter.
    """

    pipeline: Pipeline
    wanted: Callable[[Mapping[str, Any]], bool]
    registry: Schemas | None
    held: list[_Held] = field(default_factory=list)
    undecodable: int = 0
    newest: dict[int, int] = field(default_factory=dict)
    arrived: dict[int, int] = field(default_factory=dict)
    # Second of Kafka time -> largest event time that came in it or before, once sorted.
    by_second: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._decode = decoder(self.pipeline.source, self.registry)

    def take(self, record: Any) -> None:
        """Look at a record of confluent-kafka.

        :raises ConfigurationError: too many would have to be kept.
        """
        if record.value() is None:
            return
        arrived, partition = record.timestamp()[1], record.partition()
        try:
            values = self._decode(record.value())
        except UndecodableError:
            self.undecodable += 1
            return
        if values is None:
            return
        values |= beside(self.pipeline.source, record)
        latest = self.arrived[partition] = max(arrived, self.arrived.get(partition, 0))
        before = self.newest.get(partition, 0)
        if self.wanted(values):
            if len(self.held) >= MOST:
                raise ConfigurationError(
                    f"More than {MOST} events would have to be held at once: choose a shorter --margin, or fewer keys."
                )
            self.held.append(_Held(partition, record.offset(), arrived, latest, values, before))
        moment = event_milliseconds(self.pipeline, values, arrived)
        if moment is not None and moment > before:
            self.newest[partition] = moment
            second = arrived // 1000
            self.by_second[second] = max(moment, self.by_second.get(second, 0))


def read_events(
    pipeline: Pipeline,
    group: FeatureGroup,
    conf: Mapping[str, Any],
    registry: Schemas | None,
    keys: Collection[Key],
    first: int,
    last: int,
    margin: timedelta | None = None,
    *,
    joined: Joined | None = None,
    seconds: float | None = None,
) -> SourceEvents:
    """Read what the rows of some keys can be made of.

    What is read: records whose Kafka timestamp lies between the time of the first event that can matter, less
    ``max_future``, and ``last`` and the margin.

    :param conf: librdkafka settings of the source topic's broker.
    :param first: the earliest time of a row, epoch milliseconds; ``last``: the latest.
    :param margin: how long after a row's time its events may still arrive; None: an hour and ``max_disorder``, and as
        much more as the topic's newest records lie behind their Kafka timestamps.
    :param joined: versions of each join, as for `evaluate`.
    :raises ConfigurationError: there is no such topic, or DuckDB is not installed.
    :raises KafkaError: the broker does not answer.
    """
    source = pipeline.source
    since = max(0, first - milliseconds(group.reach + source.look_back + source.max_future))
    if margin is None:
        margin = timedelta(hours=1) + source.max_disorder + _delay(pipeline, conf, registry)
    end = last + milliseconds(margin)
    until = end if end <= time.time() * 1000 else None
    reading = Reading(pipeline, wanted_of(pipeline, group, keys), registry)
    span = read_span(conf, source.topic, since, until, reading.take, seconds=seconds)
    return SourceEvents(span, seen_of(pipeline, group, reading, keys, joined), reading.undecodable, _gone(conf, span))


def newest_keys(
    pipeline: Pipeline,
    group: FeatureGroup,
    conf: Mapping[str, Any],
    registry: Schemas | None,
    joined: Joined | None = None,
) -> set[Key]:
    """Keys of the newest events, without the one that is reserved for canaries.

    :param joined: versions of each join, as for `evaluate`.
    :raises KafkaError: the broker does not answer.
    """
    reading = Reading(pipeline, lambda values: True, registry)
    take_newest(conf, pipeline.source.topic, reading.take)
    events = [{**one.values, KAFKA_TIMESTAMP: one.timestamp} for one in reading.held]
    ways = trace(pipeline, group, events, joined) if events else []
    reserved = set(RESERVED_KEYS.values())
    counted = (way.key for way in ways if way.stage is Stage.COUNTED)
    return {key for key in counted if key is not None and None not in key and not reserved & set(key)}


def event_milliseconds(pipeline: Pipeline, values: Mapping[str, Any], arrived: int) -> int | None:
    """An event's time in epoch milliseconds; None if it is refused, or made by an expression."""
    source = pipeline.source
    if source.event_time.is_kafka_timestamp:
        return arrived
    column = source.event_time.column
    if column is None or values.get(column) is None or time_problem(source, values[column], arrived):
        return None
    value = values[column]
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(milliseconds=1)
    return {"seconds": value * 1000, "milliseconds": value, "microseconds": value // 1000}[source.event_time.unit]


def beside(records: Records, record: Any) -> dict[str, Any]:
    """Columns that are the record's key or one of its headers."""
    columns = records.beside_columns
    headers = dict(record.headers() or ()) if columns else {}
    found: dict[str, Any] = {}
    for name, column in columns.items():
        raw = headers.get(column.header) if column.header is not None else record.key()
        found[name] = _typed(raw, column.type)
    return found


def _typed(raw: bytes | None, kind: FeatureType) -> Any:
    """What a key or header is, as the job's SQL reads it (`hopsworks_flink.pipeline.sql.features.beside`)."""
    if raw is None or kind.name == "binary":
        return raw
    try:
        return value_of_text(raw.decode(), kind)
    except UnicodeDecodeError:
        return None


def wanted_of(pipeline: Pipeline, group: FeatureGroup, keys: Collection[Key]) -> Callable[[Mapping[str, Any]], bool]:
    """Which events are kept: those of the keys, if that is known before columns are derived and duplicates left out."""
    source = pipeline.source
    if source.deduplicate is not None or not set(group.key) <= set(source.columns):
        return lambda values: True
    return lambda values: tuple(values.get(name) for name in group.key) in keys


def seen_of(
    pipeline: Pipeline, group: FeatureGroup, reading: Reading, keys: Collection[Key], joined: Joined | None = None
) -> list[Seen]:
    """The events of some keys among those that were read, in the order of their arrival, and what became of each.

    :raises ConfigurationError: DuckDB is not installed.
    """
    # Of events at one time the place in the topic decides, not when they came.
    held = sorted(reading.held, key=lambda one: (one.partition, one.offset))
    events = [{**one.values, KAFKA_TIMESTAMP: one.timestamp} for one in held]
    reached: dict[int, int] = {}
    most = 0
    for second in sorted(reading.by_second):
        most = reached[second] = max(most, reading.by_second[second])
    seconds = sorted(reached)
    found = []
    for one, values, way in zip(held, events, trace(pipeline, group, events, joined) if events else (), strict=True):
        key = way.key if way.key is not None else tuple(one.values.get(name) for name in group.key)
        if key not in keys:
            continue
        event = Event(one.partition, one.offset, one.timestamp, way.time, _outcome(pipeline, group, one, way))
        seen = Seen(event, key, values, one.certain, _reached(reached, seconds, one.timestamp // 1000))
        found.append((one.arrived, seen))
    return [seen for _, seen in sorted(found, key=lambda pair: pair[0])]


def _outcome(pipeline: Pipeline, group: FeatureGroup, one: _Held, way: Trace) -> str:
    if way.stage is Stage.WITHOUT_VERSION:
        return NO_VERSION.format(" or join.".join(name for name, join in pipeline.source.join.items() if join.required))
    if way.stage is Stage.INCOMPLETE:
        return NULL.format(f"{group.full_name}.{way.lacks}")
    if way.stage is not Stage.REFUSED:
        return _OUTCOMES[way.stage]
    source = pipeline.source
    column = source.event_time.column
    problem = time_problem(source, one.values.get(column), one.timestamp) if column else None
    return problem or f"{source.event_time.name} is null or out of bounds"


def _reached(reached: Mapping[int, int], seconds: Sequence[int], second: int) -> int:
    place = bisect_right(seconds, second)
    return reached[seconds[place - 1]] if place else 0


def _delay(pipeline: Pipeline, conf: Mapping[str, Any], registry: Schemas | None) -> timedelta:
    """How far the newest records lie behind their Kafka timestamps, at the most."""
    reading = Reading(pipeline, lambda values: True, registry)
    take_newest(conf, pipeline.source.topic, reading.take, most=_SAMPLE)
    moments = ((one.timestamp, event_milliseconds(pipeline, one.values, one.timestamp)) for one in reading.held)
    return timedelta(
        milliseconds=max((arrived - at for arrived, at in moments if at is not None and at < arrived), default=0)
    )


def _gone(conf: Mapping[str, Any], span: Span) -> str | None:
    untold = any(one.low and one.oldest is None for one in span.partitions)
    try:
        earliest = first_complete(span.partitions, span.since, kept_since(conf, span.topic) if untold else None)
    except LookupError as error:
        return f"topic {span.topic} has lost {error}"
    if not earliest:
        return None
    return f"topic {span.topic} has lost its records before {iso(earliest)}; needed are those since {iso(span.since)}"


def read_versions(
    pipeline: Pipeline,
    source_conf: Mapping[str, Any],
    store_conf: Mapping[str, Any],
    group_ids: Mapping[str, int],
    seconds: float | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """All that the joined topics hold, by the name of the join.

    :param source_conf: librdkafka settings of the source topic's broker; ``store_conf``: of the feature store's.
    :param group_ids: of the feature groups whose rows are joined, by their names with version.
    :param seconds: how long the reading of one topic may take; None: a minute.
    :raises ConfigurationError: there is no such topic.
    :raises KafkaError: a broker does not answer, or not in time.
    """
    found = {}
    for name, join in pipeline.source.join.items():
        decode, read = decoder(join, schemas_of(join)), list[tuple[int, int, dict[str, Any]]]()

        def take(record: Any, decode: Any = decode, join: Any = join, read: Any = read) -> None:
            group = join.feature_group
            if group is not None and not is_row_of(dict(record.headers() or ()), group_ids[group]):
                return
            values: dict[str, Any] = {TOMBSTONE: True}
            if record.value() is not None:
                try:
                    values = decode(record.value())
                except UndecodableError:
                    return  # it has failed the job
            at = {KAFKA_TIMESTAMP: record.timestamp()[1]}
            read.append((record.partition(), record.offset(), {**values, **beside(join, record), **at}))

        conf = store_conf if join.broker == "feature_store" else source_conf
        if not read_span(conf, join.topic, 0, None, take, seconds=seconds).complete:
            raise KafkaError(f"Topic {join.topic} could not be read to its end in the time given.")
        found[name] = [row for _, _, row in sorted(read, key=lambda one: one[:2])]
    return found
