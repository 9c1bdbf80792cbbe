"""Operators, literals, CASE and CAST of expressions: those that mean the same in Flink and in DuckDB."""

from __future__ import annotations

from datetime import date, datetime

from sqlglot import exp

from hopsworks_flink.pipeline.expressions.scope import Handler, Node, Scope, shown, text_literal
from hopsworks_flink.pipeline.expressions.terms import (
    LARGEST,
    ExpressionError,
    Term,
    alike,
    build,
    cast,
    choice,
    clean,
    comparable,
    decimal_of,
    duckdb_type,
    exact_decimal,
    literal,
    quoted,
    unify,
    widened,
    with_one_zero,
)
from hopsworks_flink.pipeline.types import BIGINT, BOOLEAN, DATE, DOUBLE, STRING, TIMESTAMP, FeatureType, sql_identifier


def _column(node: exp.Column, scope: Scope) -> Term:
    if node.table or not isinstance(node.this, exp.Identifier):
        raise ExpressionError(f"{shown(node)} is not the name of a column")
    kind = scope.columns.get(node.name)
    if kind is None:
        raise ExpressionError(f"column {node.name!r} does not exist; there are {', '.join(scope.columns)}")
    # Column names are letters, digits and underscores: the quotes cannot be left.
    return Term(kind, sql_identifier(node.name), f'"{node.name}"', nan=kind.is_floating)


def _literal(node: exp.Literal, scope: Scope) -> Term:
    return quoted(text_literal(node)) if node.is_string else literal(str(node.this))


def _arithmetic(operator: str) -> Handler:
    def handle(node: Node, scope: Scope) -> Term:
        left, right = scope.term(node.left), scope.term(node.right)
        what = f"{shown(node)}"
        for term in (left, right):
            if term.kind is None or not term.kind.is_numeric:
                raise ExpressionError(f"{what} calculates with {term.kind or 'NULL'}; it needs numbers")
        if operator == "/":
            # As doubles: whole numbers would be divided differently, and a zero would fail Flink's job.
            return _floating("/", left, build(DOUBLE, "NULLIF({0}, 0e0)", clean(cast(right, DOUBLE))))
        common, _ = unify([left, right], what)
        if operator == "%":
            return _rest(left, right, common, what)
        if common.is_floating:
            return _floating(operator, left, right)
        return _exact(operator, left, right, what) if common.is_decimal else _whole(operator, left, right, what)

    return handle


def _floating(operator: str, left: Term, right: Term) -> Term:
    parts = [cast(left, DOUBLE), cast(right, DOUBLE)]
    # The difference of two infinities, and the like.
    return build(DOUBLE, f"({{0}} {operator} {{1}})", *parts)._replace(nan=True)


def _whole(operator: str, left: Term, right: Term, what: str) -> Term:
    """Integer arithmetic: exact where a bigint may not hold the result, which Flink would wrap around."""
    most = left.bound * right.bound if operator == "*" else left.bound + right.bound
    if most > LARGEST:
        return _exact(operator, left, right, what)
    _, parts = unify([left, right], what)
    return build(BIGINT, f"({{0}} {operator} {{1}})", *parts)._replace(most=most)


def _rest(left: Term, right: Term, common: FeatureType, what: str) -> Term:
    if common.is_floating or common.scale:
        raise ExpressionError(f"{what} takes the rest of {common}; it needs whole numbers")
    flink, duckdb = "MOD({0}, NULLIF({1}, 0))", "({0} % NULLIF({1}, 0))"
    parts = [cast(term, common) for term in (left, right)]
    if common.is_decimal:
        return cast(build(common, flink, *parts, duckdb=duckdb), common)
    _, parts = unify([left, right], what)
    # DuckDB cannot take the rest of the least bigint by -1.
    duckdb = "CAST(CAST({0} AS HUGEINT) % NULLIF({1}, 0) AS BIGINT)"
    return build(BIGINT, flink, *parts, duckdb=duckdb)._replace(most=min(left.bound, right.bound))


def _exact(operator: str, left: Term, right: Term, what: str) -> Term:
    """Decimal arithmetic whose result holds every digit."""
    one, two = decimal_of(left), decimal_of(right)
    if operator == "*":
        scale = one.scale + two.scale
        # Flink reserves one digit more, and takes it from those after the point where there are more than six.
        result = exact_decimal(one.precision + two.precision + (scale > 6), scale, what)
    else:
        scale = max(one.scale, two.scale)
        result = exact_decimal(max(one.precision - one.scale, two.precision - two.scale) + scale + 1, scale, what)
    # DuckDB calculates in the wider one's width, and a sum or product may need more than 18 digits.
    wide = duckdb_type(FeatureType("decimal", max(one.precision, 19), one.scale)) if result.precision > 18 else None
    duckdb = f"(CAST({{0}} AS {wide}) {operator} {{1}})" if wide else None
    return build(result, f"({{0}} {operator} {{1}})", cast(left, one), cast(right, two), duckdb=duckdb)


def _comparison(operator: str) -> Handler:
    def handle(node: Node, scope: Scope) -> Term:
        kind, terms = comparable([scope.term(node.left), scope.term(node.right)], shown(node))
        ordered = operator in ("<", "<=", ">", ">=")
        if kind.name == "binary" or (kind == BOOLEAN and ordered):
            raise ExpressionError(f"{shown(node)} compares values of type {kind}, which have no order")
        return build(BOOLEAN, f"({{0}} {operator} {{1}})", *(terms if ordered else with_one_zero(terms)))

    return handle


def _logical(operator: str) -> Handler:
    def handle(node: Node, scope: Scope) -> Term:
        return build(BOOLEAN, f"({{0}} {operator} {{1}})", scope.condition(node.left), scope.condition(node.right))

    return handle


def _negative(node: exp.Neg, scope: Scope) -> Term:
    term = scope.term(node.this)
    if term.kind is None or not term.kind.is_numeric:
        raise ExpressionError(f"{shown(node)} needs a number, and has {term.kind or 'NULL'}")
    if term.number is not None:
        # Two signs in a row would begin a comment.
        flink, duckdb = (text[1:] if text.startswith("-") else f"-{text}" for text in (term.flink, term.duckdb))
        return Term(term.kind, flink, duckdb, -term.number)
    wide = widened(term)
    return build(wide.kind, "(-{0})", wide)._replace(most=wide.most, nan=wide.nan)


def _is(node: exp.Is, scope: Scope) -> Term:
    right = node.expression
    if isinstance(right, exp.Null):
        return build(BOOLEAN, "({0} IS NULL)", clean(scope.term(node.this)))
    if isinstance(right, exp.Boolean):
        # As a function: IS NOT FALSE makes the planner turn the guard against NaN around, ABS(x) >= 0 into ABS(x) < 0,
        # and NaN is neither.
        return build(BOOLEAN, f"COALESCE({'{0}' if right.this else 'NOT {0}'}, FALSE)", scope.condition(node.this))
    raise ExpressionError(f"{shown(node)} is not allowed; IS is for NULL, TRUE and FALSE")


def _between(node: exp.Between, scope: Scope) -> Term:
    parts = [scope.term(part) for part in (node.this, node.args["low"], node.args["high"])]
    kind, terms = comparable(parts, shown(node))
    if kind in (BOOLEAN, FeatureType("binary")):
        raise ExpressionError(f"{shown(node)} compares values of type {kind}, which have no order")
    return build(BOOLEAN, "({0} BETWEEN {1} AND {2})", *terms)


def _in(node: exp.In, scope: Scope) -> Term:
    if node.args.get("query") or node.args.get("unnest") or node.args.get("field") or not node.expressions:
        raise ExpressionError("subqueries are not allowed: IN takes a list of values")
    parts = [scope.term(part) for part in (node.this, *node.expressions)]
    kind, terms = comparable(parts, shown(node))
    if kind.name == "binary":
        raise ExpressionError(f"{shown(node)} compares values of type binary, which have no order")
    if kind == STRING and not isinstance(node.this, exp.Column):
        # Flink cuts the texts of the list to the length of one that is made of literals.
        terms[0] = build(STRING, "CAST({0} AS STRING)", terms[0], duckdb="{0}")
    listed = ", ".join(f"{{{number}}}" for number in range(1, len(terms)))
    return build(BOOLEAN, f"({{0}} IN ({listed}))", *with_one_zero(terms))


def _case(node: exp.Case, scope: Scope) -> Term:
    conditions, results = [], []
    for branch in node.args["ifs"]:
        test = branch.this if node.this is None else exp.EQ(this=node.this.copy(), expression=branch.this.copy())
        conditions.append(scope.condition(test))
        results.append(scope.term(branch.args["true"]))
    default = node.args.get("default")
    results.append(scope.term(default) if default is not None else alike(None, "NULL"))
    return choice(conditions, results, shown(node))


def _cast_to(node: exp.Cast, scope: Scope) -> Term:
    target = node.to.sql().lower()
    if isinstance(node.this, exp.Literal) and node.this.is_string and target in ("date", "timestamp"):
        return _moment(text_literal(node.this), target)
    try:
        kind = FeatureType.parse({"text": "string", "varchar": "string", "integer": "int"}.get(target, target))
    except ValueError as error:
        raise ExpressionError(f"{shown(node)}: {error}") from None
    return cast(scope.term(node.this), kind)


def _moment(text: str, target: str) -> Term:
    try:
        if target == "date":
            return alike(DATE, f"DATE '{date.fromisoformat(text).isoformat()}'")
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ExpressionError(f"{text!r} is not a {target} such as 2025-03-01 12:00:00") from None
    if moment.tzinfo is not None:
        raise ExpressionError(f"{text!r} names a zone; timestamps are UTC, leave it out")
    micros = (moment - datetime(1970, 1, 1)) // datetime.resolution
    # Wider than an INT by its type, also for the first minutes of 1970.
    return Term(
        TIMESTAMP,
        f"CAST({micros} AS BIGINT)",
        f"TIMESTAMP '{moment.isoformat(sep=' ', timespec='microseconds')}'",
    )


def _constant(kind: FeatureType | None, word: str, scope: Scope) -> Term:
    for column in scope.columns:
        if column.upper() == word:
            raise ExpressionError(f'`{column}` is a reserved word: quote it as "{column}"')
    return alike(kind, word)


OPERATORS: dict[type, Handler] = {
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Boolean: lambda node, scope: _constant(BOOLEAN, "TRUE" if node.this else "FALSE", scope),
    exp.Null: lambda node, scope: _constant(None, "NULL", scope),
    exp.Paren: lambda node, scope: scope.term(node.this),
    exp.Add: _arithmetic("+"),
    exp.Sub: _arithmetic("-"),
    exp.Mul: _arithmetic("*"),
    exp.Div: _arithmetic("/"),
    exp.Mod: _arithmetic("%"),
    exp.Neg: _negative,
    exp.EQ: _comparison("="),
    exp.NEQ: _comparison("<>"),
    exp.LT: _comparison("<"),
    exp.LTE: _comparison("<="),
    exp.GT: _comparison(">"),
    exp.GTE: _comparison(">="),
    exp.NullSafeEQ: _comparison("IS NOT DISTINCT FROM"),
    exp.NullSafeNEQ: _comparison("IS DISTINCT FROM"),
    exp.And: _logical("AND"),
    exp.Or: _logical("OR"),
    exp.Not: lambda node, scope: build(BOOLEAN, "(NOT {0})", scope.condition(node.this)),
    exp.Is: _is,
    exp.Between: _between,
    exp.In: _in,
    exp.Case: _case,
    exp.Cast: _cast_to,
    exp.TryCast: _cast_to,
}
