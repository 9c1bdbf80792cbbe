"""The features of a group without windows: ``currency: "UPPER(currency)"``, an expression over one event each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, model_serializer, model_validator

from hopsworks_flink.pipeline.spec.base import Model
from hopsworks_flink.pipeline.spec.problems import unquoted
from hopsworks_flink.pipeline.types import FeatureType, Type

if TYPE_CHECKING:
    from hopsworks_flink.pipeline.expressions import Expression


class Projection(Model):
    """A feature that is made of one event.

    :param expression: a column, or SQL over the source's columns and the derived ones.
    :param type: what the value is cast to, null where that does not hold it; without it the expression's own type.
    :param required: whether an event for which it is null has no row: it is refused, as one without key.
    :param description: of the feature.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    expression: str = Field(min_length=1, max_length=10_000)
    type: Type | None = None
    required: bool = False
    description: str = Field(default="", max_length=256)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"expression": data}
        if not isinstance(data, (Mapping, Projection)):
            told = unquoted(data) or f"it is not {data!r}"
            raise ValueError(f"a feature is a column, an SQL expression, or {{expression: …, type: …}}: {told}")
        return data

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        kind = str(self.type) if self.type else None
        settings = {"type": kind, "required": self.required, "description": self.description}
        given = {name: value for name, value in settings.items() if value}
        return {"expression": self.expression, **given} if given else self.expression

    def parsed(self, columns: Mapping[str, FeatureType]) -> Expression:
        """The checked expression, as a value of the feature's type.

        :param columns: types of the columns that it may read.
        :raises ValueError: it cannot be used; the message says why.
        """
        # The parser takes its time to import; a file that only passes columns on does without it.
        from hopsworks_flink.pipeline.expressions import Expression

        plain = self.expression in columns
        expression = Expression.parse(f'"{self.expression}"' if plain else self.expression, columns)
        kind = self.type or expression.type
        if kind is None:
            raise ValueError("NULL has no type; write {expression: …, type: …}")
        return expression.cast(kind)

    def kind(self, columns: Mapping[str, FeatureType | None]) -> FeatureType | None:
        """The feature's type; None if the expression, or a column that it reads, is wrong."""
        usable = _usable(columns)
        try:
            return self.type or usable.get(self.expression) or self.parsed(usable).type
        except ValueError:
            return None

    def problem(self, columns: Mapping[str, FeatureType | None]) -> str | None:
        """What is wrong over these columns, or None.

        :param columns: None as the type of one that is wrong itself, which is told there.
        """
        usable = _usable(columns)
        if self.type is None and self.expression in usable:
            return None
        try:
            self.parsed(usable)
        except ValueError as error:
            unclear = columns.keys() - usable.keys()
            return None if unclear.intersection(re.findall(r"\w+", self.expression)) else str(error)
        return None


def _usable(columns: Mapping[str, FeatureType | None]) -> dict[str, FeatureType]:
    return {name: declared for name, declared in columns.items() if declared is not None}
