"""DuckDB queries that compute what a pipeline file means: written from the file, not from the SQL that Flink gets.

A window here is nothing but a bag of events: each event is put into every window that holds it, then windows are
grouped. That is slow beside Flink's slices, and plain enough to trust.
"""

from __future__ import annotations

from datetime import timedelta

from hopsworks_flink.pipeline.expressions import Expression
from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline, Window
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.group.projection import Projection
from hopsworks_flink.pipeline.spec.source import Deduplicate, Join, Records
from hopsworks_flink.pipeline.types import BIGINT, TIMESTAMP, FeatureType
from hopsworks_flink.testing.aggregates import ARRIVAL, END, TIME, Feature, quoted, type_name
from hopsworks_flink.testing.events import KAFKA_TIMESTAMP

RAW = "__raw"
EVENTS = "__events"
ROW = "__row"
TOMBSTONE = "__tombstone"
_SINCE = "__since"

# The last moment of year 9999 in milliseconds: what lies beyond is no time that Flink can represent.
_LAST_MOMENT = 253_402_300_799_999


def event_time(records: Records, ahead: timedelta | None = None, behind: timedelta | None = None) -> str:
    """Event time in epoch milliseconds; null for one that must not count.

    Without a Kafka timestamp there is nothing to be too early or too late for.

    :param ahead: how far it may lie ahead of the Kafka timestamp; ``behind``: how far behind; None: any distance.
    """
    kafka = quoted(KAFKA_TIMESTAMP)
    if records.event_time.is_kafka_timestamp:
        return f"CASE WHEN {kafka} > 0 THEN {kafka} END"
    column, kind = _time_value(records)
    time = {
        "seconds": f"{column}::HUGEINT * 1000",
        "milliseconds": column,
        "microseconds": f"{column} // 1000",
    }[records.event_time.unit]
    if kind == TIMESTAMP:
        time = f"epoch_us({column}) // 1000"
    # A null bound is none.
    last = f"{_LAST_MOMENT}" if ahead is None else f"least({kafka} + {milliseconds(ahead)}, {_LAST_MOMENT})"
    first = "1" if behind is None else f"greatest({kafka} - {milliseconds(behind)}, 1)"
    return f"CASE WHEN {time} BETWEEN {first} AND {last} THEN ({time})::BIGINT END"


def _time_value(records: Records) -> tuple[str, FeatureType | None]:
    """What an event's time is read from, and its type."""
    if records.event_time.column is not None:
        return quoted(records.event_time.column), records.columns[records.event_time.column]
    expression = Expression.parse(str(records.event_time.expression), records.columns)
    wanted = TIMESTAMP if expression.type == TIMESTAMP else BIGINT
    # Spelt out once more, as for derived columns.
    return f"CAST({expression.cast(wanted).sql('duckdb')} AS {type_name(wanted)})", wanted


def clean_events(pipeline: Pipeline) -> str:
    """Statement that makes table `EVENTS` out of table `RAW`: the events that count, with time and derived columns."""
    source = pipeline.source
    time = event_time(source, source.max_future, source.max_past)
    query = f"SELECT * FROM (SELECT *, {time} AS {TIME} FROM {RAW}) WHERE {TIME} IS NOT NULL"
    if source.deduplicate is not None:
        query = _without_duplicates(query, source.deduplicate)
    for name, join in source.join.items():
        query = _joined(query, name, join)
    known = source.joined_columns
    for name, derived in source.derive.items():
        value = Expression.parse(derived.expression, known).cast(derived.type).sql("duckdb")
        # Spelt out once more: what an expression gives in DuckDB may be a wider type.
        query = f"SELECT *, CAST({value} AS {type_name(derived.type)}) AS {quoted(name)} FROM ({query})"
        known[name] = derived.type
    if source.where is not None:
        query = f"SELECT * FROM ({query}) WHERE {Expression.parse(source.where, known).sql('duckdb')}"
    return f"CREATE TEMP TABLE {EVENTS} AS {query}"


def passed(group: FeatureGroup) -> str:
    """Query for the events of table `EVENTS`: place in the order of arrival, time, and a group's key."""
    return f"SELECT {', '.join([ARRIVAL, TIME, *map(quoted, group.key)])} FROM {EVENTS}"


def incomplete(pipeline: Pipeline, group: FeatureGroup) -> str:
    """Query for the events of table `EVENTS` that lack a feature that is required: place, and name of the first one."""
    columns = pipeline.source.all_columns
    lacks = {name: f"{_projected(group.features[name], columns)} IS NULL" for name in group.required}
    whens = " ".join(f"WHEN {condition} THEN '{name}'" for name, condition in lacks.items())
    return f"SELECT {ARRIVAL}, CASE {whens} END FROM {EVENTS} WHERE {' OR '.join(lacks.values())}"


def _without_duplicates(query: str, wanted: Deduplicate) -> str:
    """The events that no other one of the same name precedes within the time."""
    same = " AND ".join(f"other.{quoted(name)} = this.{quoted(name)}" for name in wanted.by)
    earliest = f"this.{TIME} - {milliseconds(wanted.within)}"
    return (
        f"WITH timed AS ({query}) SELECT * FROM timed AS this WHERE NOT EXISTS (SELECT 1 FROM timed AS other "
        f"WHERE {same} AND other.{TIME} BETWEEN {earliest} AND this.{TIME} "
        f"AND (other.{TIME} < this.{TIME} OR other.{ARRIVAL} < this.{ARRIVAL}))"
    )


def raw_versions(name: str) -> str:
    """Name of the table with the records of a joined topic."""
    return f"__raw_{name}"


def _joined(query: str, name: str, join: Join) -> str:
    """The events with the version that began last, not after them; of versions of one time the one that came last."""
    kafka = quoted(KAFKA_TIMESTAMP)
    # Since when a version holds has no bounds by its arrival.
    since = f"CASE WHEN {TOMBSTONE} THEN (CASE WHEN {kafka} > 0 THEN {kafka} END) ELSE {event_time(join)} END"
    by = [quoted(column) for column in join.by.values()]
    timed = f"SELECT *, {since} AS {_SINCE} FROM {raw_versions(name)}"
    last = (
        f"SELECT * FROM ({timed}) WHERE {_SINCE} IS NOT NULL "
        f"QUALIFY row_number() OVER (PARTITION BY {', '.join([*by, _SINCE])} ORDER BY {ARRIVAL} DESC) = 1"
    )
    taken = [
        f"CASE WHEN NOT version.{TOMBSTONE} THEN version.{quoted(column)} END AS {quoted(alias)}"
        for alias, column in join.taken.items()
    ]
    same = [f"event.{quoted(one)} = version.{quoted(other)}" for one, other in join.by.items()]
    on = " AND ".join([*same, f"event.{TIME} >= version.{_SINCE}"])
    required = f" WHERE NOT version.{TOMBSTONE}" if join.required else ""
    return (
        f"SELECT {', '.join(['event.*', *taken])} FROM ({query}) AS event "
        f"ASOF LEFT JOIN ({last}) AS version ON {on}{required}"
    )


def group_rows(pipeline: Pipeline, group: FeatureGroup) -> str:
    """Query for the rows of a feature group: key, features, its earliest event and the row's time (`END`).

    The last two in milliseconds.
    """
    columns = pipeline.source.all_columns
    keys = [quoted(column) for column in group.key]
    if group.is_projection:
        made = [_projected(feature, columns) for feature in group.features.values()]
        needed = [_projected(group.features[name], columns) for name in group.required]
        known = " AND ".join([_known(group), *(f"{value} IS NOT NULL" for value in needed)])
        return f"SELECT {', '.join([*keys, *made, TIME, TIME])} FROM {EVENTS} WHERE {known} ORDER BY {ARRIVAL}"
    row = ", ".join([END, *keys, ROW])
    found = [
        Feature(group, aggregate, pipeline.source.all_columns, f"__least_{number}")
        for number, aggregate in enumerate(group.aggregates.values())
    ]
    least = [f"{feature.least} OVER (PARTITION BY {row}) AS {feature.shift}" for feature in found if feature.is_spread]
    return (
        f"WITH placed AS ({_on_event(group) if group.emit == 'on_event' else _in_windows(group)}),\n"
        f"shifted AS (SELECT {', '.join(['*', *least])} FROM placed)\n"
        f"SELECT {', '.join([*keys, *(feature.expression for feature in found), f'min({TIME})', END])}\n"
        f"FROM shifted GROUP BY {row} ORDER BY {row}"
    )


def _known(group: FeatureGroup) -> str:
    return " AND ".join(f"{quoted(column)} IS NOT NULL" for column in group.key)


def _projected(feature: Projection, columns: dict[str, FeatureType]) -> str:
    kind = feature.kind(columns)
    assert kind is not None
    return f"CAST({feature.parsed(columns).sql('duckdb')} AS {type_name(kind)})"


def _in_windows(group: FeatureGroup) -> str:
    """Every event once for each window that holds it."""
    known = _known(group)
    if group.window.gap is not None:
        return _in_sessions(group, known)
    return f"SELECT *, 0 AS {ROW}, unnest({window_ends(group)}) AS {END} FROM {EVENTS} WHERE {known}"


def _in_sessions(group: FeatureGroup, known: str) -> str:
    """Every event once, in its session: an event after a longer silence begins one, and a number for each follows."""
    gap, keys = milliseconds(group.window.gap or group.window.size), ", ".join(quoted(column) for column in group.key)
    before = f"lag({TIME}) OVER (PARTITION BY {keys} ORDER BY {TIME})"
    begins = f"SELECT *, ({before} IS NULL OR {TIME} - {before} > {gap})::INT AS __begins FROM {EVENTS} WHERE {known}"
    number = f"sum(__begins) OVER (PARTITION BY {keys} ORDER BY {TIME} RANGE UNBOUNDED PRECEDING)"
    session = f"OVER (PARTITION BY {keys}, __number)"
    ends = f"SELECT *, max({TIME}) {session} + {gap} AS {END}, min({TIME}) {session} AS __start"
    return (
        f"SELECT *, 0 AS {ROW} FROM ({ends} FROM (SELECT *, {number} AS __number FROM ({begins}))) "
        f"WHERE {END} - __start <= {milliseconds(group.window.size)}"
    )


def _on_event(group: FeatureGroup) -> str:
    """Every event once for each event whose row it belongs to: from the size before that one up to its very time."""
    same_key = " AND ".join(f"seen.{quoted(column)} = now.{quoted(column)}" for column in group.key)
    begin = f"now.{TIME} - {milliseconds(group.window.size)}"
    return (
        f"SELECT seen.*, now.{ARRIVAL} AS {ROW}, now.{TIME} AS {END} FROM {EVENTS} AS now JOIN {EVENTS} AS seen "
        f"ON {same_key} AND seen.{TIME} BETWEEN {begin} AND now.{TIME}"
    )


def window_ends(group: FeatureGroup) -> str:
    """List of the ends of all windows that have a row because of an event, in epoch milliseconds."""
    pane, reach = milliseconds(group.window.pane), milliseconds(group.row_length)
    next_end = f"({TIME} // {pane} + 1) * {pane}"
    if group.window.is_cumulating:
        return f"range({next_end}, ({TIME} // {reach} + 1) * {reach} + 1, {pane})"
    return f"range({next_end}, {TIME} // {pane} * {pane} + {reach} + 1, {pane})"


def window_start(window: Window, earliest: int, end: int) -> int:
    """Start of the window with this earliest event and this end, all in epoch milliseconds."""
    if window.gap is not None:
        return earliest
    size = milliseconds(window.size)
    return (end - 1) // size * size if window.is_cumulating else end - size
