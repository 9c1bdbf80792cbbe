"""DuckDB queries that compute what a pipeline file means: written from the file, not from the SQL that Flink gets.

A window here is nothing but a bag of events: each event is put into every window that holds it, then windows are
grouped. That is slow beside Flink's slices, and plain enough to trust.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from hopsworks_flink.pipeline.expressions import Expression, converted
from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline, Source, Window
from hopsworks_flink.pipeline.spec.aggregates import MOMENTS, Aggregate
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.group.projection import Projection
from hopsworks_flink.pipeline.types import DOUBLE, TIMESTAMP, FeatureType
from hopsworks_flink.pipeline.values import typed_value
from hopsworks_flink.testing.events import KAFKA_TIMESTAMP

RAW = "__raw"
EVENTS = "__events"
ARRIVAL = "__arrival"
TIME = "__time"
END = "__end"
ROW = "__row"

# The last moment of year 9999 in milliseconds: what lies beyond is no time that Flink can represent.
_LAST_MOMENT = 253_402_300_799_999
_TYPES = {"string": "VARCHAR", "binary": "BLOB"}


def quoted(name: str) -> str:
    """A name as SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def type_name(kind: FeatureType) -> str:
    """DuckDB's name of a type."""
    return _TYPES.get(kind.name, str(kind).upper())


def constant(value: bool | int | float | str, kind: FeatureType) -> str:
    """A constant of the pipeline file as a value of its type."""
    typed: bool | int | float | Decimal | str | date = typed_value(value, kind)
    if kind == TIMESTAMP:
        return f"make_timestamp({typed})"
    text = str(typed).replace("'", "''")
    return f"CAST('{text}' AS {type_name(kind)})"


def event_time(source: Source) -> str:
    """Event time in epoch milliseconds; null for an event that must not count.

    Without a Kafka timestamp there is nothing to be too early or too late for.
    """
    ahead, kafka = milliseconds(source.max_future), quoted(KAFKA_TIMESTAMP)
    if source.event_time.column is None:
        return f"CASE WHEN {kafka} > 0 THEN {kafka} END"
    column = quoted(source.event_time.column)
    time = {
        "seconds": f"{column}::HUGEINT * 1000",
        "milliseconds": column,
        "microseconds": f"{column} // 1000",
    }[source.event_time.unit]
    if source.columns[source.event_time.column] == TIMESTAMP:
        time = f"epoch_us({column}) // 1000"
    # A null bound is none.
    last = f"least({kafka} + {ahead}, {_LAST_MOMENT})"
    first = "1" if source.max_past is None else f"greatest({kafka} - {milliseconds(source.max_past)}, 1)"
    return f"CASE WHEN {time} BETWEEN {first} AND {last} THEN ({time})::BIGINT END"


def clean_events(pipeline: Pipeline) -> str:
    """Statement that makes table `EVENTS` out of table `RAW`: the events that count, with time and derived columns."""
    source = pipeline.source
    query = f"SELECT * FROM (SELECT *, {event_time(source)} AS {TIME} FROM {RAW}) WHERE {TIME} IS NOT NULL"
    known = dict(source.columns)
    for name, derived in source.derive.items():
        value = Expression.parse(derived.expression, known).cast(derived.type).sql("duckdb")
        # Spelt out once more: what an expression gives in DuckDB may be a wider type.
        query = f"SELECT *, CAST({value} AS {type_name(derived.type)}) AS {quoted(name)} FROM ({query})"
        known[name] = derived.type
    if source.where is not None:
        query = f"SELECT * FROM ({query}) WHERE {Expression.parse(source.where, known).sql('duckdb')}"
    return f"CREATE TEMP TABLE {EVENTS} AS {query}"


def group_rows(pipeline: Pipeline, group: FeatureGroup) -> str:
    """Query for the rows of a feature group: key, features, and last the row's time in milliseconds."""
    columns = pipeline.source.all_columns
    keys = [quoted(column) for column in group.key]
    if group.is_projection:
        made = [_projected(feature, columns) for feature in group.features.values()]
        needed = [_projected(group.features[name], columns) for name in group.required]
        known = " AND ".join([_known(group), *(f"{value} IS NOT NULL" for value in needed)])
        return f"SELECT {', '.join([*keys, *made, TIME])} FROM {EVENTS} WHERE {known} ORDER BY {ARRIVAL}"
    row = ", ".join([END, *keys, ROW])
    least, selected, on_event = [], [], group.emit == "on_event"
    for number, aggregate in enumerate(group.aggregates.values()):
        shift = f"__least_{number}"
        if _is_spread(aggregate):
            held = _held(aggregate, columns, on_event)
            least.append(f"min({held}){_filter(aggregate, columns)} OVER (PARTITION BY {row}) AS {shift}")
        selected.append(_feature(aggregate, columns, shift, on_event))
    return (
        f"WITH placed AS ({_on_event(group) if group.emit == 'on_event' else _in_windows(group)}),\n"
        f"shifted AS (SELECT {', '.join(['*', *least])} FROM placed)\n"
        f"SELECT {', '.join([*keys, *selected, END])}\n"
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
    return f"SELECT *, 0 AS {ROW}, unnest({window_ends(group.window)}) AS {END} FROM {EVENTS} WHERE {known}"


def _on_event(group: FeatureGroup) -> str:
    """Every event once for each event whose row it belongs to: from the size before that one up to its very time."""
    same_key = " AND ".join(f"seen.{quoted(column)} = now.{quoted(column)}" for column in group.key)
    begin = f"now.{TIME} - {milliseconds(group.window.size)}"
    return (
        f"SELECT seen.*, now.{ARRIVAL} AS {ROW}, now.{TIME} AS {END} FROM {EVENTS} AS now JOIN {EVENTS} AS seen "
        f"ON {same_key} AND seen.{TIME} BETWEEN {begin} AND now.{TIME}"
    )


def window_ends(window: Window) -> str:
    """List of the ends of all windows that hold an event, in epoch milliseconds."""
    size = milliseconds(window.size)
    if window.step is not None:
        step = milliseconds(window.step)
        return f"range(({TIME} // {step} + 1) * {step}, ({TIME} // {size} + 1) * {size} + 1, {step})"
    slide = milliseconds(window.slide or window.size)
    return f"range(({TIME} // {slide} + 1) * {slide}, {TIME} // {slide} * {slide} + {size} + 1, {slide})"


def window_start(window: Window, end: int) -> int:
    """Start of the window with this end, both in epoch milliseconds."""
    size = milliseconds(window.size)
    return (end - 1) // size * size if window.step is not None else end - size


def _is_spread(aggregate: Aggregate) -> bool:
    return aggregate.function in MOMENTS and aggregate.function != "avg"


def _operand(aggregate: Aggregate, columns: dict[str, FeatureType]) -> str:
    """The column's value, null in place of NaN."""
    column = quoted(aggregate.column or "")
    if columns[aggregate.column or ""].is_floating:
        column = f"CASE WHEN NOT isnan({column}) THEN {column} END"
    return f"({column})::DOUBLE" if aggregate.function in MOMENTS else column


def _held(aggregate: Aggregate, columns: dict[str, FeatureType], on_event: bool) -> str:
    """The value where it is below the aggregate's limit."""
    operand, limit = _operand(aggregate, columns), aggregate.limit(columns, on_event=on_event)
    return operand if limit is None else f"CASE WHEN {_below(aggregate, columns, limit)} THEN {operand} END"


def _below(aggregate: Aggregate, columns: dict[str, FeatureType], limit: int) -> str:
    column, kind = quoted(aggregate.column or ""), columns[aggregate.column or ""]
    if kind.is_floating:
        return f"abs({column}) < 1e{limit}"
    bound = f"CAST('1{'0' * limit}' AS DECIMAL(38, {kind.scale}))"
    return f"({column} > -{bound} AND {column} < {bound})"


def _filter(aggregate: Aggregate, columns: dict[str, FeatureType], *further: str) -> str:
    conditions = list(further)
    if aggregate.where is not None:
        conditions.append(Expression.parse(aggregate.where, columns).sql("duckdb"))
    return f" FILTER (WHERE {' AND '.join(f'({condition})' for condition in conditions)})" if conditions else ""


def _feature(aggregate: Aggregate, columns: dict[str, FeatureType], shift: str, on_event: bool) -> str:
    """Expression for one feature."""
    kind, value = aggregate.result_type(columns), _value(aggregate, columns, shift, on_event)
    limit = aggregate.limit(columns, on_event=on_event)
    if limit is not None:
        operand = _operand(aggregate, columns)
        # Null is below no limit, but has none to keep to either.
        beyond = f"{operand} IS NOT NULL AND NOT {_below(aggregate, columns, limit)}"
        value = f"CASE WHEN count(*){_filter(aggregate, columns, beyond)} = 0 THEN {value} END"
    # A sum of bigints may be too large for one.
    value = f"TRY_CAST({value} AS {type_name(kind)})"
    wanted = aggregate.feature_type(columns)
    if wanted != kind:
        value, kind = converted(value, kind, wanted, "duckdb"), wanted
    return value if aggregate.default is None else f"coalesce({value}, {constant(aggregate.default, kind)})"


def _value(aggregate: Aggregate, columns: dict[str, FeatureType], shift: str, on_event: bool) -> str:
    only, function = _filter(aggregate, columns), aggregate.function
    if aggregate.column is None:
        return f"count(*){only}"
    operand, held = _operand(aggregate, columns), _held(aggregate, columns, on_event)
    if function == "avg":
        # Kahan's summation.
        return f"favg({held}){only}"
    if function == "sum" and aggregate.result_type(columns) == DOUBLE:
        return f"fsum(({held})::DOUBLE){only}"
    if _is_spread(aggregate):
        # A deviation does not change when all values are moved. Moved by one of them, so that they lie around zero,
        # they keep the digits that large values close to each other would cancel.
        return f"{function}({held} - {shift}){only}"
    if function == "count_distinct":
        return f"count(DISTINCT {operand}){only}"
    if function in ("first_value", "last_value"):
        known = _filter(aggregate, columns, f"{operand} IS NOT NULL")
        return f"{function.removesuffix('_value')}({operand} ORDER BY {TIME}, {ARRIVAL}){known}"
    return f"{function}({held}){only}"
