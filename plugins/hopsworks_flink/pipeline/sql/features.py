"""Flink SQL of a pipeline: the same text for the stream and for history.

What is not the pipeline's business stands as ``${placeholder}`` in the text and is filled in beside the cluster (see
`hopsworks_flink.pipeline.plan.bindings`): broker addresses, credentials, ids of one run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta

from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline, Source
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.source import Column, Records
from hopsworks_flink.pipeline.spec.source.columns import path_of
from hopsworks_flink.pipeline.sql import names
from hopsworks_flink.pipeline.sql.aggregates import (
    EVENT_TIME,
    OverAggregates,
    epoch_milliseconds,
    template_text,
    window_aggregate,
)
from hopsworks_flink.pipeline.sql.events import (
    KAFKA_TIMESTAMP,
    OFFSET,
    PARTITION,
    PROBLEM,
    UNDECODABLE,
    needs_coordinates,
)
from hopsworks_flink.pipeline.sql.native import native_windows
from hopsworks_flink.pipeline.sql.windows import (
    ends_decide,
    joined_features,
    sessions_of_batch,
    window_function,
)
from hopsworks_flink.pipeline.types import (
    BIGINT,
    BOOLEAN,
    STRING,
    TIMESTAMP,
    FeatureType,
    sql_identifier,
    sql_interval,
    sql_literal,
)

KEY = "__key"
HEADERS = "__headers"
RECORD_KEY = "__record_key"
RECORD_HEADERS = "__record_headers"
AT = "__at"
MILLISECONDS = "__milliseconds"
#: Flink's name for the format of this package (flink_jobs/java): a record is decoded as it was written, or not at all.
FORMAT = "hopsworks-events"
SOURCE_KAFKA = "${source_kafka}"
SOURCE_REGISTRY = "${source_registry}"
SINK_KAFKA = "${sink_kafka}"
SOURCE_START = "${source_start}"
SINK_OPTIONS = {
    # Rows are upserts by key with values that a replay repeats, so doing them twice changes nothing.
    "sink.delivery-guarantee": "at-least-once",
    "properties.linger.ms": "50",
    "properties.batch.size": "262144",
}

# Milliseconds.
_SHORTEST_DISCOVERY, _LONGEST_DISCOVERY = 1_000, 10_000
_EPOCH = "TO_TIMESTAMP_LTZ(0, 3)"
# Of the year 9999; Flink knows no later one.
_LAST_SECOND = 253_402_300_799
_PER_SECOND = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000}


def source_table(pipeline: Pipeline, *, bounded: bool = False) -> str:
    """DDL of the source topic with its guarded event time and watermark.

    :param bounded: whether it is read between offsets, and not for ever.
    """
    source = pipeline.source
    lines = [f"{sql_identifier(name)} {column.type.sql}" for name, column in source.value_columns.items()]
    event_time, guarded = sql_identifier(EVENT_TIME), guarded_event_time(source)
    if source.on_decode_error == "quarantine":
        lines += [f"{sql_identifier(UNDECODABLE)} BYTES", f"{sql_identifier(PROBLEM)} STRING"]
        column = source.event_time.column
        if column is None or source.declared[column].is_beside:
            # Such a time may be there although the value has none. Without it the record counts nowhere.
            guarded = f"CASE WHEN {sql_identifier(PROBLEM)} IS NULL THEN {guarded} ELSE {_EPOCH} END"
    lines.append(f"{sql_identifier(KAFKA_TIMESTAMP)} TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL")
    if needs_coordinates(pipeline):
        lines.append(f"{sql_identifier(PARTITION)} INT METADATA FROM 'partition' VIRTUAL")
        lines.append(f"{sql_identifier(OFFSET)} BIGINT METADATA FROM 'offset' VIRTUAL")
    others = source.beside_columns
    if source.has_key_column:
        lines.insert(0, f"{sql_identifier(RECORD_KEY)} BYTES")
    if any(column.header is not None for column in others.values()):
        lines.append(f"{sql_identifier(RECORD_HEADERS)} MAP<STRING, BYTES> METADATA FROM 'headers' VIRTUAL")
    lines += [f"{sql_identifier(name)} AS {beside(column)}" for name, column in others.items()]
    lines += [
        f"{event_time} AS {guarded}",
        # An event at the watermark is late: one that is just as late as it may be must lie above.
        f"WATERMARK FOR {event_time} AS {event_time} - {sql_interval(source.max_disorder + timedelta(milliseconds=1))}",
    ]
    # Where to begin is the affair of one run, and only of one that brings no state along.
    options = source_options(pipeline.consumer_group, source, source.on_decode_error)
    if source.idle_timeout is not None:
        options["scan.watermark.idle-timeout"] = f"{milliseconds(source.idle_timeout)} ms"
    if not bounded:
        options["scan.topic-partition-discovery.interval"] = f"{discovery_milliseconds(source)} ms"
    registry = [SOURCE_REGISTRY] if source.registry else []
    return create_table(
        names.source_table(source), lines, options, ",\n  ".join([SOURCE_START, SOURCE_KAFKA, *registry])
    )


def discovery_milliseconds(source: Source) -> int:
    """How often partitions are looked for that were added to the topic. Flink reads them from their beginning.

    By then other partitions may have moved the watermark on: what is new there must not be late for being found late.
    """
    return max(_SHORTEST_DISCOVERY, min(_LONGEST_DISCOVERY, milliseconds(source.max_disorder) // 2))


def guarded_event_time(source: Source) -> str:
    """Expression for the event time as TIMESTAMP_LTZ(3): the epoch itself for an event that must not count.

    A null rowtime fails the job, a number beyond the calendar becomes null, an event from the far future moves the
    watermark and makes everything after it late, and a wrong unit puts all events into 1970. The bounds compare with
    the record's Kafka timestamp, not with the wall clock, so that a replay decides alike.

    It is added to the epoch as an interval: TO_TIMESTAMP_LTZ and EXTRACT, which the watermark, the filter and the
    windows would each compute again, cost as much as decoding the event.
    """
    arrived = sql_identifier(KAFKA_TIMESTAMP)
    if source.event_time.is_kafka_timestamp:
        # Records that carry no timestamp show one before 1970.
        return f"CASE WHEN {arrived} > {_EPOCH} THEN {arrived} ELSE {_EPOCH} END"
    within, value = within_calendar(source)
    counted = f"{within} AND {_moment(f'{value} - {milliseconds(source.max_future)}')} <= {arrived}"
    if source.max_past is not None:
        counted += f" AND {_moment(f'{value} + {milliseconds(source.max_past)}')} >= {arrived}"
    return f"CASE WHEN {counted} THEN {_moment(value)} ELSE {_EPOCH} END"


def too_old(source: Source) -> str | None:
    """Condition over the events for a time further behind the Kafka timestamp than `max_past`; None: none is."""
    if source.event_time.is_kafka_timestamp or source.max_past is None:
        return None
    within, value = within_calendar(source)
    arrived = sql_identifier(KAFKA_TIMESTAMP)
    return f"{within} AND {_moment(f'{value} + {milliseconds(source.max_past)}')} < {arrived}"


def within_calendar(records: Records) -> tuple[str, str]:
    """Condition for an event time that is in Flink's calendar, and expression for its milliseconds."""
    time, unit = time_value(records)
    value = {
        "seconds": f"CAST({time} AS BIGINT) * 1000",
        "milliseconds": time,
        "microseconds": f"{time} / 1000",
    }[unit]
    return f"{time} BETWEEN 1 AND {_LAST_SECOND * _PER_SECOND[unit]}", value


def time_value(records: Records) -> tuple[str, str]:
    """SQL of the number that is an event's time, and what it counts."""
    event_time = records.event_time
    if event_time.column is not None:
        column = records.declared[event_time.column]
        kind: FeatureType | None = column.type
        # A computed column cannot read another one.
        text = beside(column) if column.is_beside else sql_identifier(event_time.column)
    else:
        from hopsworks_flink.pipeline.expressions import Expression

        expression = Expression.parse(str(event_time.expression), records.columns)
        kind = expression.type
        text = f"({template_text(expression.cast(TIMESTAMP if kind == TIMESTAMP else BIGINT).sql('flink'))})"
    return text, "microseconds" if kind == TIMESTAMP else event_time.unit


def beside(column: Column) -> str:
    """SQL of a column that is the record's key or a header, as an expression over texts has it."""
    raw = sql_identifier(RECORD_KEY)
    if column.header is not None:
        raw = f"{sql_identifier(RECORD_HEADERS)}[{template_text(sql_literal(column.header))}]"
    if column.type.name == "binary":
        return raw
    from hopsworks_flink.pipeline.expressions.terms import Term, cast, clean

    text = f"DECODE({raw}, 'UTF-8')"
    if column.type == STRING:
        # What is no UTF-8 is decoded all the same, and other bytes to the same text: keys would become one.
        return f"CASE WHEN ENCODE({text}, 'UTF-8') = {raw} THEN {text} END"
    return clean(cast(Term(STRING, text, text), column.type)).flink


def _moment(epoch_milliseconds: str) -> str:
    return f"{_EPOCH} + INTERVAL '0.001' SECOND * ({epoch_milliseconds})"


def source_options(consumer_group: str, records: Records, on_error: str = "fail") -> dict[str, str]:
    """Options of a table over a topic: how its records are read.

    :param on_error: what one does that cannot be decoded, as ``on_decode_error`` of the records.
    """
    options = {
        "connector": "kafka",
        "topic": records.topic,
        # Offsets are committed under this name for people and monitoring; Flink itself resumes from its checkpoints.
        "properties.group.id": consumer_group,
        # Flink's default, as Kafka's, reads what a transaction has aborted as well.
        "properties.isolation.level": "read_committed",
    }
    if records.has_key_column:
        options |= {"key.format": "raw", "key.fields": RECORD_KEY, "value.fields-include": "EXCEPT_KEY"}
    prefix = format_prefix(records)
    options |= {
        prefix.removesuffix(FORMAT) + "format": FORMAT,
        f"{prefix}.encoding": records.format,
        f"{prefix}.on-error": on_error,
    }
    if records.framing is not None:
        options[f"{prefix}.framing"] = records.framing
    if records.envelope is not None:
        options[f"{prefix}.unwrap"] = records.envelope
    if records.schema_ids:
        options[f"{prefix}.schema-ids"] = ";".join(map(str, records.schema_ids))
    if records.avro_schema is not None:
        options[f"{prefix}.schema"] = json.dumps(records.avro_schema, ensure_ascii=False)
    if (message := records.protobuf_message) is not None:
        options[f"{prefix}.message"] = json.dumps(message.options(), ensure_ascii=False)
    if records.appended:
        options[f"{prefix}.appended"] = str(len(records.appended))
    options |= column_options(prefix, records)
    return options


def format_prefix(records: Records) -> str:
    """What the options of the records' format begin with: there is another format for their keys, or there is not."""
    return f"value.{FORMAT}" if records.has_key_column else FORMAT


def column_options(format_: str, records: Records) -> dict[str, str]:
    """Options of a format of this package that say what the columns' SQL types do not."""
    options = {}
    if timestamps := [name for name, kind in records.columns.items() if kind == TIMESTAMP]:
        # They are BIGINT there, which alone does not say what is in range.
        options[f"{format_}.timestamps"] = ";".join(timestamps)
    more = {}
    for name, column in records.value_columns.items():
        if facts := column.options(path_of(name, column, records.envelope) if records.envelope else None):
            more[name] = facts
    if more:
        options[f"{format_}.columns"] = json.dumps(more, sort_keys=True, ensure_ascii=False)
    return options


def sink_table(pipeline: Pipeline, group: FeatureGroup, topic: str, order: Sequence[str]) -> str:
    """DDL of a feature group's online topic.

    :param order: feature names in the order of the registered Avro schema, which is the order on the wire.
    """
    types = group.feature_types(pipeline.source.all_columns)
    lines = [
        f"{sql_identifier(KEY)} STRING",
        f"{sql_identifier(HEADERS)} MAP<STRING, BYTES> METADATA FROM 'headers'",
        *(f"{sql_identifier(name)} {types[name].sql}" for name in order),
    ]
    options = {
        "connector": "kafka",
        "topic": topic,
        "key.format": "raw",
        "key.fields": KEY,
        "value.format": "avro",
        "value.fields-include": "EXCEPT_KEY",
        **SINK_OPTIONS,
        # A row for an event is for those who wait for it; other rows come many at once.
        **({"properties.linger.ms": "10"} if group.emit == "on_event" else {}),
    }
    return create_table(names.group_table(group), lines, options, SINK_KAFKA)


def insert(
    pipeline: Pipeline, group: FeatureGroup, headers: Mapping[str, str], order: Sequence[str], *, bounded: bool = False
) -> str:
    """INSERT that computes one feature group into its online topic.

    :param headers: Kafka record headers, name → text or ``${placeholder}``.
    :param order: as for `sink_table`.
    :param bounded: whether the statement runs in batch mode, which cannot look back from an event by its rowtime.
    """
    if group.is_projection:
        return _insert_of_events(pipeline, group, headers, order)
    native, view = native_windows(pipeline, group), None
    if group.emit == "on_event" and not native:
        return _insert_on_event(pipeline, group, headers, order, bounded)
    if native:
        produced, view = dict(native.features[group.full_name]), native.view
    elif group.is_joined:
        produced, view = joined_features(pipeline, group), names.windows_view(group)
    else:
        columns = pipeline.source.all_columns
        produced = {name: window_aggregate(aggregate, columns) for name, aggregate in group.aggregates.items()}
    for name, time in group.times.items():
        starts = time is group.window_start
        if group.window.gap is not None or group.emit == "on_event":
            moment = epoch_milliseconds("`window_start`" if starts else "`window_end`")
            produced[name] = f"({moment}) * {time.per_millisecond}"
            continue
        # Other windows start and end on whole seconds.
        seconds = "EXTRACT(EPOCH FROM `window_end`)"
        if starts:
            # Rows of windows of several lengths know their end only.
            begun = f"({seconds} - {group.window.size // timedelta(seconds=1)})"
            seconds = begun if group.is_joined else "EXTRACT(EPOCH FROM `window_start`)"
        produced[name] = f"{seconds} * {1000 * time.per_millisecond}"
    keys = ", ".join(sql_identifier(column) for column in group.key)
    first = f"`window_start` >= TIMESTAMP '{windows_from(group.full_name)}'"
    if ends_decide(group):
        first = f"`window_end` > TIMESTAMP '{windows_from(group.full_name)}'"
    select = _select_into(pipeline, group, headers, order, produced)
    if view:
        return f"{select}\nFROM {sql_identifier(view)}\nWHERE {first}"
    # The second half is never true. Without it the planner filters below the aggregation, which then no longer works by
    # slices: it would see each event once for every window that holds it.
    having = f"{first} OR COUNT(*) = 0"
    if group.window.gap is not None:
        # Sessions are not made of slices. Of a longer one nobody knows the begin who reads the past again.
        having = f"{first} AND `window_end` <= `window_start` + {sql_interval(group.window.size)}"
    return (
        f"{select}\n"
        f"FROM {(sessions_of_batch if group.window.gap and bounded else window_function)(pipeline, group)}\n"
        f"GROUP BY {keys}, `window_start`, `window_end`\n"
        f"HAVING {having}"
    )


def _select_into(
    pipeline: Pipeline,
    group: FeatureGroup,
    headers: Mapping[str, str],
    order: Sequence[str],
    produced: Mapping[str, str],
) -> str:
    """The INSERT up to its FROM: key, headers, and the features in the order of the wire."""
    selected = [
        f"{record_key(group.key, pipeline.source.all_columns)} AS {sql_identifier(KEY)}",
        f"{_header_map(headers)} AS {sql_identifier(HEADERS)}",
    ]
    for name in order:
        expression, alias = produced.get(name), sql_identifier(name)
        selected.append(f"{expression} AS {alias}" if expression else alias)
    select_list = ",\n  ".join(selected)
    target = ", ".join(sql_identifier(name) for name in (KEY, HEADERS, *order))
    return f"INSERT INTO {sql_identifier(names.group_table(group))} ({target})\nSELECT\n  {select_list}"


def _insert_of_events(pipeline: Pipeline, group: FeatureGroup, headers: Mapping[str, str], order: Sequence[str]) -> str:
    """A row for each event that counts, made of nothing else. No watermark is waited for: a late event has its row."""
    columns = pipeline.source.all_columns
    produced = {name: template_text(feature.parsed(columns).sql("flink")) for name, feature in group.features.items()}
    produced |= _event_times(group, _event_milliseconds(pipeline.source))
    events = sql_identifier(names.events_view(pipeline.source, group.key))
    needed = "\n  AND ".join(f"{produced[name]} IS NOT NULL" for name in group.required)
    where = f"\nWHERE {needed}" if needed else ""
    return f"{_select_into(pipeline, group, headers, order, produced)}\nFROM {events}{where}"


def _insert_on_event(
    pipeline: Pipeline, group: FeatureGroup, headers: Mapping[str, str], order: Sequence[str], bounded: bool
) -> str:
    """A row for each event: values of the event, aggregates of those before it, features out of the aggregates."""
    over = OverAggregates()
    for feature, aggregate in group.aggregates.items():
        over.add(feature, aggregate, pipeline.source.all_columns)
    produced = dict(over.features)
    produced |= _event_times(group, epoch_milliseconds(sql_identifier(AT)))
    keys = [sql_identifier(column) for column in group.key]
    view = names.events_view if bounded else names.running_view
    events = sql_identifier(view(pipeline.source, group.key))
    at = [f"CAST({sql_identifier(EVENT_TIME)} AS TIMESTAMP(3)) AS {sql_identifier(AT)}"]
    by, reach = sql_identifier(EVENT_TIME), sql_interval(group.window.size)
    if bounded:
        by, reach = sql_identifier(MILLISECONDS), str(milliseconds(group.window.size))
        at.append(f"{epoch_milliseconds(sql_identifier(EVENT_TIME))} AS {by}")
    else:
        at.append(by)
    inner = f"SELECT\n    {_listed([*keys, *at, *_named(over.values[0])])}\n  FROM {events}"
    for values in over.values[1:]:
        inner = f"SELECT\n    {_listed(['*', *_named(values)])}\n  FROM (\n  {inner})"
    sums = _listed([*keys, sql_identifier(AT), *_named(over.sums, " OVER w")])
    outer = (
        f"SELECT\n    {sums}\n  FROM (\n  {inner})\n"
        f"  WINDOW w AS (PARTITION BY {', '.join(keys)} ORDER BY {by} "
        f"RANGE BETWEEN {reach} PRECEDING AND CURRENT ROW)"
    )
    first = f"\nWHERE {sql_identifier(AT)} > TIMESTAMP '{windows_from(group.full_name)}'"
    for steps in over.steps:
        outer = f"SELECT\n    {_listed(['*', *_named(steps)])}\n  FROM (\n  {outer}\n){first}"
        first = ""
    return f"{_select_into(pipeline, group, headers, order, produced)}\nFROM (\n  {outer}\n){first}"


def _event_times(group: FeatureGroup, at: str) -> dict[str, str]:
    """The event time of a row that is an event's, out of an expression for its milliseconds."""
    return {
        name: f"({at}) * {time.per_millisecond}" if time.per_millisecond > 1 else at
        for name, time in group.times.items()
    }


def _event_milliseconds(source: Source) -> str:
    """Milliseconds of an event that counts: from its own column, as EXTRACT costs as much as decoding the event."""
    if source.event_time.column is None:
        return epoch_milliseconds(sql_identifier(EVENT_TIME))
    return within_calendar(source)[1]


def _named(expressions: Mapping[str, str], behind: str = "") -> list[str]:
    return [f"{expression}{behind} AS {sql_identifier(alias)}" for alias, expression in expressions.items()]


def _listed(selected: Sequence[str]) -> str:
    return ",\n    ".join(selected)


def windows_from(full_name: str) -> str:
    """Placeholder for the start of the first window that a feature group's job emits."""
    return "${" + windows_placeholder(full_name) + "}"


def windows_placeholder(full_name: str) -> str:
    """Name of that placeholder."""
    return f"windows_from_{full_name}"


def record_key(key: Sequence[str], columns: Mapping[str, FeatureType]) -> str:
    """Kafka record key as the SDK makes it: ``str()`` of the key values, joined without separator, sorted by name."""
    parts = [_as_python_text(column, columns[column]) for column in sorted(key)]
    return parts[0] if len(parts) == 1 else f"CONCAT({', '.join(parts)})"


def _as_python_text(column: str, kind: FeatureType) -> str:
    name = sql_identifier(column)
    if kind == BOOLEAN:
        return f"CASE WHEN {name} THEN 'True' ELSE 'False' END"
    return name if kind == STRING else f"CAST({name} AS STRING)"


def _header_map(headers: Mapping[str, str]) -> str:
    pairs = [f"{sql_literal(name)}, ENCODE({sql_literal(value)}, 'UTF-8')" for name, value in headers.items()]
    return f"MAP[{', '.join(pairs)}]"


def create_table(name: str, columns: Sequence[str], options: Mapping[str, str], placeholders: str) -> str:
    """DDL of a table; ``placeholders`` stand for options that are filled in beside the cluster."""
    body = ",\n  ".join(columns)
    settings = ",\n  ".join(f"{sql_literal(key)} = {fixed(value)}" for key, value in options.items())
    return f"CREATE TEMPORARY TABLE {sql_identifier(name)} (\n  {body}\n) WITH (\n  {settings},\n  {placeholders}\n)"


def fixed(text: str) -> str:
    """Literal that stays as it is when the statement's placeholders are filled in."""
    return template_text(sql_literal(text))
