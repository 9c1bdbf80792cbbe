"""Aggregates as Flink SQL: over the events of a window, and over the events before each event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from hopsworks_flink.pipeline.spec.aggregates import (
    IN_JAVA,
    LISTS,
    MOMENTS,
    ORDERED,
    PAIRS,
    POSITIONS,
    RANKS,
    Aggregate,
)
from hopsworks_flink.pipeline.types import BIGINT, DOUBLE, STRING, FeatureType, sql_identifier
from hopsworks_flink.pipeline.values import sql_value

Columns = Mapping[str, FeatureType]

EVENT_TIME = "__event_time"
# Column with a text that sorts events by event time, and by their offset in the topic where that is equal.
ORDER = "__order"
# Digits of milliseconds until the year 9999, and of a bigint.
ORDER_TIME, ORDER_OFFSET = 15, 19
# Deviations over events that come and go are made of exact sums: see `_Moments`. Digits of a number whose squares can
# be summed, and of the rest that is split off from a longer one.
_DIGITS, _REST = 16, 14
# Bigints are summed in two parts, so that their sum does not wrap around.
_WORD = 2**32


# Before the names of functions that are in Java.
_JAVA = "feature_"


def java_functions(aggregates: Iterable[Aggregate]) -> list[str]:
    """Statements that name the functions in Java which are used."""
    used = {_java_name(aggregate) for aggregate in aggregates if aggregate.function in IN_JAVA}
    return [
        f"CREATE TEMPORARY SYSTEM FUNCTION {sql_identifier(_JAVA + name)} AS "
        f"'hopsworksflink.aggregate.{name.title().replace('_', '')}'"
        for name in sorted(used)
    ]


def _java_name(aggregate: Aggregate) -> str:
    return "percentile" if aggregate.function in RANKS else aggregate.function


def epoch_milliseconds(moment: str) -> str:
    """Milliseconds since the epoch of a TIMESTAMP or TIMESTAMP_LTZ. TIMESTAMPDIFF would count in INTEGER."""
    return f"EXTRACT(EPOCH FROM {moment}) * 1000 + EXTRACT(MILLISECOND FROM {moment})"


def template_text(sql: str) -> str:
    """SQL that stays as it is when the statement's placeholders are filled in."""
    return sql.replace("$", "$$")


def condition(text: str, columns: Columns) -> str:
    """A condition of the pipeline file, in Flink SQL."""
    from hopsworks_flink.pipeline.expressions import Expression

    return template_text(Expression.parse(text, columns).sql("flink"))


# Writes an aggregate function, with ``{}`` for its operand, over an operand.
Call = Callable[[str, str], str]


def window_aggregate(aggregate: Aggregate, columns: Columns) -> str:
    """The aggregate over the rows of a GROUP BY, with its default."""
    return with_default(aggregate, columns, window_value(aggregate, columns))


def window_value(aggregate: Aggregate, columns: Columns) -> str:
    """The same before its default."""
    some = f" FILTER (WHERE {condition(aggregate.where, columns)})" if aggregate.where else ""
    return feature_value(aggregate, columns, lambda function, operand: function.format(operand) + some)


def with_default(aggregate: Aggregate, columns: Columns, value: str) -> str:
    """The feature: as the type that it has, with its default in place of null."""
    kind = aggregate.feature_type(columns)
    if kind != aggregate.result_type(columns):
        from hopsworks_flink.pipeline.expressions import converted

        value = converted(value, aggregate.result_type(columns), kind, "flink")
    if aggregate.default is None:
        return value
    return f"COALESCE({value}, {template_text(sql_value(aggregate.default, kind))})"


def feature_value(aggregate: Aggregate, columns: Columns, call: Call) -> str:
    """The feature before its default: its aggregates, and what is made of them."""
    if aggregate.function == "time_since_last":
        return _time_since_last(aggregate, columns, call)
    if aggregate.column is None:
        return call("COUNT({})", "*")
    function, kind = aggregate.function, columns[aggregate.column]
    column, present = sql_identifier(aggregate.column), present_value(aggregate.column, kind)
    if function == "count":
        return call("COUNT({})", present)
    if function == "count_distinct":
        return call("COUNT(DISTINCT {})", _comparable(column, kind))
    if function == "share":
        true = call("COUNT({})", f"CASE WHEN {column} THEN 1 END")
        return f"CAST({true} AS DOUBLE) / NULLIF({call('COUNT({})', column)}, 0)"
    if function in LISTS:
        # Flink's batch mode cannot handle bytes beside a COUNT(DISTINCT): they are characters until here.
        return f"ENCODE({call(*_in_java(aggregate, columns))}, 'ISO-8859-1')"
    if function in IN_JAVA:
        return call(*_in_java(aggregate, columns))
    if function in POSITIONS:
        text = present if kind == STRING else f"CAST({present} AS STRING)"
        # The least or greatest text of order and value: unlike FIRST_VALUE it works by slices, and by event time.
        found = call("MIN({})" if function == "first_value" else "MAX({})", f"{sql_identifier(ORDER)} || {text}")
        found = f"SUBSTRING({found}, {ORDER_TIME + ORDER_OFFSET + 1})"
        return found if kind == STRING else f"CAST({found} AS {kind.sql})"
    if function == "sum" and not kind.is_floating:
        return _integer_sum(column, kind, call) if kind.is_integer else _decimal_sum(aggregate, columns, call)
    if function in ("sum", *MOMENTS):
        return _of_doubles(aggregate, columns, call)
    return call(f"{function.upper()}({{}})", present)


def _time_since_last(aggregate: Aggregate, columns: Columns, call: Call) -> str:
    """Seconds from the last event, or the last one with a value, to the window's end."""
    time = epoch_milliseconds(sql_identifier(EVENT_TIME))
    if aggregate.column is not None:
        time = f"CASE WHEN {present_value(aggregate.column, columns[aggregate.column])} IS NOT NULL THEN {time} END"
    end = epoch_milliseconds(sql_identifier("window_end"))
    return f"CAST({end} - {call('MAX({})', time)} AS DOUBLE) / 1000"


def _in_java(aggregate: Aggregate, columns: Columns) -> tuple[str, str]:
    """A function of this package, as a pattern, and its operands. They leave out null, and NaN where it is paired."""
    function = f"{_JAVA}{_java_name(aggregate)}({{}})"
    if aggregate.function in PAIRS:
        return function, ", ".join(f"CAST({sql_identifier(name)} AS DOUBLE)" for name in aggregate.columns)
    assert aggregate.column is not None
    most = f"CAST({aggregate.n} AS DOUBLE)"
    if aggregate.function in ORDERED:
        value = present_value(aggregate.column, columns[aggregate.column])
        return function, f"{sql_identifier(ORDER)}, {value}, {most}"
    value = _comparable(sql_identifier(aggregate.column), columns[aggregate.column])
    if aggregate.function in LISTS:
        return function, f"{value}, {most}"
    if aggregate.function in RANKS:
        p = 0.5 if aggregate.p is None else aggregate.p
        return function, f"CAST({value} AS DOUBLE), CAST({p!r} AS DOUBLE)"
    return function, value


def _comparable(column: str, kind: FeatureType) -> str:
    """A value that equals others as it should: to Flink 0.0 and -0.0 are two values, and NaN is one."""
    zero = f"CASE WHEN {column} = 0 THEN CAST(0 AS {kind.sql}) WHEN ABS({column}) >= 0 THEN {column} END"
    return zero if kind.is_floating else column


def present_value(name: str, kind: FeatureType) -> str:
    """A column's value, with null in place of NaN: else the least and the greatest would depend on the order."""
    column = sql_identifier(name)
    return f"CASE WHEN ABS({column}) >= 0 THEN {column} END" if kind.is_floating else column


def _integer_sum(column: str, kind: FeatureType, call: Call) -> str:
    """Sum of integers, null where bigint does not hold it. Sums of narrower integers cannot overflow."""
    if kind != BIGINT:
        return call("SUM({})", f"CAST({column} AS BIGINT)")
    upper, lower = call("SUM({})", f"{column} / {_WORD}"), call("SUM({})", f"MOD({column}, {_WORD})")
    total = f"(CAST({upper} AS DECIMAL(19, 0)) * {_WORD} + {lower})"
    return f"CASE WHEN {total} BETWEEN {-(2**63)} AND {2**63 - 1} THEN CAST({total} AS BIGINT) END"


def _decimal_sum(aggregate: Aggregate, columns: Columns, call: Call) -> str:
    assert aggregate.column is not None
    column, limit = sql_identifier(aggregate.column), aggregate.limit(columns, on_event=False)
    if limit is None:
        return call("SUM({})", column)
    # A sum that overflows is null, and begins anew with the next number.
    held = f"CASE WHEN {within(column, limit)} THEN {column} END"
    return f"CASE WHEN {call('COUNT({})', column)} = {call('COUNT({})', held)} THEN {call('SUM({})', held)} END"


def _of_doubles(aggregate: Aggregate, columns: Columns, call: Call) -> str:
    """A sum, mean or deviation of doubles."""
    assert aggregate.column is not None
    column, limit = sql_identifier(aggregate.column), aggregate.limit(columns, on_event=False)
    function = f"{aggregate.function.upper()}({{}})"
    if limit is None:
        # A cast that may give null: Flink takes the deviation of what is never null for never null, and -1.0 comes out
        # of a window with one event.
        return call(function, f"TRY_CAST({column} AS DOUBLE)")
    # Too large numbers are made infinite: the result is infinite or NaN, whatever the order, and then null.
    double = f"CAST({column} AS DOUBLE)"
    held = f"CASE WHEN ABS({column}) < 1E{limit} THEN {double} WHEN ABS({column}) > 0 THEN {double} * 1E200 END"
    found = call(function, held)
    return f"CASE WHEN ABS({found}) < 1E308 THEN {found} END"


def within(column: str, limit: int) -> str:
    """Condition that a number is below a power of ten, whatever its sign."""
    return f"{column} > -{_power(limit)} AND {column} < {_power(limit)}"


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
        if aggregate.function in ("sum", *MOMENTS) and aggregate.result_type(columns) == DOUBLE:
            self.features[feature] = with_default(aggregate, columns, _Moments(self, aggregate, columns).call())
            return

        def call(function: str, value: str) -> str:
            chosen = chosen_value(aggregate, columns, "1" if value == "*" else value)
            return self.sum(function.format(self.value(chosen)))

        self.features[feature] = with_default(aggregate, columns, feature_value(aggregate, columns, call))

    def value(self, expression: str, query: int = 0) -> str:
        """Alias of an expression over an event's columns, and over the aliases of the queries before this one."""
        return _alias(self.values, "__v", expression, query)

    def sum(self, expression: str) -> str:
        """Alias of an aggregate over the values."""
        return _alias([self.sums], "__s", expression, 0)

    def step(self, expression: str, query: int) -> str:
        """Alias of an expression over the sums, and over the aliases of the queries before this one."""
        return _alias(self.steps, "__t", expression, query)


def chosen_value(aggregate: Aggregate, columns: Columns, value: str) -> str:
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
    value is made a whole number of units of 10^-scale, and one of more than 16 digits (every double) is taken apart
    into ``a`` times 10^14 and a rest ``b``. Sums of these and their products are exact in DECIMAL(38, 0), and so are
    the sums of squared differences from a number near the mean, of up to a million events of the largest numbers. A
    window with a number from `Aggregate.limit` on has none of these.
    """

    def __init__(self, over: OverAggregates, aggregate: Aggregate, columns: Columns) -> None:
        assert aggregate.column is not None
        self.over = over
        self.function = aggregate.function
        column = sql_identifier(aggregate.column)
        kind = columns[aggregate.column]
        self.scale = 17 if kind.is_floating else kind.scale
        self.in_parts = kind.is_floating or kind.precision > _DIGITS
        self.x = over.value(chosen_value(aggregate, columns, present_value(aggregate.column, kind)))
        if kind.is_floating:
            # In two parts: Flink casts the shortest text of a double, whose last digit is not exact. That of a float
            # is shorter still. Below 10^14 the first part needs no text.
            double = f"CAST({column} AS DOUBLE)"
            whole = f"CAST(CAST(FLOOR({double}) AS BIGINT) AS DECIMAL(15, 0))"
            exact = f"CAST({whole} + CAST({double} - FLOOR({double}) AS DECIMAL(18, 17)) AS DECIMAL(32, 17))"
        else:
            exact = column if kind.is_decimal else f"CAST({column} AS DECIMAL(19, 0))"
        limit = aggregate.limit(columns, on_event=True)
        if limit is not None:
            held = f"ABS({column}) < 1E{limit}" if kind.is_floating else within(column, limit)
            exact = f"CASE WHEN {held} THEN {exact} END"
        self.limited = limit is not None
        self.exact = over.value(_once(chosen_value(aggregate, columns, exact)))

    def call(self) -> str:
        """Expression of the feature over the sums."""
        total, count = self.over.sum(f"SUM({self.exact})"), self.over.sum(f"COUNT({self.x})")
        if self.function in ("sum", "avg"):
            result = f"CAST({total} AS DOUBLE)" + (f" / NULLIF({count}, 0)" if self.function == "avg" else "")
        else:
            spread = self._spread_of_parts(count) if self.in_parts else self._spread(count)
            spread = f"GREATEST({spread} * 1E-{2 * self.scale}, 0E0)"
            divisor = f"NULLIF({count} - 1, 0)" if self.function.endswith("_samp") else count
            result = f"SQRT({spread} / {divisor})" if self.function.startswith("stddev") else f"{spread} / {divisor}"
        if self.limited:
            return f"CASE WHEN {count} > 0 AND {count} = {self.over.sum(f'COUNT({self.exact})')} THEN {result} END"
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
    if exponent < 0:
        return f"0.{'0' * (-exponent - 1)}1"
    whole = f"1{'0' * exponent}"
    # A literal without a point is at most a BIGINT.
    return whole if int(whole) < 2**63 else f"CAST('{whole}' AS DECIMAL({len(whole)}, 0))"


def _near(total: str, count: str) -> str:
    """A whole number near the mean: squares of differences from it are small, and what is rounded is small as well.

    Through BIGINT: Flink makes a decimal of a double by way of its text.
    """
    return f"CAST(CAST(CAST({total} AS DOUBLE) / {count} AS BIGINT) AS DECIMAL({_DIGITS + 1}, 0))"


def _square(number: str) -> str:
    return f"CAST({number} AS DOUBLE) * CAST({number} AS DOUBLE)"
