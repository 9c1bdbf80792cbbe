"""Functions that expressions may use: those that mean the same in Flink and in DuckDB."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlglot import exp

from hopsworks_flink.pipeline.expressions.scope import Handler, Node, Scope, text_literal
from hopsworks_flink.pipeline.expressions.terms import (
    DAY_MICROS,
    MIDNIGHT,
    MOMENT,
    TIME_MICROS,
    TIME_OF_DAY,
    ExpressionError,
    Term,
    alike,
    build,
    cast,
    choice,
    clean,
    comparable,
    exact_decimal,
    in_calendar,
    quoted,
    widened,
)
from hopsworks_flink.pipeline.types import BIGINT, BOOLEAN, DATE, DOUBLE, STRING, TIMESTAMP, FeatureType

FUNCTION_NAMES = (
    "ABS, CEIL, FLOOR, ROUND, SIGN, SQRT, EXP, LN, POWER, GREATEST, LEAST, COALESCE, NULLIF, IF, UPPER, LOWER, TRIM, "
    "LENGTH, SUBSTRING, LEFT, RIGHT, CONCAT, REPLACE, POSITION, STARTS_WITH, LIKE, EXTRACT, DATE_TRUNC, CAST"
)
_DATE_PARTS = ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOY", "ISODOW")
_TIME_PARTS = ("HOUR", "MINUTE", "SECOND", "EPOCH")
_TRUNCATIONS = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND")


def _number(node: Node | None, scope: Scope, function: str) -> Term:
    if node is None:
        raise ExpressionError(f"{function} lacks an argument")
    term = scope.term(node)
    if term.kind is None or not term.kind.is_numeric:
        raise ExpressionError(f"{function} needs a number, and has {term.kind or 'NULL'}")
    # A function sees the widest type of its kind, so that nothing overflows.
    return cast(term, BIGINT if term.kind.is_integer else DOUBLE) if not term.kind.is_decimal else term


def _text(node: Node | None, scope: Scope, function: str) -> Term:
    if node is None:
        raise ExpressionError(f"{function} lacks an argument")
    term = scope.term(node)
    if term.kind not in (STRING, None):
        raise ExpressionError(f"{function} needs a text, and has {term.kind}; cast it to string")
    return term if term.kind else cast(term, STRING)


def _count(node: Node | None, least: int, function: str) -> Term:
    number = int(node.this) if isinstance(node, exp.Literal) and not node.is_string and node.this.isdigit() else -1
    if not least <= number < 2**31:
        raise ExpressionError(f"{function} wants positions and lengths as whole numbers from {least}")
    return alike(BIGINT, str(number))


def _abs(node: exp.Abs, scope: Scope) -> Term:
    term = widened(_number(node.this, scope, "ABS"))
    return build(term.kind, "ABS({0})", term)._replace(most=term.most, nan=term.nan)


def _whole(function: str) -> Handler:
    def handle(node: Node, scope: Scope) -> Term:
        if node.args.get("decimals") or node.args.get("to"):
            raise ExpressionError(f"{function} takes one argument")
        term = _number(node.this, scope, function)
        assert term.kind is not None
        if not term.kind.is_decimal:
            return term if term.kind == BIGINT else build(DOUBLE, f"{function}({{0}})", term)._replace(nan=term.nan)
        kind = exact_decimal(min(term.kind.precision + 1, 38), 0, function)
        return cast(build(term.kind, f"{function}({{0}})", term), kind)

    return handle


def _round(node: exp.Round, scope: Scope) -> Term:
    term, digits = _number(node.this, scope, "ROUND"), node.args.get("decimals")
    assert term.kind is not None
    if term.kind == BIGINT and digits is None:
        return term
    if term.kind.is_decimal:
        number = 0 if digits is None else int(_count(digits, 0, "ROUND").flink)
        if number >= term.kind.scale:
            return term
        scale = number
        whole = term.kind.precision - term.kind.scale + 1
        return cast(build(term.kind, f"ROUND({{0}}, {number})", term), exact_decimal(whole + scale, scale, "ROUND"))
    if digits is not None:
        raise ExpressionError(
            "ROUND of a double to digits is a matter of luck for values such as 2.675; declare the column as decimal, "
            "or round to a whole number"
        )
    # From 2^52 on every double is whole; Flink's ROUND fails for Infinity and NaN.
    template = f"CASE WHEN ABS({{0}}) < {2**52}e0 THEN ROUND({{0}}) ELSE {{0}} END"
    return build(DOUBLE, template, term)._replace(nan=term.nan)


def _guarded(function: str, bound: str) -> Handler:
    """Function of a double that is null where it is not defined: one fails there, the other has NaN."""

    def handle(node: Node, scope: Scope) -> Term:
        term = clean(cast(_number(node.this, scope, function), DOUBLE))
        return build(DOUBLE, f"CASE WHEN {{0}} {bound} THEN {function}({{0}}) END", term)

    return handle


def _exp(node: exp.Exp, scope: Scope) -> Term:
    term = cast(_number(node.this, scope, "EXP"), DOUBLE)
    return build(DOUBLE, "EXP({0})", term)._replace(nan=term.nan)


def _sign(node: exp.Sign, scope: Scope) -> Term:
    term = clean(_number(node.this, scope, "SIGN"))
    return build(BIGINT, "CAST(CASE WHEN {0} > 0 THEN 1 WHEN {0} < 0 THEN -1 WHEN {0} = 0 THEN 0 END AS BIGINT)", term)


def _power(node: exp.Pow, scope: Scope) -> Term:
    # To the power of 0 even NaN is 1.
    base = clean(cast(_number(node.this, scope, "POWER"), DOUBLE))
    exponent = clean(_number(node.expression, scope, "POWER"))
    term = build(DOUBLE, "POWER({0}, {1})", base, cast(exponent, DOUBLE))._replace(nan=True)
    if exponent.kind == BIGINT:
        return term
    return build(DOUBLE, "CASE WHEN {0} >= 0e0 THEN {1} END", base, term)._replace(nan=True)


def _extreme(function: str) -> Handler:
    def handle(node: Node, scope: Scope) -> Term:
        kind, terms = comparable([scope.term(part) for part in (node.this, *node.expressions)], function)
        if kind in (BOOLEAN,) or kind.name == "binary":
            raise ExpressionError(f"{function} compares values of type {kind}, which have no order")
        places = [f"{{{number}}}" for number in range(len(terms))]
        call = f"{function}({', '.join(places)})"
        # Flink's is null if any argument is, DuckDB's leaves nulls out.
        missing = " OR ".join(f"{place} IS NULL" for place in places)
        return build(kind, call, *terms, duckdb=f"CASE WHEN {missing} THEN NULL ELSE {call} END")

    return handle


def _coalesce(node: exp.Coalesce, scope: Scope) -> Term:
    kind, terms = comparable([scope.term(part) for part in (node.this, *node.expressions)], "COALESCE")
    return build(kind, f"COALESCE({', '.join(f'{{{n}}}' for n in range(len(terms)))})", *terms)


def _nullif(node: exp.Nullif, scope: Scope) -> Term:
    kind, terms = comparable([scope.term(node.this), scope.term(node.expression)], "NULLIF")
    return build(kind, "NULLIF({0}, {1})", *terms)


def _if(node: exp.If, scope: Scope) -> Term:
    otherwise = node.args.get("false")
    results = [scope.term(node.args["true"])]
    results.append(scope.term(otherwise) if otherwise is not None else alike(None, "NULL"))
    return choice([scope.condition(node.this)], results, "IF")


def _case_of(function: str) -> Handler:
    # As Java does it, where one letter may become two: DuckDB's own function knows pairs of letters only.
    duckdb = f"java_{function.lower()}({{0}})"
    return lambda node, scope: build(STRING, f"{function}({{0}})", _text(node.this, scope, function), duckdb=duckdb)


def _trim(node: exp.Trim, scope: Scope) -> Term:
    side = str(node.args.get("position") or "BOTH").upper()
    if node.expression is not None or side not in ("BOTH", "LEADING", "TRAILING"):
        raise ExpressionError("TRIM takes blanks away and nothing else; use REPLACE")
    name = {"BOTH": "TRIM", "LEADING": "LTRIM", "TRAILING": "RTRIM"}[side]
    flink = f"TRIM({side} ' ' FROM {{0}})"
    return build(STRING, flink, _text(node.this, scope, "TRIM"), duckdb=f"{name}({{0}}, ' ')")


def _length(node: exp.Length, scope: Scope) -> Term:
    text = _text(node.this, scope, "LENGTH")
    return build(BIGINT, "CAST(CHAR_LENGTH({0}) AS BIGINT)", text, duckdb="CAST(LENGTH({0}) AS BIGINT)")


def _substring(node: exp.Substring, scope: Scope) -> Term:
    parts = [_text(node.this, scope, "SUBSTRING"), _count(node.args.get("start"), 1, "SUBSTRING")]
    if node.args.get("length") is not None:
        parts.append(_count(node.args["length"], 0, "SUBSTRING"))
    return build(STRING, f"SUBSTRING({', '.join(f'{{{n}}}' for n in range(len(parts)))})", *parts)


def _end_of(function: str) -> Handler:
    def handle(node: Node, scope: Scope) -> Term:
        count = _count(node.expression, 0, function)
        return build(STRING, f"{function}({{0}}, {{1}})", _text(node.this, scope, function), count)

    return handle


def _joined(parts: Sequence[Node], scope: Scope) -> Term:
    terms = [_text(part, scope, "CONCAT") for part in parts]
    # Null if any part is, in both: DuckDB's CONCAT leaves nulls out.
    return build(STRING, f"({' || '.join(f'{{{n}}}' for n in range(len(terms)))})", *terms)


def _replace(node: Node, scope: Scope) -> Term:
    text, old, new = node.this, node.expression, node.args.get("replacement")
    if new is None or not text_literal(old):
        raise ExpressionError("REPLACE wants a text, what to replace (not empty), and what to put there")
    parts = [_text(text, scope, "REPLACE"), quoted(text_literal(old)), quoted(text_literal(new))]
    return build(STRING, "REPLACE({0}, {1}, {2})", *parts)


def _position(node: exp.StrPosition, scope: Scope) -> Term:
    if any(node.args.get(name) is not None for name in ("position", "occurrence")):
        raise ExpressionError("POSITION finds the first occurrence only")
    parts = [_text(node.args["substr"], scope, "POSITION"), _text(node.this, scope, "POSITION")]
    return build(
        BIGINT,
        "CAST(POSITION({0} IN {1}) AS BIGINT)",
        *parts,
        duckdb="CAST(STRPOS({1}, {0}) AS BIGINT)",
    )


def _starts_with(node: exp.StartsWith, scope: Scope) -> Term:
    parts = [_text(node.this, scope, "STARTS_WITH"), _text(node.expression, scope, "STARTS_WITH")]
    return build(BOOLEAN, "STARTSWITH({0}, {1})", *parts, duckdb="STARTS_WITH({0}, {1})")


def _like(node: exp.Like, scope: Scope) -> Term:
    pattern = text_literal(node.expression)
    if "\\" in pattern:
        raise ExpressionError("LIKE knows no escapes; compare with SUBSTRING or POSITION")
    text = _text(node.this, scope, "LIKE")
    if "_" not in pattern:
        return build(BOOLEAN, "({0} LIKE {1})", text, quoted(pattern))
    # For Flink's `_` a line break is no character.
    parts = {"%": ".*", "_": "."}
    expression = "".join(parts.get(one) or re.escape(one) for one in pattern)
    terms = text, quoted(pattern), quoted(rf"(?s)^{expression}\z")
    return build(BOOLEAN, "REGEXP({0}, {2})", *terms, duckdb="({0} LIKE {1})")


def _extract(node: exp.Extract, scope: Scope) -> Term:
    part, term = str(node.this).upper(), scope.term(node.expression)
    allowed = _DATE_PARTS if term.kind == DATE else (*_DATE_PARTS, *_TIME_PARTS)
    if term.kind not in (DATE, TIMESTAMP):
        raise ExpressionError(f"EXTRACT needs a date or timestamp, and has {term.kind or 'NULL'}")
    if part not in allowed:
        raise ExpressionError(f"EXTRACT({part} FROM …) is not allowed for {term.kind}; use {', '.join(allowed)}")
    if part == "EPOCH":
        return in_calendar(BIGINT, "{0} / 1000000", term, "(epoch_us({0}) - epoch_us({0}) % 1000000) // 1000000")
    moment = "{0}" if term.kind == DATE else TIME_OF_DAY if part in _TIME_PARTS else MIDNIGHT
    return in_calendar(
        FeatureType("int"),
        f"CAST(EXTRACT({part} FROM {moment}) AS INT)",
        term,
        f"CAST(EXTRACT({part} FROM {{0}}) AS INTEGER)",
    )


def _date_trunc(node: Node, scope: Scope) -> Term:
    unit, term = str(node.args["unit"].name).upper(), scope.term(node.this)
    if unit not in _TRUNCATIONS or term.kind != TIMESTAMP:
        raise ExpressionError(
            f"DATE_TRUNC cuts a timestamp to {', '.join(_TRUNCATIONS).lower()}, not {term.kind or 'NULL'} to {unit}"
        )
    if unit in ("YEAR", "MONTH"):
        # Flink's FLOOR goes wrong in October 1582, where another calendar ends.
        day = f"EXTRACT({'DOY' if unit == 'YEAR' else 'DAY'} FROM {MIDNIGHT})"
        flink = f"{{0}} - {TIME_MICROS} - ({day} - 1) * {DAY_MICROS}"
    else:
        flink = f"EXTRACT(EPOCH FROM FLOOR({MOMENT} TO {unit})) * 1000000"
    return in_calendar(TIMESTAMP, flink, term, f"CAST(DATE_TRUNC('{unit}', {{0}}) AS TIMESTAMP)")


FUNCTIONS: dict[type, Handler] = {
    exp.Abs: _abs,
    exp.Ceil: _whole("CEIL"),
    exp.Floor: _whole("FLOOR"),
    exp.Round: _round,
    exp.Sign: _sign,
    exp.Sqrt: _guarded("SQRT", ">= 0e0"),
    exp.Ln: _guarded("LN", "> 0e0"),
    exp.Exp: _exp,
    exp.Pow: _power,
    exp.Greatest: _extreme("GREATEST"),
    exp.Least: _extreme("LEAST"),
    exp.Coalesce: _coalesce,
    exp.Nullif: _nullif,
    exp.If: _if,
    exp.Upper: _case_of("UPPER"),
    exp.Lower: _case_of("LOWER"),
    exp.Trim: _trim,
    exp.Length: _length,
    exp.Substring: _substring,
    exp.Left: _end_of("LEFT"),
    exp.Right: _end_of("RIGHT"),
    exp.Concat: lambda node, scope: _joined(node.expressions, scope),
    exp.DPipe: lambda node, scope: _joined([node.left, node.right], scope),
    exp.StrPosition: _position,
    exp.StartsWith: _starts_with,
    exp.Like: _like,
    exp.Extract: _extract,
    exp.DateTrunc: _date_trunc,
    exp.TimestampTrunc: _date_trunc,
    exp.Replace: _replace,
}
