"""Features as DuckDB computes them: each aggregate over the events of a row, written from its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from hopsworks_flink.pipeline.expressions import Expression, converted
from hopsworks_flink.pipeline.spec import FeatureGroup
from hopsworks_flink.pipeline.spec.aggregates import (
    IN_JAVA,
    MOMENTS,
    MOST_VALUES,
    ORDERED,
    PAIRS,
    POSITIONS,
    RANKS,
    Aggregate,
)
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.types import DOUBLE, TIMESTAMP, FeatureType
from hopsworks_flink.pipeline.values import typed_value

ARRIVAL = "__arrival"
# Of an event, and of a row: epoch milliseconds.
TIME = "__time"
END = "__end"

# Least hashes that an approximate count keeps.
_HASHES = 1024
_TYPES = {"string": "VARCHAR", "binary": "BLOB"}


def quoted(name: str) -> str:
    """A name as SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def type_name(kind: FeatureType) -> str:
    """DuckDB's name of a type."""
    if kind.element is not None:
        return f"{type_name(kind.element)}[]"
    return _TYPES.get(kind.name, str(kind).upper())


def constant(value: bool | int | float | str, kind: FeatureType) -> str:
    """A constant of the pipeline file as a value of its type."""
    typed: bool | int | float | Decimal | str | date = typed_value(value, kind)
    if kind == TIMESTAMP:
        return f"make_timestamp({typed})"
    text = str(typed).replace("'", "''")
    return f"CAST('{text}' AS {type_name(kind)})"


class Feature:
    """One feature of a row.

    :param shift: name of the column with `least`.
    """

    def __init__(
        self, group: FeatureGroup, aggregate: Aggregate, columns: Mapping[str, FeatureType], shift: str
    ) -> None:
        self.group = group
        self.aggregate = aggregate
        self.columns = columns
        self.shift = shift
        self.function = aggregate.function
        self.kind = aggregate.result_type(columns)
        self.limit = aggregate.limit(columns, on_event=group.emit == "on_event")
        length = group.length_of(aggregate)
        self.within = f"{TIME} >= {END} - {milliseconds(length)}" if length != group.row_length else None

    @property
    def is_spread(self) -> bool:
        """Whether it is a deviation, for which the values are shifted by their least one."""
        return self.function in MOMENTS and self.function != "avg"

    @property
    def least(self) -> str:
        """The least value of the row."""
        return f"min({self._held()}){self._filter()}"

    @property
    def expression(self) -> str:
        """The feature, as its type, with its default."""
        value = self._value()
        if self.limit is not None:
            operand = self._operand()
            # Null is below no limit, but has none to keep to either.
            beyond = f"{operand} IS NOT NULL AND NOT {self._below(self.limit)}"
            value = f"CASE WHEN count(*){self._filter(beyond)} = 0 THEN {value} END"
        # A sum of bigints may be too large for one.
        value = f"TRY_CAST({value} AS {type_name(self.kind)})"
        kind = self.aggregate.feature_type(self.columns)
        if kind != self.kind:
            value = converted(value, self.kind, kind, "duckdb")
        if self.aggregate.default is not None:
            return f"coalesce({value}, {constant(self.aggregate.default, kind)})"
        if self.group.on_empty == "zero" and self.aggregate.zero_where_empty(self.columns):
            of_window = f"{TIME} >= {END} - {milliseconds(self.group.window.size)}"
            zero = f"CAST(0 AS {type_name(kind)})"
            return f"CASE WHEN count(*) FILTER (WHERE {of_window}) = 0 THEN {zero} ELSE {value} END"
        return value

    def _operand(self) -> str:
        """The column's value, null in place of NaN."""
        return self._present(self.aggregate.column or "")

    def _present(self, name: str) -> str:
        column = quoted(name)
        if self.columns[name].is_floating:
            column = f"CASE WHEN NOT isnan({column}) THEN {column} END"
        return f"({column})::DOUBLE" if self.function in (*MOMENTS, *PAIRS, *RANKS) else column

    def _held(self) -> str:
        """The value where it is below the aggregate's limit."""
        operand = self._operand()
        return operand if self.limit is None else f"CASE WHEN {self._below(self.limit)} THEN {operand} END"

    def _below(self, limit: int) -> str:
        column, kind = quoted(self.aggregate.column or ""), self.columns[self.aggregate.column or ""]
        if kind.is_floating:
            return f"abs({column}) < 1e{limit}"
        bound = f"CAST('1{'0' * limit}' AS DECIMAL(38, {kind.scale}))"
        return f"({column} > -{bound} AND {column} < {bound})"

    def _filter(self, *further: str) -> str:
        """Which of the row's events the aggregate is over."""
        conditions = [*further, *([self.within] if self.within else [])]
        if self.aggregate.where is not None:
            conditions.append(Expression.parse(self.aggregate.where, self.columns).sql("duckdb"))
        return f" FILTER (WHERE {' AND '.join(f'({condition})' for condition in conditions)})" if conditions else ""

    def _value(self) -> str:
        only, function = self._filter(), self.function
        if function == "time_since_last":
            with_value = self._filter(*([f"{self._operand()} IS NOT NULL"] if self.aggregate.column else []))
            return f"({END} - max({TIME}){with_value})::DOUBLE / 1000"
        if self.aggregate.column is None:
            return f"count(*){only}"
        if function in IN_JAVA:
            return self._of_kept_values()
        operand, held = self._operand(), self._held()
        if function == "share":
            return f"count(CASE WHEN {operand} THEN 1 END){only}::DOUBLE / nullif(count({operand}){only}, 0)"
        if function == "avg":
            # Kahan's summation.
            return f"favg({held}){only}"
        if function == "sum" and self.kind == DOUBLE:
            return f"fsum(({held})::DOUBLE){only}"
        if self.is_spread:
            # A deviation does not change when all values are moved. Moved by one of them, so that they lie around zero,
            # they keep the digits that large values close to each other would cancel.
            return f"{function}({held} - {self.shift}){only}"
        if function == "count_distinct":
            return f"count(DISTINCT {operand}){only}"
        if function in POSITIONS:
            known = self._filter(f"{operand} IS NOT NULL")
            return f"{function.removesuffix('_value')}({operand} ORDER BY {TIME}, {ARRIVAL}){known}"
        return f"{function}({held}){only}"

    def _of_kept_values(self) -> str:
        function, n = self.function, self.aggregate.n
        if function in PAIRS:
            return self._of_pairs()
        operand = self._operand()
        known = self._filter(f"{operand} IS NOT NULL")
        if function == "approx_count_distinct":
            return self._estimate()
        if function == "collect_distinct":
            return f"list_sort(list(DISTINCT {operand}){known})[1:{n}]"
        if function in ORDERED:
            part = f"1:{n}" if function == "first_n" else f"-{n}:"
            return f"list({operand} ORDER BY {TIME}, {ARRIVAL}){known}[{part}]"
        if function in RANKS:
            value = self._percentile()
        elif function == "mode":
            value = f"{self._by_frequency()}[1].v"
        else:
            value = f"[__e.v for __e in {self._by_frequency()}[1:{n}]]"
        return f"CASE WHEN count(DISTINCT {operand}){known} BETWEEN 1 AND {MOST_VALUES} THEN {value} END"

    def _of_pairs(self) -> str:
        """Of the events with both values; none where one of these is too large to be squared."""
        x, y = map(self._present, self.aggregate.columns)
        both = self._filter(f"{x} IS NOT NULL", f"{y} IS NOT NULL")
        beyond = f"(abs({x}) >= 1e150 OR abs({y}) >= 1e150)"
        # What is too large is left out of what is thrown away, lest DuckDB finds an overflow.
        fit = self._filter(f"{x} IS NOT NULL", f"{y} IS NOT NULL", f"NOT {beyond}")
        apart = " AND ".join(f"min({value}){fit} < max({value}){fit}" for value in (x, y))
        value = f"{self.function}({y}, {x}){fit}"
        if self.function == "corr":
            # Squares of the smallest numbers are 0.
            value = f"CASE WHEN {apart} AND NOT isnan({value}) THEN greatest(-1, least(1, {value})) END"
        return f"CASE WHEN count(CASE WHEN {beyond} THEN 1 END){both} = 0 THEN {value} END"

    def _by_frequency(self) -> str:
        """List of the values ``v``, the most frequent one first, of equally frequent ones the least."""
        operand = self._operand()
        counts = f"map_entries(histogram({operand}){self._filter(f'{operand} IS NOT NULL')})"
        return f"list_sort([{{'n': -__e.value::BIGINT, 'v': __e.key}} for __e in {counts}])"

    def _percentile(self) -> str:
        """On the line between the two values around the rank."""
        operand = self._operand()
        p = 0.5 if self.aggregate.p is None else self.aggregate.p
        values = f"list_sort(list({operand}){self._filter(f'{operand} IS NOT NULL')})"
        rank = f"({p!r}::DOUBLE * (len({values}) - 1))"
        low, high = f"{values}[floor({rank})::BIGINT + 1]", f"{values}[ceil({rank})::BIGINT + 1]"
        rest = f"({rank} - floor({rank}))"
        between = f"({low} * (1 - {rest}) + {high} * {rest})"
        found = f"CASE WHEN {rest} = 0 OR {low} = {high} THEN {low} ELSE {between} END"
        return f"CASE WHEN NOT isnan({found}) THEN {found} END"

    def _estimate(self) -> str:
        """From the least of the first 64 bits of the values' MD5, where there are many."""
        column, kind = quoted(self.aggregate.column or ""), self.columns[self.aggregate.column or ""]
        if kind.name == "timestamp":
            column = f"epoch_us({column})"
        elif kind.name == "date":
            column = f"({column} - DATE '1970-01-01')"
        hash_ = f"('0x' || left(md5(CAST({column} AS VARCHAR)), 16))::UBIGINT"
        hashes = f"list_sort(list(DISTINCT {hash_}){self._filter(f'{column} IS NOT NULL')})"
        kept = f"({_HASHES - 1} * pow(2, 53) / ({hashes}[{_HASHES}] >> 11)::DOUBLE)"
        return f"CASE WHEN len({hashes}) >= {_HASHES} THEN floor({kept}) ELSE coalesce(len({hashes}), 0) END"
