"""What is wrong with an expression of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from hopsworks_flink.pipeline.types import BOOLEAN, FeatureType


def expression_problem(text: str, columns: Mapping[str, FeatureType], kind: FeatureType | None) -> str | None:
    """What is wrong with an expression, or None.

    :param columns: those that it may read; None as the type of one that is wrong itself, which is told there.
    :param kind: what its value is cast to; None: it must be a condition.
    """

    def check(expression: Any) -> None:
        if kind is None:
            expression.expect(BOOLEAN)
        else:
            expression.cast(kind)

    return checked(text, columns, check)


def checked(text: str, columns: Mapping[str, FeatureType], check: Callable[[Any], None]) -> str | None:
    """What is wrong with an expression, or None.

    :param columns: as for `expression_problem`.
    :param check: raises ValueError for an expression that is none here.
    """
    # The parser takes its time to import; files without expressions do without it.
    from hopsworks_flink.pipeline.expressions import Expression

    usable = {name: declared for name, declared in columns.items() if declared is not None}
    try:
        check(Expression.parse(text, usable))
    except ValueError as error:
        unclear = columns.keys() - usable.keys()
        return None if unclear.intersection(re.findall(r"\w+", text)) else str(error)
    return None
