"""How long the text that an expression makes can be, where that is simple to know."""

from __future__ import annotations

from collections.abc import Mapping

import sqlglot
from sqlglot import exp

from hopsworks_flink.pipeline.expressions.expression import Expression
from hopsworks_flink.pipeline.expressions.scope import Columns, Node
from hopsworks_flink.pipeline.types import STRING, FeatureType

# Of values that are made text; a double has 17 digits, sign, point and exponent.
_LENGTHS = {"boolean": 5, "tinyint": 4, "smallint": 6, "int": 11, "bigint": 20, "date": 10}
_OTHER_LENGTH = 45
# Characters that Unicode makes of one in another case.
_MOST_OF_ONE = 3


def longest_text(text: str, columns: Columns, lengths: Mapping[str, int | None]) -> int | None:
    """Most characters of a checked expression's value as a string; None: not known.

    :param columns: types of the columns that it may name.
    :param lengths: most characters of those that are strings.
    """
    kind = Expression.parse(text, columns).type
    return _of_kind(kind) if kind != STRING else _longest(sqlglot.parse_one(text), columns, lengths)


def _of_kind(kind: FeatureType | None) -> int:
    return 0 if kind is None else _LENGTHS.get(kind.name, _OTHER_LENGTH)


def _longest(node: Node, columns: Columns, lengths: Mapping[str, int | None]) -> int | None:
    if isinstance(node, exp.Column):
        return lengths.get(node.name)
    if isinstance(node, exp.Literal):
        return len(node.this)
    if isinstance(node, exp.Cast):
        return longest_text(node.this.sql(), columns, lengths)
    parts = [_longest(part, columns, lengths) for part in _parts(node)]
    known = [length for length in parts if length is not None]
    cut = _cut(node)
    if cut is not None:
        return min((cut, *known))
    if len(known) < len(parts):
        return None
    if isinstance(node, (exp.Concat, exp.DPipe)):
        return sum(known)
    if isinstance(node, (exp.Upper, exp.Lower)):
        return _MOST_OF_ONE * known[0]
    return max(known) if known else 0 if isinstance(node, exp.Null) else None


def _parts(node: Node) -> list[Node]:
    """The texts of which a node makes its own, or chooses one."""
    if isinstance(node, exp.Case):
        found = [*(case.args["true"] for case in node.args["ifs"]), node.args.get("default")]
    elif isinstance(node, exp.If):
        found = [node.args["true"], node.args.get("false")]
    elif isinstance(node, exp.DPipe):
        found = [node.left, node.right]
    elif isinstance(node, (exp.Coalesce, exp.Greatest, exp.Least)):
        found = [node.this, *node.expressions]
    elif isinstance(node, exp.Concat):
        found = node.expressions
    elif isinstance(node, (exp.Paren, exp.Trim, exp.Upper, exp.Lower, exp.Nullif, exp.Left, exp.Right, exp.Substring)):
        found = [node.this]
    else:
        found = []
    return [part for part in found if part is not None]


def _cut(node: Node) -> int | None:
    """How many characters a function leaves of a text."""
    length = node.expression if isinstance(node, (exp.Left, exp.Right)) else None
    if isinstance(node, exp.Substring):
        length = node.args.get("length")
    return None if length is None else int(length.this)
