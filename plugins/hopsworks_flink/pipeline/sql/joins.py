"""Versions of what belongs to an event's key, and the events with the version that held at their time.

The stream asks an operator of flink_jobs/java: Flink's temporal join lets a topic that hardly changes hold the
watermark back, and lets a tombstone end a version at the version's begin. Batch mode has no temporal join; it knows how
long each version held, and joins by that.
"""

from __future__ import annotations

from datetime import timedelta

from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.source import Join
from hopsworks_flink.pipeline.sql import names
from hopsworks_flink.pipeline.sql.aggregates import EVENT_TIME, epoch_milliseconds
from hopsworks_flink.pipeline.sql.events import (
    KAFKA_TIMESTAMP,
    OFFSET,
    PARTITION,
    Step,
    has_version,
    without_duplicates,
)
from hopsworks_flink.pipeline.sql.features import (
    RECORD_HEADERS,
    RECORD_KEY,
    SINK_KAFKA,
    SOURCE_KAFKA,
    beside,
    create_table,
    discovery_milliseconds,
    format_prefix,
    source_options,
    within_calendar,
)
from hopsworks_flink.pipeline.types import sql_identifier

_TOMBSTONE, _SINCE, _UNTIL = map(sql_identifier, ("__tombstone", "__since", "__until"))
# A late event may ask for a version that was replaced meanwhile.
_SHORTEST_MEMORY = timedelta(days=1)


def join_statements(pipeline: Pipeline, *, bounded: bool = False) -> list[str | Step]:
    """Tables and views, in order, from the source to the events with all that is joined to them.

    :param bounded: whether they are read in batch mode.
    """
    if not pipeline.source.join:
        return []
    source, statements = pipeline.source, list[str | Step]()
    events = names.source_table(source)
    if query := without_duplicates(pipeline, bounded):
        events = names.unjoined_view(source)
        statements.append(f"CREATE TEMPORARY VIEW {sql_identifier(events)} AS\n{query}")
    for name, join in source.join.items():
        statements.append(_table(pipeline, name, join, bounded))
        statements.append(_versions(name, join, bounded))
        make = _intervals if bounded else _step
        statements.append(make(pipeline, name, join, events))
        events = names.joined_view(source, name)
    return statements


def join_start(name: str) -> str:
    """Name of the placeholder for where a joined topic is read."""
    return f"join_{name}_start"


def join_registry(name: str) -> str:
    """Name of the placeholder for the schema registry of a joined topic."""
    return f"join_{name}_registry"


def _table(pipeline: Pipeline, name: str, join: Join, bounded: bool) -> str:
    """DDL of the joined topic. It has no watermark: events do not wait for it."""
    lines = [f"{sql_identifier(column)} {of.type.sql}" for column, of in join.value_columns.items()]
    lines += [
        f"{_TOMBSTONE} BOOLEAN",
        f"{sql_identifier(KAFKA_TIMESTAMP)} TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL",
        f"{sql_identifier(PARTITION)} INT METADATA FROM 'partition' VIRTUAL",
        f"{sql_identifier(OFFSET)} BIGINT METADATA FROM 'offset' VIRTUAL",
    ]
    if join.has_key_column:
        lines.insert(0, f"{sql_identifier(RECORD_KEY)} BYTES")
    if any(column.header is not None for column in join.beside_columns.values()):
        lines.append(f"{sql_identifier(RECORD_HEADERS)} MAP<STRING, BYTES> METADATA FROM 'headers' VIRTUAL")
    lines += [f"{sql_identifier(column)} AS {beside(of)}" for column, of in join.beside_columns.items()]
    options = {**source_options(pipeline.consumer_group, join), f"{format_prefix(join)}.tombstones": "rows"}
    if not bounded:
        options["scan.topic-partition-discovery.interval"] = f"{discovery_milliseconds(pipeline.source)} ms"
    kafka = SOURCE_KAFKA if join.broker == "source" else SINK_KAFKA
    last = ["${" + join_start(name) + "}", kafka]
    if join.registry is not None:
        last.append("${" + join_registry(name) + "}")
    return create_table(names.versions_table(name), lines, options, ",\n  ".join(last))


def _versions(name: str, join: Join, bounded: bool) -> str:
    """The topic's records as versions: what they belong to, their columns, since when they hold, whether they are
    tombstones, and where they stand. The stream's operator leaves out those without key or time.
    """
    by = {f"__by_{number}": column for number, column in enumerate(join.by.values())}
    selected = [f"{sql_identifier(column)} AS {sql_identifier(alias)}" for alias, column in by.items()]
    selected += [f"{sql_identifier(column)} AS {sql_identifier(alias)}" for alias, column in join.taken.items()]
    selected += [f"{_since(join)} AS {_SINCE}", _TOMBSTONE, *map(sql_identifier, (PARTITION, OFFSET))]
    query = f"SELECT\n  {_listed(selected)}\nFROM {sql_identifier(names.versions_table(name))}"
    if bounded:
        keys = [sql_identifier(alias) for alias in by]
        counted = " AND ".join(f"{known} IS NOT NULL" for known in (*keys, _SINCE))
        # Of versions since the same time the one that was written last.
        same = f"PARTITION BY {', '.join([*keys, _SINCE])} ORDER BY {sql_identifier(PARTITION)} DESC"
        query = (
            f"SELECT *, LEAD({_SINCE}) OVER (PARTITION BY {', '.join(keys)} ORDER BY {_SINCE}) AS {_UNTIL} FROM (\n"
            f"SELECT *, ROW_NUMBER() OVER ({same}, {sql_identifier(OFFSET)} DESC) AS `__number` FROM (\n{query})\n"
            f"WHERE {counted})\nWHERE `__number` = 1"
        )
    return f"CREATE TEMPORARY VIEW {sql_identifier(names.versions_view(name))} AS\n{query}"


def _since(join: Join) -> str:
    """Epoch milliseconds since which a version holds; null where that is missing or no time."""
    arrived = epoch_milliseconds(sql_identifier(KAFKA_TIMESTAMP))
    # Records without a timestamp show one before 1970.
    of_record = f"CASE WHEN {sql_identifier(KAFKA_TIMESTAMP)} > TO_TIMESTAMP_LTZ(0, 3) THEN {arrived} END"
    if join.event_time.is_kafka_timestamp:
        return of_record
    within, value = within_calendar(join)
    return f"CASE WHEN {_TOMBSTONE} THEN {of_record} WHEN {within} THEN CAST({value} AS BIGINT) END"


def _step(pipeline: Pipeline, name: str, join: Join, events: str) -> Step:
    longest = max(group.reach for group in pipeline.feature_groups)
    return {
        "join": {
            "name": name,
            "events": events,
            "versions": names.versions_view(name),
            "topic": names.versions_table(name),
            "view": names.joined_view(pipeline.source, name),
            "by": list(join.by),
            "event_time": EVENT_TIME,
            "told": has_version(name),
            "keep": milliseconds(max(longest, _SHORTEST_MEMORY)),
        }
    }


def _intervals(pipeline: Pipeline, name: str, join: Join, events: str) -> str:
    """View of the events with their versions, each of which holds until the next one."""
    event, version = sql_identifier(events), sql_identifier(names.versions_view(name))
    time = epoch_milliseconds(f"{event}.{sql_identifier(EVENT_TIME)}")
    on = [f"{event}.{sql_identifier(column)} = {version}.`__by_{number}`" for number, column in enumerate(join.by)]
    on += [f"{time} >= {version}.{_SINCE}", f"({version}.{_UNTIL} IS NULL OR {time} < {version}.{_UNTIL})"]
    on.append(f"NOT {version}.{_TOMBSTONE}")
    selected = [f"{event}.*", *(f"{version}.{sql_identifier(alias)}" for alias in join.taken)]
    selected.append(f"{version}.{_SINCE} IS NOT NULL AS {sql_identifier(has_version(name))}")
    view = sql_identifier(names.joined_view(pipeline.source, name))
    return (
        f"CREATE TEMPORARY VIEW {view} AS\nSELECT\n  {_listed(selected)}\n"
        f"FROM {event} LEFT JOIN {version}\nON " + "\n  AND ".join(on)
    )


def _listed(selected: list[str]) -> str:
    return ",\n  ".join(selected)
