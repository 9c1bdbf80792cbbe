"""Features as DuckDB computes them: each aggregate over the events of a row, written from its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from hopsworks_flink.pipeline.expressions import Expression
from hopsworks_flink.pipeline.spec import FeatureGroup
from hopsworks_flink.pipeline.spec.aggregates import COUNTS, MOMENTS, Aggregate
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.types import DOUBLE, TIMESTAMP, FeatureType
from hopsworks_flink.pipeline.values import typed_value

ARRIVAL = "__arrival"
# Of an event, and of a row: epoch milliseconds.
TIME = "__time"
END = "__end"

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
        self.within = f"{TIME} >= {END} - {milliseconds(length)}" if length != group.reach else None

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
        """The feature, with its default."""
        value = self._value()
        if self.limit is not None:
            operand = self._operand()
            # Null is below no limit, but has none to keep to either.
            beyond = f"{operand} IS NOT NULL AND NOT {self._below(self.limit)}"
            value = f"CASE WHEN count(*){self._filter(beyond)} = 0 THEN {value} END"
        # A sum of bigints may be too large for one.
        value = f"TRY_CAST({value} AS {type_name(self.kind)})"
        if self.aggregate.default is not None:
            return f"coalesce({value}, {constant(self.aggregate.default, self.kind)})"
        if self.group.on_empty == "zero" and self.kind.is_numeric and self.function not in COUNTS:
            of_window = f"{TIME} >= {END} - {milliseconds(self.group.window.size)}"
            return f"CASE WHEN count(*) FILTER (WHERE {of_window}) = 0 THEN 0 ELSE {value} END"
        return value

    def _operand(self) -> str:
        """The column's value, null in place of NaN."""
        column = quoted(self.aggregate.column or "")
        if self.columns[self.aggregate.column or ""].is_floating:
            column = f"CASE WHEN NOT isnan({column}) THEN {column} END"
        return f"({column})::DOUBLE" if self.function in MOMENTS else column

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
        if self.aggregate.column is None:
            return f"count(*){only}"
        operand, held = self._operand(), self._held()
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
        if function in ("first_value", "last_value"):
            known = self._filter(f"{operand} IS NOT NULL")
            return f"{function.removesuffix('_value')}({operand} ORDER BY {TIME}, {ARRIVAL}){known}"
        return f"{function}({held}){only}"
