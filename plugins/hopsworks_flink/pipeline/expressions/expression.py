"""SQL expressions of a pipeline file (``derive``, ``where``): parsed, checked, and written anew for each dialect.

The user's text never reaches a statement: what is executed is made from the parsed tree. Allowed is what means the
same in Flink, which computes the features, and in DuckDB, which checks them. Null behaves as SQL has it.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from hopsworks_flink.pipeline.expressions.functions import FUNCTION_NAMES, FUNCTIONS
from hopsworks_flink.pipeline.expressions.operators import OPERATORS
from hopsworks_flink.pipeline.expressions.scope import Columns, Node, Scope
from hopsworks_flink.pipeline.expressions.terms import ExpressionError, Term, cast, clean
from hopsworks_flink.pipeline.expressions.words import has_is_beside_comparison, reason, with_reserved_words_quoted
from hopsworks_flink.pipeline.types import BOOLEAN, FeatureType

Dialect = Literal["flink", "duckdb"]
# Texts, quoted names, and comments that say where they end.
_NO_CODE = re.compile(r"'[^']*'|\"[^\"]*\"|/\*.*?\*/", re.DOTALL)


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
        try:
            return cls._parse(text, columns)
        except ExpressionError as error:
            raise ExpressionError(cls._hint(text, columns) or str(error)) from None

    @classmethod
    def _hint(cls, text: str, columns: Columns) -> str | None:
        """What would be right, where the name of a column is also a word of SQL."""
        was_read = _is_read(text)
        for names, quoted in with_reserved_words_quoted(text, columns):
            try:
                cls._parse(quoted, columns)
            except ExpressionError:
                if was_read or not _is_read(quoted):
                    continue
            words, remedy = (", ".join(f"{sign}{name}{sign}" for name in names) for sign in '`"')
            if len(names) == 1:
                return f"{words} is a reserved word: quote it as {remedy}"
            return f"{words} are reserved words: quote them as {remedy}"
        return None

    @classmethod
    def _parse(cls, text: str, columns: Columns) -> Expression:
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
        """The expression converted to a type, null where that does not hold its value, and for NaN.

        :raises ExpressionError: there is no conversion between the two types.
        """
        return Expression(clean(cast(self.term, kind)), self.columns)

    def expect(self, kind: FeatureType) -> Expression:
        """The expression itself if it has that type. Raises ExpressionError otherwise."""
        if self.type != kind:
            wanted = "a condition, such as amount > 0" if kind == BOOLEAN else str(kind)
            raise ExpressionError(f"must be {wanted}, and is {self.type or 'NULL'}")
        return self

    def sql(self, dialect: Dialect) -> str:
        """Text in a dialect: ``flink`` or ``duckdb``."""
        return self.term.flink if dialect == "flink" else self.term.duckdb


def converted(sql: str, kind: FeatureType, target: FeatureType, dialect: Dialect) -> str:
    """SQL of a value converted to another type, null where that does not hold it.

    :raises ExpressionError: there is no conversion between the two types.
    """
    term = cast(Term(kind, sql, sql), target)
    return term.flink if dialect == "flink" else term.duckdb


def _is_read(text: str) -> bool:
    """Whether the parser makes a value of a text, whatever is wrong with it; and not a statement, or nothing."""
    try:
        return isinstance(_tree(text), exp.Condition)
    except ExpressionError:
        return False


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:99]}…")


def _tree(text: str) -> Node:
    if "--" in _NO_CODE.sub("", text):
        raise ExpressionError(
            "'--' begins a comment, which hides the rest of its line, and YAML makes one line of several: leave it "
            "out, or write /* … */; between two minus signs stands a blank"
        )
    # sqlglot warns about statements that it does not know; they are refused below.
    logger = logging.getLogger("sqlglot")
    before, logger.disabled = logger.disabled, True
    try:
        trees = sqlglot.parse(text)
    except (SqlglotError, RecursionError) as error:
        raise ExpressionError(f"{_quoted(text)} is not an SQL expression: {reason(error)}") from None
    finally:
        logger.disabled = before
    if len(trees) != 1 or trees[0] is None:
        raise ExpressionError(f"{_quoted(text)} must be one SQL expression, without a semicolon")
    if has_is_beside_comparison(text):
        raise ExpressionError(
            f"{_quoted(text)} has IS beside a comparison: write (a = b) IS NULL, or a = (b IS NULL), as it is meant"
        )
    return trees[0]
