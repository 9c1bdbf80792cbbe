"""SQL expressions of a pipeline file (``derive``, ``where``): parsed, checked, and written anew for each dialect.

The user's text never reaches a statement: what is executed is made from the parsed tree. Allowed is what means the
same in Flink, which computes the features, and in DuckDB, which checks them. Null behaves as SQL has it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from hopsworks_flink.pipeline.expressions.terms import (
    ExpressionError,
    Term,
    alike,
    build,
    cast,
    decimal_of,
    exact_decimal,
    literal,
    unify,
)
from hopsworks_flink.pipeline.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    STRING,
    TIMESTAMP,
    FeatureType,
    sql_identifier,
    sql_literal,
)

Dialect = Literal["flink", "duckdb"]
Columns = Mapping[str, FeatureType]
# A node of the tree; its classes carry other names from one version of sqlglot to the next.
Node = Any
Handler = Callable[[Node, "Columns"], Term]


@dataclass(frozen=True)
class Expression:
    """A checked expression over the columns of an event.

    :param term: its text in both dialects, and its type.
    :param columns: names of the columns that it reads.
    """

    term: Term
    columns: frozenset[str]

    @classmethod
    def parse(cls, text: str, columns: Columns) -> Expression:
        """Expression of a text over these columns.

        :raises ExpressionError: it is not one expression, names an unknown column, or uses what is not allowed.
        """
        tree = _tree(text)
        try:
            term = translate(tree, columns)
        except RecursionError:
            raise ExpressionError("is nested too deeply; derive columns for its parts") from None
        return cls(term, frozenset(column.name for column in tree.find_all(exp.Column)))

    @property
    def type(self) -> FeatureType | None:
        """Its type; None for a bare NULL."""
        return self.term.kind

    def cast(self, kind: FeatureType) -> Expression:
        """The expression converted to a type. Raises ExpressionError where that is not possible."""
        return Expression(cast(self.term, kind), self.columns)

    def expect(self, kind: FeatureType) -> Expression:
        """The expression itself if it has that type. Raises ExpressionError otherwise."""
        if self.type != kind:
            wanted = "a condition, such as amount > 0" if kind == BOOLEAN else str(kind)
            raise ExpressionError(f"must be {wanted}, and is {self.type or 'NULL'}")
        return self

    def sql(self, dialect: Dialect) -> str:
        """Text in a dialect: ``flink`` or ``duckdb``."""
        return self.term.flink if dialect == "flink" else self.term.duckdb


def _tree(text: str) -> Node:
    # sqlglot warns about statements that it does not know; they are refused below.
    logger = logging.getLogger("sqlglot")
    before, logger.disabled = logger.disabled, True
    try:
        trees = sqlglot.parse(text)
    except (SqlglotError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition("\n")[0]
        raise ExpressionError(f"{text!r} is no SQL expression: {reason.rstrip('.')}") from None
    finally:
        logger.disabled = before
    if len(trees) != 1 or trees[0] is None:
        raise ExpressionError(f"{text!r} must be one SQL expression, without a semicolon")
    return trees[0]


def translate(node: Node, columns: Columns) -> Term:
    """Term of a node of the tree. Raises ExpressionError for nodes that are not allowed."""
    handler = _HANDLERS.get(type(node))
    if handler is None:
        from hopsworks_flink.pipeline.expressions.functions import FUNCTIONS

        handler = FUNCTIONS.get(type(node))
    if handler is None:
        raise ExpressionError(_refusal(node))
    known = (*_COMMON_PARTS, *_PARTS.get(type(node), ()))
    if odd := [name for name, value in node.args.items() if value not in (None, False, []) and name not in known]:
        raise ExpressionError(f"{_shown(node)} is not allowed: {', '.join(odd)}")
    term = handler(node, columns)
    return build(BOOLEAN, "(NOT {0})", term) if node.args.get("negate") else term


def _refusal(node: Node) -> str:
    if isinstance(node, (exp.AggFunc, exp.Window)):
        return f"{_shown(node)} aggregates several events; an expression sees one, aggregates stand under aggregates"
    if isinstance(node, (exp.Query, exp.Subquery, exp.Exists)):
        return "subqueries are not allowed: an expression sees the columns of one event"
    if isinstance(node, (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.Rand)):
        return f"{_shown(node)} would give another value when events are computed again; use the event's own columns"
    if isinstance(node, exp.Func):
        from hopsworks_flink.pipeline.expressions.functions import NAMES

        return f"{_shown(node)} is not allowed; functions that mean the same everywhere are {NAMES}"
    return f"{_shown(node)} is not allowed in an expression"


def _shown(node: Node) -> str:
    try:
        text = node.sql()
    except (SqlglotError, ValueError, RecursionError):
        text = type(node).__name__
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _column(node: exp.Column, columns: Columns) -> Term:
    if node.table or not isinstance(node.this, exp.Identifier):
        raise ExpressionError(f"{_shown(node)} is not the name of a column")
    kind = columns.get(node.name)
    if kind is None:
        raise ExpressionError(f"column {node.name!r} does not exist; there are {', '.join(columns)}")
    # Column names are letters, digits and underscores: the quotes cannot be left.
    return Term(kind, sql_identifier(node.name), f'"{node.name}"')


def text_literal(node: Node) -> str:
    """Value of a string literal. Raises ExpressionError for anything else."""
    if not isinstance(node, exp.Literal) or not node.is_string:
        raise ExpressionError(f"{_shown(node)} must be a text in single quotes")
    value = str(node.this)
    if not value.isprintable():
        raise ExpressionError(f"{value!r} holds characters that cannot be printed; leave them out")
    return value


def quoted(value: str) -> Term:
    """String literal."""
    return alike(STRING, sql_literal(value))


def _literal(node: exp.Literal, columns: Columns) -> Term:
    return quoted(text_literal(node)) if node.is_string else literal(str(node.this))


def _arithmetic(operator: str) -> Handler:
    def handle(node: Node, columns: Columns) -> Term:
        left, right = translate(node.left, columns), translate(node.right, columns)
        what = f"{_shown(node)}"
        for term in (left, right):
            if term.kind is None or not term.kind.is_numeric:
                raise ExpressionError(f"{what} calculates with {term.kind or 'NULL'}; it needs numbers")
        if operator == "/":
            # As doubles: whole numbers would be divided differently, and a zero would fail Flink's job.
            return build(DOUBLE, "({0} / NULLIF({1}, 0e0))", cast(left, DOUBLE), cast(right, DOUBLE))
        common, (left_, right_) = unify([left, right], what)
        if operator == "%":
            if common != BIGINT:
                raise ExpressionError(f"{what} takes the rest of {common}; it needs whole numbers")
            return build(BIGINT, "MOD({0}, NULLIF({1}, 0))", left_, right_, duckdb="({0} % NULLIF({1}, 0))")
        if common.is_decimal:
            return _exact(operator, left, right, what)
        return build(common, f"({{0}} {operator} {{1}})", left_, right_)

    return handle


def _exact(operator: str, left: Term, right: Term, what: str) -> Term:
    """Decimal arithmetic whose result holds every digit."""
    one, two = decimal_of(left), decimal_of(right)
    if operator == "*":
        result = exact_decimal(one.precision + two.precision, one.scale + two.scale, what)
    else:
        scale = max(one.scale, two.scale)
        result = exact_decimal(max(one.precision - one.scale, two.precision - two.scale) + scale + 1, scale, what)
    return build(result, f"({{0}} {operator} {{1}})", cast(left, one), cast(right, two))


def _comparison(operator: str) -> Handler:
    def handle(node: Node, columns: Columns) -> Term:
        kind, terms = unify([translate(node.left, columns), translate(node.right, columns)], _shown(node))
        if kind.name == "binary" or (kind == BOOLEAN and operator in ("<", "<=", ">", ">=")):
            raise ExpressionError(f"{_shown(node)} compares values of type {kind}, which have no order")
        return build(BOOLEAN, f"({{0}} {operator} {{1}})", *terms)

    return handle


def condition(node: Node, columns: Columns) -> Term:
    """Term of a node that must be a condition."""
    term = translate(node, columns)
    if term.kind is None:
        return cast(term, BOOLEAN)
    if term.kind != BOOLEAN:
        raise ExpressionError(f"{_shown(node)} is {term.kind}; a condition is needed here, such as amount > 0")
    return term


def _logical(operator: str) -> Handler:
    def handle(node: Node, columns: Columns) -> Term:
        return build(
            BOOLEAN, f"({{0}} {operator} {{1}})", condition(node.left, columns), condition(node.right, columns)
        )

    return handle


def _negative(node: exp.Neg, columns: Columns) -> Term:
    term = translate(node.this, columns)
    if term.kind is None or not term.kind.is_numeric:
        raise ExpressionError(f"{_shown(node)} needs a number, and has {term.kind or 'NULL'}")
    if term.number is not None:
        # Two signs in a row would begin a comment.
        flink, duckdb = (text[1:] if text.startswith("-") else f"-{text}" for text in (term.flink, term.duckdb))
        return Term(term.kind, flink, duckdb, -term.number)
    widened = cast(term, BIGINT) if term.kind.is_integer else cast(term, DOUBLE) if term.kind.is_floating else term
    assert widened.kind is not None
    return build(widened.kind, "(-{0})", widened)


def _is(node: exp.Is, columns: Columns) -> Term:
    right = node.expression
    if isinstance(right, exp.Null):
        return build(BOOLEAN, "({0} IS NULL)", translate(node.this, columns))
    if isinstance(right, exp.Boolean):
        return build(BOOLEAN, f"({{0}} IS {'TRUE' if right.this else 'FALSE'})", condition(node.this, columns))
    raise ExpressionError(f"{_shown(node)} is not allowed; IS is for NULL, TRUE and FALSE")


def _between(node: exp.Between, columns: Columns) -> Term:
    parts = [translate(part, columns) for part in (node.this, node.args["low"], node.args["high"])]
    kind, terms = unify(parts, _shown(node))
    if kind in (BOOLEAN, FeatureType("binary")):
        raise ExpressionError(f"{_shown(node)} compares values of type {kind}, which have no order")
    return build(BOOLEAN, "({0} BETWEEN {1} AND {2})", *terms)


def _in(node: exp.In, columns: Columns) -> Term:
    if node.args.get("query") or node.args.get("unnest") or node.args.get("field") or not node.expressions:
        raise ExpressionError("subqueries are not allowed: IN takes a list of values")
    parts = [translate(part, columns) for part in (node.this, *node.expressions)]
    kind, terms = unify(parts, _shown(node))
    if kind.name == "binary":
        raise ExpressionError(f"{_shown(node)} compares values of type binary, which have no order")
    listed = ", ".join(f"{{{number}}}" for number in range(1, len(terms)))
    return build(BOOLEAN, f"({{0}} IN ({listed}))", *terms)


def _case(node: exp.Case, columns: Columns) -> Term:
    conditions, results = [], []
    for branch in node.args["ifs"]:
        test = branch.this if node.this is None else exp.EQ(this=node.this.copy(), expression=branch.this.copy())
        conditions.append(condition(test, columns))
        results.append(translate(branch.args["true"], columns))
    default = node.args.get("default")
    results.append(translate(default, columns) if default is not None else alike(None, "NULL"))
    return choice(conditions, results, _shown(node))


def choice(conditions: list[Term], results: list[Term], what: str) -> Term:
    """CASE with a result for each condition and one more for none."""
    kind, results = unify(results, what)
    count = len(conditions)
    branches = " ".join(f"WHEN {{{n}}} THEN {{{count + n}}}" for n in range(count))
    return build(kind, f"CASE {branches} ELSE {{{2 * count}}} END", *conditions, *results)


def _cast_to(node: exp.Cast, columns: Columns) -> Term:
    target = node.to.sql().lower()
    if isinstance(node.this, exp.Literal) and node.this.is_string and target in ("date", "timestamp"):
        return _moment(text_literal(node.this), target)
    try:
        kind = FeatureType.parse({"text": "string", "varchar": "string", "integer": "int"}.get(target, target))
    except ValueError as error:
        raise ExpressionError(f"{_shown(node)}: {error}") from None
    return cast(translate(node.this, columns), kind)


def _moment(text: str, target: str) -> Term:
    try:
        if target == "date":
            return alike(DATE, f"DATE '{date.fromisoformat(text).isoformat()}'")
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ExpressionError(f"{text!r} is no {target} such as 2025-03-01 12:00:00") from None
    if moment.tzinfo is not None:
        raise ExpressionError(f"{text!r} names a zone; timestamps are UTC, leave it out")
    micros = (moment - datetime(1970, 1, 1)) // datetime.resolution
    # Wider than an INT by its type, also for the first minutes of 1970.
    return Term(
        TIMESTAMP,
        f"CAST({micros} AS BIGINT)",
        f"TIMESTAMP '{moment.isoformat(sep=' ', timespec='microseconds')}'",
    )


# What a node may consist of; anything else would change its meaning. `safe` and the like are notes of the parser.
_COMMON_PARTS = ("this", "expression", "expressions", "negate", "safe", "typed", "coalesce", "ignore_nulls")
_PARTS: dict[type, tuple[str, ...]] = {
    exp.Column: ("table",),
    exp.Literal: ("is_string",),
    exp.In: ("query", "unnest", "field"),
    exp.Between: ("low", "high"),
    exp.Case: ("ifs", "default"),
    exp.If: ("true", "false"),
    exp.Cast: ("to", "_type"),
    exp.TryCast: ("to", "_type"),
    exp.Round: ("decimals",),
    exp.Trim: ("position",),
    exp.Substring: ("start", "length"),
    exp.StrPosition: ("substr",),
    exp.DateTrunc: ("unit",),
    exp.TimestampTrunc: ("unit",),
    exp.Replace: ("replacement",),
}
_HANDLERS: dict[type, Handler] = {
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Boolean: lambda node, _: alike(BOOLEAN, "TRUE" if node.this else "FALSE"),
    exp.Null: lambda node, _: alike(None, "NULL"),
    exp.Paren: lambda node, columns: translate(node.this, columns),
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
    exp.Not: lambda node, columns: build(BOOLEAN, "(NOT {0})", condition(node.this, columns)),
    exp.Is: _is,
    exp.Between: _between,
    exp.In: _in,
    exp.Case: _case,
    exp.Cast: _cast_to,
    exp.TryCast: _cast_to,
}
