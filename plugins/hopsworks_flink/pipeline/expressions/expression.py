"""SQL expressions of a pipeline file (``derive``, ``where``): parsed, checked, and written anew for each dialect.

The user's text never reaches a statement: what is executed is made from the parsed tree. Allowed is what means the
same in Flink, which computes the features, and in DuckDB, which checks them. Null behaves as SQL has it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from hopsworks_flink.pipeline.expressions.functions import FUNCTION_NAMES, FUNCTIONS
from hopsworks_flink.pipeline.expressions.operators import OPERATORS
from hopsworks_flink.pipeline.expressions.scope import Columns, Node, Scope
from hopsworks_flink.pipeline.expressions.terms import ExpressionError, Term, cast
from hopsworks_flink.pipeline.types import BOOLEAN, FeatureType

Dialect = Literal["flink", "duckdb"]


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
            term = Scope(columns, {**OPERATORS, **FUNCTIONS}, FUNCTION_NAMES).term(tree)
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


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:99]}…")


def _tree(text: str) -> Node:
    # sqlglot warns about statements that it does not know; they are refused below.
    logger = logging.getLogger("sqlglot")
    before, logger.disabled = logger.disabled, True
    try:
        trees = sqlglot.parse(text)
    except (SqlglotError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition("\n")[0]
        raise ExpressionError(f"{_quoted(text)} is no SQL expression: {reason.rstrip('.')}") from None
    finally:
        logger.disabled = before
    if len(trees) != 1 or trees[0] is None:
        raise ExpressionError(f"{_quoted(text)} must be one SQL expression, without a semicolon")
    return trees[0]
