"""The scope in which an expression is translated: the columns that it may name, and a handler for each kind of node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError

from hopsworks_flink.pipeline.expressions.terms import ExpressionError, Term, build, cast
from hopsworks_flink.pipeline.types import BOOLEAN, FeatureType

Columns = Mapping[str, FeatureType]
# A node of the tree; its classes carry other names from one version of sqlglot to the next.
Node = Any
Handler = Callable[[Node, "Scope"], Term]

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


@dataclass(frozen=True)
class Scope:
    """Columns of an event, and what translates each class of node.

    :param functions: names of the allowed functions, for error messages.
    """

    columns: Columns
    handlers: Mapping[type, Handler]
    functions: str

    def term(self, node: Node) -> Term:
        """Term of a node of the tree. Raises ExpressionError for nodes that are not allowed."""
        handler = self.handlers.get(type(node))
        if handler is None:
            raise ExpressionError(self._refusal(node))
        known = (*_COMMON_PARTS, *_PARTS.get(type(node), ()))
        if odd := [name for name, value in node.args.items() if value not in (None, False, []) and name not in known]:
            raise ExpressionError(f"{shown(node)} is not allowed: {', '.join(odd)}")
        term = handler(node, self)
        return build(BOOLEAN, "(NOT {0})", term) if node.args.get("negate") else term

    def condition(self, node: Node) -> Term:
        """Term of a node that must be a condition. Raises ExpressionError otherwise."""
        term = self.term(node)
        if term.kind is None:
            return cast(term, BOOLEAN)
        if term.kind != BOOLEAN:
            raise ExpressionError(f"{shown(node)} is {term.kind}; a condition is needed here, such as amount > 0")
        return term

    def _refusal(self, node: Node) -> str:
        if isinstance(node, (exp.AggFunc, exp.Window)):
            return f"{shown(node)} aggregates several events; an expression sees one, aggregates stand under aggregates"
        if isinstance(node, (exp.Query, exp.Subquery, exp.Exists)):
            return "subqueries are not allowed: an expression sees the columns of one event"
        if isinstance(node, (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.Rand)):
            return f"{shown(node)} would give another value when events are computed again; use the event's own columns"
        if isinstance(node, exp.Func):
            return f"{shown(node)} is not allowed; functions that mean the same everywhere are {self.functions}"
        return f"{shown(node)} is not allowed in an expression"


def shown(node: Node) -> str:
    """A node's text for error messages, shortened."""
    try:
        text = node.sql()
    except (SqlglotError, ValueError, RecursionError):
        text = type(node).__name__
    return repr(text if len(text) <= 60 else text[:57] + "...")


def text_literal(node: Node) -> str:
    """Value of a string literal. Raises ExpressionError for anything else."""
    if not isinstance(node, exp.Literal) or not node.is_string:
        raise ExpressionError(f"{shown(node)} must be a text in single quotes")
    value = str(node.this)
    if not value.isprintable():
        raise ExpressionError(f"{value!r} holds characters that cannot be printed; leave them out")
    return value
