"""Aggregates as Flink SQL: over the events of a window, and over the events before each event."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from hopsworks_flink.pipeline.spec.aggregates import MOMENTS, POSITIONS, Aggregate
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
_NULL_FOR_ONE = ("stddev_samp", "var_samp")


def template_text(sql: str) -> str:
    """SQL that stays as it is when the statement's placeholders are filled in."""
    return sql.replace("$", "$$")


def condition(text: str, columns: Columns) -> str:
    """A condition of the pipeline file, in Flink SQL."""
    from hopsworks_flink.pipeline.expressions import Expression

    return template_text(Expression.parse(text, columns).sql("flink"))


def window_aggregate(aggregate: Aggregate, columns: Columns, derived: Collection[str] = ()) -> str:
    """The aggregate over the rows of a GROUP BY.

    :param derived: columns that Flink may know never to be null.
    """
    some = f" FILTER (WHERE {condition(aggregate.where, columns)})" if aggregate.where else ""
    value = operand(aggregate, columns)
    if aggregate.function in _NULL_FOR_ONE and aggregate.column is not None and aggregate.column in derived:
        # Flink takes the deviation of what is never null for never null, and -1.0 comes out of a window with one event.
        value = f"TRY_CAST({sql_identifier(aggregate.column)} AS DOUBLE)"
    return _finished(aggregate, columns, _call(aggregate, columns, value) + some)


def operand(aggregate: Aggregate, columns: Columns) -> str:
    """What is aggregated, in a type that neither overflows nor truncates."""
    if aggregate.column is None:
        return "*"
    column, declared, result = (
        sql_identifier(aggregate.column),
        columns[aggregate.column],
        aggregate.result_type(columns),
    )
    if aggregate.function == "count_distinct" and declared.is_floating:
        # To Flink 0.0 and -0.0 are two values.
        return f"CASE WHEN {column} = 0 THEN CAST(0 AS {declared.sql}) ELSE {column} END"
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
    """Aggregates over the events before each event, as queries one around the other.

    :param values: expressions by alias: over an event's columns in the first query, over those and the aliases of the
        queries before in each further one.
    :param sums: aggregates over the values, by alias; each stands before ``OVER w``.
    :param steps: expressions by alias over the sums and the aliases of the steps before.
    :param features: expressions over sums and steps, by feature.
    """

    values: list[dict[str, str]] = field(default_factory=lambda: [{}])
    sums: dict[str, str] = field(default_factory=dict)
    steps: list[dict[str, str]] = field(default_factory=list)
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
            call = self.sum(_call(aggregate, columns, self.value(_chosen(aggregate, columns, value))))
        self.features[feature] = _finished(aggregate, columns, call)

    def value(self, expression: str, query: int = 0) -> str:
        """Alias of an expression over an event's columns, and over the aliases of the queries before this one."""
        return _alias(self.values, "__v", expression, query)

    def sum(self, expression: str) -> str:
        """Alias of an aggregate over the values."""
        return _alias([self.sums], "__s", expression, 0)

    def step(self, expression: str, query: int) -> str:
        """Alias of an expression over the sums, and over the aliases of the queries before this one."""
        return _alias(self.steps, "__t", expression, query)


def _chosen(aggregate: Aggregate, columns: Columns, value: str) -> str:
    """The value where the aggregate's condition is true; OVER knows no FILTER."""
    return f"CASE WHEN {condition(aggregate.where, columns)} THEN {value} END" if aggregate.where else value


def _alias(queries: list[dict[str, str]], prefix: str, expression: str, query: int) -> str:
    while len(queries) <= query:
        queries.append({})
    for alias, present in queries[query].items():
        if present == expression:
            return sql_identifier(alias)
    alias = f"{prefix}{sum(map(len, queries))}"
    queries[query][alias] = expression
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
        self.x = over.value(_chosen(aggregate, columns, f"CAST({column} AS DOUBLE)"))
        if kind.is_floating:
            # In two parts: Flink casts the shortest text of a double, whose last digit is not exact. That of a float
            # is shorter still. Below 10^14 the first part needs no text.
            double = f"CAST({column} AS DOUBLE)"
            whole = f"CAST(CAST(FLOOR({double}) AS BIGINT) AS DECIMAL(15, 0))"
            exact = f"CAST({whole} + CAST({double} - FLOOR({double}) AS DECIMAL(18, 17)) AS DECIMAL(32, 17))"
        else:
            exact = column if kind.is_decimal else f"CAST({column} AS DECIMAL(19, 0))"
        digits = _DIGITS + (_REST if self.in_parts else 0) - self.scale
        if kind.is_floating or (kind.is_decimal and kind.precision - kind.scale > digits) or kind == BIGINT:
            exact = f"CASE WHEN ABS({column}) < 1E{digits} THEN {exact} END"
        self.exact = over.value(_once(_chosen(aggregate, columns, exact)))

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
        over, whole = self.over, self.exact
        if self.scale:
            whole = over.value(_once(f"CAST({whole} * {_power(self.scale)} AS DECIMAL({_DIGITS}, 0))"), 1)
        total, squares = over.sum(f"SUM({whole})"), over.sum(f"SUM({whole} * {whole})")
        near = _near(total, count)
        off = f"({total} - {count} * {near})"
        return f"(CAST({squares} - {near} * {total} - {near} * {off} AS DOUBLE) - {_square(off)} / {count})"

    def _spread_of_parts(self, count: str) -> str:
        """The same of values in two parts: the squares and the products of the parts' differences, put together."""
        over, ratio = self.over, _power(_REST)
        # One more or less does not matter: the rest says what is left.
        upper = f"CAST(FLOOR({self.exact} * {_power(self.scale - _REST)}) AS DECIMAL({_DIGITS + 1}, 0))"
        upper = over.value(_once(upper), 1)
        rest = f"({self.exact} - {upper} * {_power(_REST - self.scale)}) * {_power(self.scale)}"
        rest = over.value(_once(f"CAST({rest} AS DECIMAL({_REST + 2}, 0))"), 2)
        a, b = over.sum(f"SUM({upper})"), over.sum(f"SUM({rest})")
        aa, ab, bb = (over.sum(f"SUM({x} * {y})") for x, y in ((upper, upper), (upper, rest), (rest, rest)))
        near_a = over.step(_once(_near(a, count), count), 0)
        off_a = over.step(_once(f"{a} - {count} * {near_a}", count), 1)
        near_b = over.step(_once(_near(f"({off_a} * {ratio} + {b})", count), count), 2)
        # These are names only: the planner moves what one feature alone uses into it.
        aa = over.step(f"{aa} - {near_a} * {a} - {near_a} * {off_a}", 3)
        ab = over.step(f"{ab} - {near_a} * {b} - {near_b} * {off_a}", 3)
        off_b = over.step(f"{b} - {count} * {near_b}", 3)
        bb = f"({bb} - {near_b} * {b} - {near_b} * {off_b})"
        # Parts that differ while their sum hardly does cancel each other, which must be exact; far from each other they
        # do not, and would be too large.
        exact = f"CAST(({aa} * {ratio} + 2 * {ab}) * {ratio} + {bb} AS DOUBLE)"
        far = f"CAST({aa} AS DOUBLE) * 1E{2 * _REST} + CAST({ab} AS DOUBLE) * 2E{_REST} + CAST({bb} AS DOUBLE)"
        off = _square(f"({off_a} * {ratio} + {off_b})")
        return f"(CASE WHEN {aa} < 1000000000 THEN {exact} ELSE {far} END - {off} / {count})"


def _once(expression: str, count: str | None = None) -> str:
    """The expression as it is, but computed once for each event.

    Flink's planner puts an expression into every place that uses it, however dear it is, unless it is not
    deterministic. The condition is always true.

    :param count: a sum, for an expression over sums: else the condition would be computed below them.
    """
    return f"CASE WHEN RAND({f'CAST({count} AS INT)' if count else ''}) < 2 THEN {expression} END"


def _power(exponent: int) -> str:
    """A power of ten as exact number."""
    return f"1{'0' * exponent}" if exponent >= 0 else f"0.{'0' * (-exponent - 1)}1"


def _near(total: str, count: str) -> str:
    """A whole number near the mean: squares of differences from it are small, and what is rounded is small as well.

    Through BIGINT: Flink makes a decimal of a double by way of its text.
    """
    return f"CAST(CAST(CAST({total} AS DOUBLE) / {count} AS BIGINT) AS DECIMAL({_DIGITS + 1}, 0))"


def _square(number: str) -> str:
    return f"CAST({number} AS DOUBLE) * CAST({number} AS DOUBLE)"
