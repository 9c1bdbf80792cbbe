"""Events as the aggregates see them: with derived columns, without those that do not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.aggregates import ORDERED, POSITIONS
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.source import Source
from hopsworks_flink.pipeline.sql import names
from hopsworks_flink.pipeline.sql.aggregates import (
    EVENT_TIME,
    ORDER,
    ORDER_OFFSET,
    ORDER_TIME,
    condition,
    template_text,
)
from hopsworks_flink.pipeline.types import STRING, FeatureType, sql_identifier, sql_interval

# What is not SQL among a plan's statements: what the class Engine of flink_jobs/java is asked to do.
Step = dict[str, Any]

KAFKA_TIMESTAMP = "__kafka_timestamp"
PARTITION = "__kafka_partition"
OFFSET = "__kafka_offset"
# With `on_decode_error: quarantine`: the value of a record that cannot be decoded, and why; null for all others.
UNDECODABLE = "__undecodable"
PROBLEM = "__problem"


def uses_order(pipeline: Pipeline) -> bool:
    """Whether a feature is made of first or last values."""
    return any(
        aggregate.function in (*POSITIONS, *ORDERED)
        for group in pipeline.feature_groups
        for aggregate in group.aggregates.values()
    )


def needs_coordinates(pipeline: Pipeline) -> bool:
    """Whether the statements use an event's partition and offset."""
    topics = (pipeline.late_topic, pipeline.quarantine_topic)
    return any(topics) or uses_order(pipeline) or pipeline.source.deduplicate is not None


def views(pipeline: Pipeline, groups: Sequence[FeatureGroup], *, bounded: bool = False) -> list[str | Step]:
    """Views that the INSERTs of these groups read, in order.

    :param bounded: whether they are read in batch mode.
    """
    prepared, result = _prepared(pipeline, bounded), list[str | Step]()
    source = pipeline.source
    read, events = names.read_view(source), names.prepared_view(source)
    if is_shared(pipeline, bounded=bounded):
        prepared = prepared or f"SELECT * FROM {sql_identifier(names.unprepared(source))}"
        result.append(f"CREATE TEMPORARY VIEW {sql_identifier(read)} AS\n{prepared}")
        result.append({"share": {"table": read, "view": events, "event_time": EVENT_TIME}})
    elif prepared:
        result.append(f"CREATE TEMPORARY VIEW {sql_identifier(events)} AS\n{prepared}")
    for key in dict.fromkeys(tuple(group.key) for group in groups):
        result.append(_events_by_key(pipeline, key, bounded))
    if not bounded:
        result += [_for_sessions(source, key) for key in _session_keys(pipeline)]
        result += [_for_running(source, key) for key in _running_keys(pipeline)]
    return result


def on_time(pipeline: Pipeline) -> list[Step]:
    """Where duplicates are left out, a view of the events that are not late, for the stream.

    OVER forgets a name after a while, and would take what is sent again by then for the first one.
    """
    source, table, steps = pipeline.source, names.source_table(pipeline.source), list[Step]()
    if source.deduplicate is None:
        return []
    if pipeline.late_topic:
        # Else the topic would be read once more for them.
        table = names.arrived_view(source)
        steps.append({"share": {"table": names.source_table(source), "view": table, "event_time": EVENT_TIME}})
    return [*steps, {"on_time": {"table": table, "view": names.on_time_view(source), "event_time": EVENT_TIME}}]


def events_with_late(pipeline: Pipeline) -> str:
    """Name of what still holds the events that are late."""
    return names.arrived_view(pipeline.source) if pipeline.source.deduplicate else events_table(pipeline)


def _session_keys(pipeline: Pipeline) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(tuple(group.key) for group in pipeline.feature_groups if group.has_sessions))


def _for_sessions(source: Source, key: Sequence[str]) -> Step:
    """A view of a key's events behind which the watermark is a millisecond less.

    Flink makes one session of two events that are exactly the gap apart, but emits the first one's as soon as the
    watermark is a millisecond before the second one, which may come until then and be on time.
    """
    table, view = names.events_view(source, key), names.sessions_view(source, key)
    return {"sessions": {"table": table, "view": view, "event_time": EVENT_TIME, "key": ", ".join(key)}}


def _running_keys(pipeline: Pipeline) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(tuple(group.key) for group in pipeline.feature_groups if is_running(pipeline, group)))


def is_running(pipeline: Pipeline, group: FeatureGroup) -> bool:
    """Whether a feature group has a row for each event out of SQL's aggregates of those before it."""
    return group.emit == "on_event" and group not in pipeline.native_groups


def _for_running(source: Source, key: Sequence[str]) -> Step:
    """A view of a key's events without those that are late, after a restart as well.

    OVER forgets a silent key, and would make a row of a late event with nothing before it.
    """
    table, view = names.events_view(source, key), names.running_view(source, key)
    return {"on_time": {"table": table, "view": view, "event_time": EVENT_TIME, "key": ", ".join(key)}}


def is_shared(pipeline: Pipeline, *, bounded: bool = False) -> bool:
    """Whether the events are read once by a step of the plan: SQL shares what it reads, but not with other steps.

    :param bounded: as for `views`: there, all is SQL.
    """
    late = [pipeline.late_topic] if pipeline.late_topic and pipeline.source.deduplicate is None else []
    steps = [*pipeline.native_windows, *_session_keys(pipeline), *_running_keys(pipeline), *late]
    stepped = [group for group in pipeline.feature_groups if group.has_sessions or is_running(pipeline, group)]
    sql = [group for group in pipeline.feature_groups if group not in [*pipeline.native_groups, *stepped]]
    quarantine = [pipeline.quarantine_topic] if pipeline.quarantine_topic else []
    return not bounded and bool(steps) and len([*steps, *sql, *quarantine]) > 1


def events_table(pipeline: Pipeline, *, bounded: bool = False) -> str:
    """Name of what holds all events with their derived columns.

    :param bounded: as for `views`.
    """
    made = _is_prepared(pipeline) or is_shared(pipeline, bounded=bounded)
    return names.prepared_view(pipeline.source) if made else names.unprepared(pipeline.source)


def has_version(name: str) -> str:
    """Name of the column that says whether an event has a version of a join."""
    return f"__has_{name}"


def without_version(pipeline: Pipeline) -> dict[str, str]:
    """Conditions for an event that is refused because a join has nothing for it, by the join's name."""
    required = [name for name, join in pipeline.source.join.items() if join.required]
    return {name: f"NOT {sql_identifier(has_version(name))}" for name in required}


def _events_by_key(pipeline: Pipeline, key: Sequence[str], bounded: bool) -> str:
    """View of the events without those that must not count: refused event times and null keys."""
    usable = [f"{sql_identifier(EVENT_TIME)} > TO_TIMESTAMP_LTZ(0, 3)"]
    usable += [f"{sql_identifier(column)} IS NOT NULL" for column in key]
    usable += [sql_identifier(has_version(name)) for name in without_version(pipeline)]
    counted = "\n  AND ".join(usable)
    view = sql_identifier(names.events_view(pipeline.source, key))
    table = sql_identifier(events_table(pipeline, bounded=bounded))
    return f"CREATE TEMPORARY VIEW {view} AS\nSELECT * FROM {table}\nWHERE {counted}"


def _is_prepared(pipeline: Pipeline) -> bool:
    """Whether `_prepared` has a query."""
    source = pipeline.source
    made = bool(source.derive) or source.where is not None
    made = made or (source.deduplicate is not None and not source.join)
    return made or uses_order(pipeline)


def _prepared(pipeline: Pipeline, bounded: bool) -> str | None:
    """Query for the events that count, with everything that is made of single ones; None if they are the source's."""
    source = pipeline.source
    query, table = None, sql_identifier(names.unprepared(source))
    if not source.join:
        query = without_duplicates(pipeline, bounded)
    for selected in (*_order(pipeline), *_derived(source)):
        query = f"SELECT\n  {selected}\nFROM {table if query is None else f'({query})'}"
    if source.where is not None:
        inner = table if query is None else f"({query})"
        query = f"SELECT * FROM {inner}\nWHERE {condition(source.where, source.all_columns)}"
        if source.on_decode_error == "quarantine":
            # Left out later, by their event time: on their way to the quarantine topic they pass here.
            query += f" OR {sql_identifier(PROBLEM)} IS NOT NULL"
    return query


def without_duplicates(pipeline: Pipeline, bounded: bool) -> str | None:
    """Query for the source's events without those that another one of the same name precedes; None if all count.

    Of events at the same time the one of the lower partition and offset counts, so that the order in which they are
    read decides nothing.
    """
    wanted = pipeline.source.deduplicate
    if wanted is None:
        return None
    by = ", ".join(map(sql_identifier, wanted.by))
    unnamed = " OR ".join(f"{sql_identifier(name)} IS NULL" for name in wanted.by)
    read = names.source_table if bounded else names.on_time_view
    table, event_time = sql_identifier(read(pipeline.source)), sql_identifier(EVENT_TIME)
    time = f"EXTRACT(EPOCH FROM {event_time}) * 1000 + EXTRACT(MILLISECOND FROM {event_time})"
    counted = f"{event_time} > TO_TIMESTAMP_LTZ(0, 3)"
    place = {PARTITION: 10, OFFSET: ORDER_OFFSET}
    if bounded:
        # The time is the same for all of them. In files so is the place, and Flink orders by no constants alone.
        order = ", ".join(map(sql_identifier, (EVENT_TIME, *place)))
        return (
            "SELECT * FROM (\n"
            f"  SELECT *, LAG(`__at`) OVER (PARTITION BY {by} ORDER BY `__at`) AS `__before` FROM (\n"
            f"    SELECT *, ROW_NUMBER() OVER (PARTITION BY {by}, `__at` ORDER BY {order}) AS `__number` FROM (\n"
            f"      SELECT *, {time} AS `__at` FROM {table} WHERE {counted}))\n"
            f"  WHERE `__number` = 1 OR {unnamed})\n"
            f"WHERE `__before` IS NULL OR `__at` - `__before` > {milliseconds(wanted.within)} OR {unnamed}"
        )
    digits = {time: ORDER_TIME, **{sql_identifier(name): length for name, length in place.items()}}
    rank = " || ".join(f"LPAD(CAST({text} AS STRING), {length}, '0')" for text, length in digits.items())
    query = (
        "SELECT * FROM (\n"
        f"  SELECT *, MIN(`__rank`) OVER (PARTITION BY {by} ORDER BY {event_time} "
        f"RANGE BETWEEN {sql_interval(wanted.within)} PRECEDING AND CURRENT ROW) AS `__first`\n"
        f"  FROM (SELECT *, {rank} AS `__rank` FROM {table} WHERE {counted}))\n"
        f"WHERE `__rank` = `__first` OR {unnamed}"
    )
    if pipeline.quarantine_topic:
        # What is refused is no duplicate, and goes on to its topic.
        nothing = "CAST(NULL AS STRING) AS `__rank`, CAST(NULL AS STRING) AS `__first`"
        query += f"\nUNION ALL SELECT *, {nothing} FROM {table} WHERE NOT {counted}"
    return query


def _order(pipeline: Pipeline) -> list[str]:
    """What a layer of queries selects to give the events an order, where a feature needs it."""
    if not uses_order(pipeline):
        return []
    event_time = sql_identifier(EVENT_TIME)
    time = f"EXTRACT(EPOCH FROM {event_time}) * 1000 + EXTRACT(MILLISECOND FROM {event_time})"
    digits = {f"CAST({time} AS STRING)": ORDER_TIME, f"CAST({sql_identifier(OFFSET)} AS STRING)": ORDER_OFFSET}
    order = " || ".join(f"LPAD({text}, {length}, '0')" for text, length in digits.items())
    return [f"*,\n  {order} AS {sql_identifier(ORDER)}"]


def _derived(source: Source) -> list[str]:
    """What each layer of queries selects: a derived column stands in the layer above those that it reads."""
    if not source.derive:
        return []
    from hopsworks_flink.pipeline.expressions import Expression

    known: dict[str, FeatureType] = source.joined_columns
    level: dict[str, int] = dict.fromkeys(known, 0)
    layers: dict[int, list[str]] = {}
    for name, column in source.derive.items():
        expression = Expression.parse(column.expression, known)
        level[name] = 1 + max((level[read] for read in expression.columns), default=0)
        text = template_text(expression.cast(column.type).sql("flink"))
        if column.type == STRING:
            # One of literals would be CHAR: native windows do not know it, and what is compared with it is cut.
            text = f"CAST({text} AS STRING)"
        layers.setdefault(level[name], []).append(f"{text} AS {sql_identifier(name)}")
        known[name] = column.type
    return [",\n  ".join(["*", *layers[number]]) for number in sorted(layers)]
