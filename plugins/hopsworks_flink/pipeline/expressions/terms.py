"""Typed pieces of SQL text, in both dialects at once, and the conversions between types.

Flink computes the features, DuckDB checks them: wherever the two would give another result for the same text (a cast
that rounds or truncates, an overflow that wraps or fails, a division), the text is made such that they agree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ctypes import c_float
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any, NamedTuple

from hopsworks_flink.pipeline.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    STRING,
    TIMESTAMP,
    FeatureType,
    decimal,
    sql_literal,
)
from hopsworks_flink.pipeline.values import fits

# Largest value of a bigint.
LARGEST = 2**63 - 1
# To the very end (`$` lets a line break pass in Java), and bounded: Java makes a number of 1e999999999 digit by digit.
_INTEGER_TEXT = r"^ *[+-]?[0-9]{1,300} *\z"
_DECIMAL_TEXT = r"^ *[+-]?([0-9]{1,300}([.][0-9]{0,300})?|[.][0-9]{1,300}) *\z"
_NUMBER_TEXT = _DECIMAL_TEXT.replace(r" *\z", r"([eE][+-]?[0-9]{1,3})? *\z")
# A function that reads its argument twice doubles the text, and nested ones multiply it: a line could fill the memory.
_LONGEST_TEXT = 100_000

# A timestamp, which is BIGINT microseconds in Flink, as a value with a calendar. The session's time zone is UTC.
MOMENT = "CAST(TO_TIMESTAMP_LTZ({0}, 6) AS TIMESTAMP(6))"
# Its time of day in microseconds, and that and the midnight before it as such values: before 1970 Flink's calendar
# counts a day too much and negative hours for anything but a midnight.
DAY_MICROS = 86_400_000_000
TIME_MICROS = f"(MOD({{0}}, {DAY_MICROS}) + CASE WHEN MOD({{0}}, {DAY_MICROS}) < 0 THEN {DAY_MICROS} ELSE 0 END)"
TIME_OF_DAY = f"CAST(TO_TIMESTAMP_LTZ({TIME_MICROS}, 6) AS TIMESTAMP(6))"
MIDNIGHT = f"CAST(TO_TIMESTAMP_LTZ({{0}} - {TIME_MICROS}, 6) AS TIMESTAMP(6))"


class ExpressionError(ValueError):
    """An expression that cannot be used. The message says why and what to do."""


class Term(NamedTuple):
    """A piece of SQL.

    :param kind: its type; None for NULL, which takes every type.
    :param flink: text for Flink SQL.
    :param duckdb: text for DuckDB.
    :param number: the value of a numeric literal, which takes the type of what it stands beside.
    :param most: of an integer: its largest absolute value; None: that of its type.
    :param nan: of a floating point number: whether it may be NaN.
    """

    kind: FeatureType | None
    flink: str
    duckdb: str
    number: Decimal | None = None
    most: int | None = None
    nan: bool = False

    @property
    def bound(self) -> int:
        """Largest absolute value of an integer."""
        assert self.kind is not None
        if self.number is not None:
            return int(abs(self.number))
        return self.most if self.most is not None else int(2 ** (self.kind.bits - 1))

    @property
    def fits(self) -> bool:
        """Whether an integer has an opposite of type bigint: the least bigint has none."""
        return self.bound <= LARGEST


def build(kind: FeatureType | None, template: str, *terms: Term, duckdb: str | None = None) -> Term:
    """Term out of a template with ``{0}``, ``{1}`` … for the parts; ``duckdb`` where its text differs.

    :raises ExpressionError: the text is beyond all measure.
    """
    flink = template.format(*(term.flink for term in terms))
    in_duckdb = (duckdb or template).format(*(term.duckdb for term in terms))
    if max(len(flink), len(in_duckdb)) > _LONGEST_TEXT:
        raise ExpressionError("is too large once it is compiled; derive columns for its parts")
    return Term(kind, flink, in_duckdb)


def in_calendar(kind: FeatureType, template: str, term: Term, duckdb: str) -> Term:
    """As `build`, of a date or timestamp; null outside the years 1 to 9999, where Flink's calendar goes wrong."""
    first, last = f"{-62_135_596_800_000_000}", f"{253_402_300_799_999_999}"
    if term.kind == DATE:
        first, last = "DATE '0001-01-01'", "DATE '9999-12-31'"
    return build(kind, f"CASE WHEN {{0}} BETWEEN {first} AND {last} THEN {template} END", term, duckdb=duckdb)


def alike(kind: FeatureType | None, text: str) -> Term:
    """Term whose text is the same in both dialects."""
    return Term(kind, text, text)


def literal(text: str) -> Term:
    """Numeric literal: an integer, or a double if it has a point or an exponent."""
    number = Decimal(text)
    if text.isdigit():
        if number >= 2**63:
            raise ExpressionError(f"{text} is too large for bigint")
        return Term(BIGINT, text, text, number)
    return Term(DOUBLE, _double_text(number), _double_text(number), number)


def _double_text(number: Decimal) -> str:
    text = repr(float(number))
    if "inf" in text:
        raise ExpressionError(f"{number} is too large for double")
    return text if "e" in text else f"{text}e0"


def quoted(value: str) -> Term:
    """String literal."""
    return alike(STRING, sql_literal(value))


def clean(term: Term) -> Term:
    """The term with null in place of NaN.

    Neither engine compares NaN as the other does, and Flink's planner takes ``NOT (x < y)`` for ``x >= y``: NaN never
    comes as far as a comparison.
    """
    if not term.nan:
        return term
    return build(
        term.kind, "CASE WHEN ABS({0}) >= 0e0 THEN {0} END", term, duckdb="CASE WHEN NOT isnan({0}) THEN {0} END"
    )


def with_one_zero(terms: Sequence[Term]) -> Sequence[Term]:
    """Terms that are compared for equality: -0.0 as 0.0 where that is among them.

    Of several such comparisons Flink's planner makes a list of values, in which they are looked for by their bits.
    """
    if not any(term.kind == DOUBLE and term.number == 0 for term in terms):
        return terms
    one = "IF({0} = 0e0, ABS({0}), {0})"
    return [term if term.number is not None else build(DOUBLE, one, term, duckdb="{0}") for term in terms]


def widened(term: Term) -> Term:
    """A number in the widest type of its kind; an integer in one that holds its opposite too."""
    assert term.kind is not None
    if term.kind.is_integer:
        return cast(term, BIGINT if term.fits else decimal_of(term))
    return cast(term, DOUBLE) if term.kind.is_floating else term


def comparable(terms: Sequence[Term], what: str) -> tuple[FeatureType, list[Term]]:
    """The terms as one common type, none of them NaN. Raises ExpressionError if they have none."""
    kind, unified = unify(terms, what)
    return kind, [clean(term) for term in unified]


def unify(terms: Sequence[Term], what: str) -> tuple[FeatureType, list[Term]]:
    """The terms as one common type. Raises ExpressionError if they have none."""
    kinds = [term.kind for term in terms if term.kind is not None]
    if not kinds:
        raise ExpressionError(f"{what} has only NULL, which has no type; cast it")
    common = _common(terms, kinds, what)
    return common, [_plain(term, common, terms) for term in terms]


def _common(terms: Sequence[Term], kinds: Sequence[FeatureType], what: str) -> FeatureType:
    if all(kind.is_numeric for kind in kinds):
        # Literals with a point are doubles, but beside a decimal they are exact.
        firm = [term.kind for term in terms if term.kind is not None and term.number is None] or kinds
        if any(kind.is_floating for kind in firm):
            return DOUBLE
        if any(kind.is_decimal for kind in firm):
            return _widest([decimal_of(term) for term in terms if term.kind is not None], what)
        return DOUBLE if any(kind.is_floating for kind in kinds) else BIGINT
    if set(kinds) <= {DATE, TIMESTAMP}:
        return TIMESTAMP if TIMESTAMP in kinds else DATE
    if len(set(kinds)) == 1:
        return kinds[0]
    raise ExpressionError(f"{what} mixes {' and '.join(dict.fromkeys(map(str, kinds)))}; cast one of them")


def _widest(kinds: Sequence[FeatureType], what: str) -> FeatureType:
    scale = max(kind.scale for kind in kinds)
    whole = max(kind.precision - kind.scale for kind in kinds)
    return exact_decimal(whole + scale, scale, what)


def choice(conditions: list[Term], results: list[Term], what: str) -> Term:
    """CASE with a result for each condition and one more for none."""
    kind, results = unify(results, what)
    count = len(conditions)
    branches = " ".join(f"WHEN {{{n}}} THEN {{{count + n}}}" for n in range(count))
    chosen = build(kind, f"CASE {branches} ELSE {{{2 * count}}} END", *conditions, *results)
    return chosen._replace(nan=any(result.nan for result in results))


def exact_decimal(precision: int, scale: int, what: str) -> FeatureType:
    """That decimal type, or an ExpressionError where a value would not fit."""
    if precision > 38:
        raise ExpressionError(f"{what} needs decimal({precision},{scale}), and 38 digits are the most; cast to double")
    return decimal(precision, scale)


def decimal_of(term: Term) -> FeatureType:
    """The decimal type that holds a number exactly."""
    assert term.kind is not None
    if term.number is not None:
        digits, exponent = term.number.as_tuple().digits, int(term.number.as_tuple().exponent)
        scale = max(0, -exponent)
        return exact_decimal(max(len(digits) + max(0, exponent), scale, 1), scale, f"the number {term.number}")
    return term.kind if term.kind.is_decimal else decimal(len(str(term.bound)), 0)


def _plain(term: Term, common: FeatureType, among: Sequence[Term]) -> Term:
    """The term as the common type, without a cast around a small integer that stands beside a column."""
    small = term.number is not None and term.kind == BIGINT and abs(term.number) < 2**31
    if common == BIGINT and small and any(other.kind == BIGINT and other.number is None for other in among):
        return term
    return cast(term, common)


def cast(term: Term, kind: FeatureType) -> Term:
    """The term converted; what cannot be converted becomes null. Raises ExpressionError for pairs that differ in Flink
    and elsewhere."""
    if term.kind is None:
        return _cast(term, kind)
    if term.number is not None and kind.is_floating:
        text = _double_text(term.number)
        number = Term(DOUBLE, text, text, term.number)
        return number if kind == DOUBLE else _cast(number, kind)
    if term.number is not None and kind.is_decimal:
        return _decimal_literal(term.number, kind)
    if term.kind == kind and term.number is None:
        return term
    if term.kind.is_numeric and kind.is_numeric:
        return _between_numbers(term, kind)
    if term.kind == STRING:
        return _from_text(term, kind)
    if term.kind == BOOLEAN and (kind.is_numeric or kind == STRING):
        yes, no = ("'true'", "'false'") if kind == STRING else ("1", "0")
        return _cast(build(BIGINT, f"CASE WHEN {{0}} THEN {yes} WHEN NOT {{0}} THEN {no} END", term), kind)
    if kind == STRING and term.kind == DATE:
        return in_calendar(STRING, "CAST({0} AS STRING)", term, "CAST({0} AS VARCHAR)")
    if kind == STRING and (term.kind.is_integer or term.kind.is_decimal):
        return _cast(term, kind)
    if term.kind == DATE and kind == TIMESTAMP:
        days = "EXTRACT(EPOCH FROM CAST({0} AS TIMESTAMP(3))) * 1000000"
        return in_calendar(TIMESTAMP, days, term, "CAST({0} AS TIMESTAMP)")
    if term.kind == TIMESTAMP and kind == DATE:
        return in_calendar(DATE, f"CAST({MIDNIGHT} AS DATE)", term, "CAST({0} AS DATE)")
    raise ExpressionError(f"a value of type {term.kind} cannot be cast to {kind}{_way_out(term.kind, kind)}")


def _way_out(kind: FeatureType, target: FeatureType) -> str:
    if kind.is_numeric and target == BOOLEAN:
        return "; compare it with a number"
    return "; declare the column as that type in the schema"


def _cast(term: Term, kind: FeatureType) -> Term:
    return build(kind, f"CAST({{0}} AS {kind.sql})", term, duckdb=f"CAST({{0}} AS {duckdb_type(kind)})")


def _decimal_literal(number: Decimal, kind: FeatureType) -> Term:
    if not fits(number, kind):
        raise ExpressionError(f"{number} has more digits than {kind} holds")
    return _cast(alike(kind, f"{number:.{kind.scale}f}"), kind)


def _between_numbers(term: Term, kind: FeatureType) -> Term:
    source = term.kind
    assert source is not None
    if kind.is_integer:
        if source.is_integer and source.bits <= kind.bits:
            return term if source == kind and term.number is None else _cast(term, kind)._replace(most=term.bound)
        low, high = -(2 ** (kind.bits - 1)), 2 ** (kind.bits - 1) - 1
        if source.is_floating:
            # 2^63 - 1 is no double; the bounds are those of the truncated value.
            bounds = f"{{0}} >= {float(low)!r} AND {{0}} < {float(high + 1)!r}"
            bounds = bounds if kind.bits == 64 else f"{{0}} > {low - 1}.0e0 AND {{0}} < {high + 1}.0e0"
        else:
            bounds = f"{{0}} BETWEEN {low} AND {high}"
        whole = f"CAST(TRUNC({{0}}) AS {duckdb_type(kind)})" if not source.is_integer else None
        return build(
            kind,
            f"CASE WHEN {bounds} THEN CAST({{0}} AS {kind.sql}) END",
            term,
            duckdb=f"CASE WHEN {bounds} THEN {whole or f'CAST({{0}} AS {duckdb_type(kind)})'} END",
        )
    if kind.is_decimal:
        if source.is_floating:
            raise ExpressionError(
                f"a value of type {source} cannot be cast to {kind}: what it is rounded to would be a matter of luck; "
                "declare the column as decimal in the schema, or the result as double"
            )
        return build(kind, f"CAST({{0}} AS {kind.sql})", term, duckdb=f"TRY_CAST({{0}} AS {duckdb_type(kind)})")
    if kind.name == "float" and source.name == "double":
        return build(kind, "CASE WHEN ABS({0}) <= 3.4028235e38 THEN CAST({0} AS FLOAT) END", term)
    return _cast(term, kind)._replace(nan=term.nan)


def _from_text(term: Term, kind: FeatureType) -> Term:
    if kind == BOOLEAN:
        # Left to itself DuckDB trims every blank of Unicode, Flink the plain one alone.
        words = "WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END"
        return build(kind, f"CASE LOWER(TRIM({{0}})) {words}", term, duckdb=f"CASE LOWER(TRIM({{0}}, ' ')) {words}")
    if not kind.is_numeric:
        raise ExpressionError(
            f"a text cannot be cast to {kind}; declare the column as {kind} in the schema, or compare texts"
        )
    pattern = _braced(_text_pattern(kind))
    return build(
        kind,
        f"CASE WHEN REGEXP({{0}}, '{pattern}') THEN TRY_CAST(TRIM({{0}}) AS {kind.sql}) END",
        term,
        duckdb=f"CASE WHEN regexp_matches({{0}}, '{pattern}') THEN TRY_CAST(TRIM({{0}}) AS {duckdb_type(kind)}) END",
    )


def _text_pattern(kind: FeatureType) -> str:
    """What a text must match to be a number of a type."""
    return _INTEGER_TEXT if kind.is_integer else _DECIMAL_TEXT if kind.is_decimal else _NUMBER_TEXT


def value_of_text(text: str, kind: FeatureType) -> Any:
    """What `cast` makes of a text, as a Python value; None for null.

    For records one at a time, where a query for each would cost more than all else.
    """
    if kind == STRING:
        return text
    plain = text.strip(" ")
    if kind == BOOLEAN:
        return {"true": True, "false": False}.get(plain.lower())
    if not re.match(_text_pattern(kind).replace(r"\z", r"\Z"), text):
        return None
    if kind.is_integer:
        whole, limit = int(plain), 1 << (kind.bits - 1)
        return whole if -limit <= whole < limit else None
    if kind.is_decimal:
        try:
            # Raises for more digits than the precision.
            context = Context(prec=kind.precision, rounding=ROUND_HALF_UP)
            return Decimal(plain).quantize(Decimal(f"1e-{kind.scale}"), context=context)
        except InvalidOperation:
            return None
    number = float(plain)
    # The nearest float, which is infinite beyond the largest.
    return c_float(number).value if kind.name == "float" else number


def _braced(pattern: str) -> str:
    return pattern.replace("{", "{{").replace("}", "}}")


def duckdb_type(kind: FeatureType) -> str:
    """DuckDB's name of a type."""
    if kind.is_decimal:
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return {"string": "VARCHAR", "binary": "BLOB", "int": "INTEGER"}.get(kind.name, kind.name.upper())
