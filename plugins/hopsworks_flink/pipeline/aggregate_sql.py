"""Aggregates as Flink SQL: over the events of a window, and over the events before each event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hopsworks_flink.pipeline.aggregates import MOMENTS, POSITIONS, Aggregate
from hopsworks_flink.pipeline.types import BIGINT, DOUBLE, STRING, FeatureType, sql_identifier
from hopsworks_flink.pipeline.values import sql_value

Columns = Mapping[str, FeatureType]

# Column with a text that sorts events by event time, and by their offset in the topic where that is equal.
ORDER = "__order"
# 14 digits for milliseconds (until the year 5138), 19 for a bigint.
ORDER_LENGTH = 33
# Deviations over events that come and go are made of exact sums: see `_Moments`. Digits of a number whose squares can
# be summed, and of the rest that is split off from a longer one.
_DIGITS, _REST = 17, 14


def template_text(sql: str) -> str:
    """SQL that stays as it is when the statement's placeholders are filled in."""
    return sql.replace("$", "$$")


def condition(text: str, columns: Columns) -> str:
    """A condition of the pipeline file, in Flink SQL."""
    from hopsworks_flink.pipeline.expressions import Expression

    return template_text(Expression.parse(text, columns).sql("flink"))


def window_aggregate(aggregate: Aggregate, columns: Columns) -> str:
    """The aggregate over the rows of a GROUP BY."""
    chosen = f" FILTER (WHERE {condition(aggregate.where, columns)})" if aggregate.where else ""
    return _finished(aggregate, columns, _call(aggregate, columns, operand(aggregate, columns)) + chosen)


def operand(aggregate: Aggregate, columns: Columns) -> str:
    """What is aggregated, in a type that neither overflows nor truncates."""
    if aggregate.column is None:
        return "*"
    column, declared, result = (
        sql_identifier(aggregate.column),
        columns[aggregate.column],
        aggregate.result_type(columns),
    )
    if aggregate.function in ("count", "count_distinct"):
        return column
    if aggregate.function in POSITIONS:
        return f"{sql_identifier(ORDER)} || {column if declared == STRING else f'CAST({column} AS STRING)'}"
    # A sum of decimals is wide enough by itself.
    wide = declared == result or (declared.is_decimal and result.is_decimal)
    return column if wide else f"CAST({column} AS {result.sql})"


def _call(aggregate: Aggregate, columns: Columns, value: str) -> str:
    if aggregate.function == "count_distinct":
        return f"COUNT(DISTINCT {value})"
    if aggregate.function in POSITIONS:
        # The least or greatest text of order and value: unlike FIRST_VALUE it works by slices, and by event time.
        return f"{'MIN' if aggregate.function == 'first_value' else 'MAX'}({value})"
    return f"{aggregate.function.upper()}({value})"


def _finished(aggregate: Aggregate, columns: Columns, call: str) -> str:
    """The feature out of the aggregate: the value behind its order, and the default in place of null."""
    kind = aggregate.result_type(columns)
    if aggregate.function in POSITIONS:
        call = f"SUBSTRING({call}, {ORDER_LENGTH + 1})"
        call = call if kind == STRING else f"CAST({call} AS {kind.sql})"
    if aggregate.default is None:
        return call
    return f"COALESCE({call}, {template_text(sql_value(aggregate.default, kind))})"


@dataclass
class OverAggregates:
    """Aggregates over the events before each event, as three queries: values, sums over them, features.

    :param values: expressions over an event's columns, by alias.
    :param sums: aggregates over the values, by alias; each stands before ``OVER w``.
    :param features: expressions over the sums, by feature.
    """

    values: dict[str, str] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)
    features: dict[str, str] = field(default_factory=dict)

    def add(self, feature: str, aggregate: Aggregate, columns: Columns) -> None:
        """Take a feature in."""
        exact = aggregate.function in MOMENTS or (
            aggregate.function == "sum" and aggregate.result_type(columns) == DOUBLE
        )
        if exact:
            call = _Moments(self, aggregate, columns).call()
        else:
            value = "1" if aggregate.column is None else operand(aggregate, columns)
            call = self.sum(_call(aggregate, columns, self.value(self._chosen(aggregate, columns, value))))
        self.features[feature] = _finished(aggregate, columns, call)

    @staticmethod
    def _chosen(aggregate: Aggregate, columns: Columns, value: str) -> str:
        """The value where the aggregate's condition is true; OVER knows no FILTER."""
        return f"CASE WHEN {condition(aggregate.where, columns)} THEN {value} END" if aggregate.where else value

    def chosen(self, aggregate: Aggregate, columns: Columns, value: str) -> str:
        """Alias of the value where the aggregate's condition is true."""
        return self.value(self._chosen(aggregate, columns, value))

    def value(self, expression: str) -> str:
        """Alias of an expression over an event's columns."""
        return _alias(self.values, "__v", expression)

    def sum(self, expression: str) -> str:
        """Alias of an aggregate over the values."""
        return _alias(self.sums, "__s", expression)


def _alias(known: dict[str, str], prefix: str, expression: str) -> str:
    for alias, present in known.items():
        if present == expression:
            return sql_identifier(alias)
    alias = f"{prefix}{len(known)}"
    known[alias] = expression
    return sql_identifier(alias)


class _Moments:
    """Sum, mean and deviation of numbers that enter a window and leave it again.

    Flink adds what enters and subtracts what leaves, and takes a deviation from the sums of values and squares. In
    doubles that goes wrong: a large value leaves its rounding error behind for ever, and the squares cancel. So a
    value is made a whole number of units of 10^-scale, and one of more than 17 digits (every double) is taken apart
    into ``a`` times 10^14 and a rest ``b``. Sums of these and their products are exact in DECIMAL(38, 0), and so are
    the sums of squared differences from a number near the mean. Windows with values of 10^31 units and more (10^17 for
    a bigint, 10^14 for a double), or with NaN, fall back to doubles.
    """

    def __init__(self, over: OverAggregates, aggregate: Aggregate, columns: Columns) -> None:
        assert aggregate.column is not None
        self.over = over
        self.function = aggregate.function
        column = sql_identifier(aggregate.column)
        kind = columns[aggregate.column]
        self.scale = 17 if kind.is_floating else kind.scale
        self.in_parts = kind.is_floating or kind.precision > _DIGITS
        self.x = over.chosen(aggregate, columns, f"CAST({column} AS DOUBLE)")
        if kind.is_floating:
            # In two parts: Flink casts the shortest text of a double, whose last digit is not exact. That of a float
            # is shorter still.
            double = f"CAST({column} AS DOUBLE)"
            exact = f"CAST(FLOOR({double}) AS DECIMAL(15, 0)) + CAST({double} - FLOOR({double}) AS DECIMAL(18, 17))"
            exact = f"CAST({exact} AS DECIMAL(32, 17))"
        else:
            exact = column if kind.is_decimal else f"CAST({column} AS DECIMAL(19, 0))"
        digits = _DIGITS + (_REST if self.in_parts else 0) - self.scale
        if kind.is_floating or (kind.is_decimal and kind.precision - kind.scale > digits) or kind == BIGINT:
            exact = f"CASE WHEN ABS({column}) < 1E{digits} THEN {exact} END"
        self.exact = over.chosen(aggregate, columns, exact)

    def call(self) -> str:
        """Expression of the feature over the sums."""
        total, count = self.over.sum(f"SUM({self.exact})"), self.over.sum(f"COUNT({self.x})")
        # Values that have no exact form, NaN among them.
        small = f"{count} = {self.over.sum(f'COUNT({self.exact})')}"
        doubles = self.over.sum(f"SUM({self.x})")
        if self.function == "sum":
            return f"CASE WHEN {small} THEN CAST({total} AS DOUBLE) ELSE {doubles} END"
        if self.function == "avg":
            return f"CASE WHEN {small} THEN CAST({total} AS DOUBLE) ELSE {doubles} END / NULLIF({count}, 0)"
        squares = self.over.sum(f"SUM({self.x} * {self.x})")
        rough = f"{squares} - {doubles} * {doubles} / {count}"
        exact = self._spread_of_parts(count) if self.in_parts else self._spread(count)
        spread = f"GREATEST(CASE WHEN {small} THEN {exact} * 1E-{2 * self.scale} ELSE {rough} END, 0E0)"
        divisor = f"NULLIF({count} - 1, 0)" if self.function.endswith("_samp") else count
        variance = f"{spread} / {divisor}"
        result = f"SQRT({variance})" if self.function.startswith("stddev") else variance
        return f"CASE WHEN {count} > 0 THEN {result} END"

    def _spread(self, count: str) -> str:
        """Sum of the squared differences from the mean in units, of values that are one number."""
        whole = self.exact if not self.scale else f"CAST({self.exact} * {_power(self.scale)} AS DECIMAL({_DIGITS}, 0))"
        total, squares = self.over.sum(f"SUM({whole})"), self.over.sum(f"SUM({whole} * {whole})")
        near = _near(total, count)
        off = f"({total} - {count} * {near})"
        return f"(CAST({squares} - {near} * {total} - {near} * {off} AS DOUBLE) - {_square(off)} / {count})"

    def _spread_of_parts(self, count: str) -> str:
        """The same of values in two parts: the squares and the products of the parts' differences, put together."""
        # One more or less does not matter: the rest says what is left.
        upper = f"CAST(FLOOR({self.exact} * {_power(self.scale - _REST)}) AS DECIMAL({_DIGITS + 1}, 0))"
        rest = f"{self.exact} - {upper} * {_power(_REST - self.scale)}"
        rest = f"CAST(({rest}) * {_power(self.scale)} AS DECIMAL({_REST + 2}, 0))"
        a, b = self.over.sum(f"SUM({upper})"), self.over.sum(f"SUM({rest})")
        aa, ab, bb = (self.over.sum(f"SUM({x} * {y})") for x, y in ((upper, upper), (upper, rest), (rest, rest)))
        ratio = _power(_REST)
        near_a = _near(a, count)
        off_a = f"({a} - {count} * {near_a})"
        near_b = _near(f"({off_a} * {ratio} + {b})", count)
        off_b = f"({b} - {count} * {near_b})"
        aa = f"({aa} - {near_a} * {a} - {near_a} * {off_a})"
        ab = f"({ab} - {near_a} * {b} - {near_b} * {off_a})"
        bb = f"({bb} - {near_b} * {b} - {near_b} * {off_b})"
        # Parts that differ while their sum hardly does cancel each other, which must be exact; far from each other they
        # do not, and would be too large.
        exact = f"CAST(({aa} * {ratio} + 2 * {ab}) * {ratio} + {bb} AS DOUBLE)"
        far = f"CAST({aa} AS DOUBLE) * 1E{2 * _REST} + CAST({ab} AS DOUBLE) * 2E{_REST} + CAST({bb} AS DOUBLE)"
        off = _square(f"({off_a} * {ratio} + {off_b})")
        return f"(CASE WHEN {aa} < 1000000000 THEN {exact} ELSE {far} END - {off} / {count})"


def _power(exponent: int) -> str:
    """A power of ten as exact number."""
    return f"1{'0' * exponent}" if exponent >= 0 else f"0.{'0' * (-exponent - 1)}1"


def _near(total: str, count: str) -> str:
    """A whole number near the mean: squares of differences from it are small, and what is rounded is small as well."""
    return f"CAST(ROUND(CAST({total} AS DOUBLE) / {count}) AS DECIMAL({_DIGITS + 1}, 0))"


def _square(number: str) -> str:
    return f"CAST({number} AS DOUBLE) * CAST({number} AS DOUBLE)"
