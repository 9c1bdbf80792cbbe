"""The aggregates of a pipeline file: ``count``, ``{avg: amount}``, ``{sum: amount, where: "ok", default: 0}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, Field, model_serializer, model_validator

from hopsworks_flink.pipeline.spec.base import Model
from hopsworks_flink.pipeline.spec.problems import unquoted
from hopsworks_flink.pipeline.spec.source import expression_problem
from hopsworks_flink.pipeline.types import BIGINT, DOUBLE, FeatureType, Type, decimal
from hopsworks_flink.pipeline.values import check_value

COUNTS = ("count", "count_distinct")
MOMENTS = ("avg", "stddev_samp", "stddev_pop", "var_samp", "var_pop")
EXTREMES = ("min", "max")
POSITIONS = ("first_value", "last_value")
FUNCTIONS = (*COUNTS, "sum", *MOMENTS, *EXTREMES, *POSITIONS)
# See `Aggregate.limit`.
_LARGEST_DOUBLE, _EXACT_DOUBLE, _EXACT_BIGINT, _SUMMED_DIGITS, _SQUARED_DIGITS = 150, 13, 16, 28, 30
_SETTINGS = ("where", "default", "type", "description")


class Aggregate(Model):
    """One aggregate function over the events of a window.

    :param function: one of `FUNCTIONS`.
    :param column: a column of the source or a derived one; None only for ``count``, which then counts events. Null
        values are left out by every function, as SQL has it, and NaN with them. ``stddev_samp`` and ``var_samp`` of a
        single value are null. ``first_value`` and ``last_value`` go by event time; of equal ones, by the order in the
        topic.
    :param where: SQL condition; only events for which it is true are aggregated.
    :param default: value in place of null.
    :param type: what the result is cast to, null where that does not hold it.
    :param description: of the feature.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    function: str
    column: str | None = None
    where: str | None = Field(default=None, min_length=1, max_length=10_000)
    default: bool | int | float | str | None = None
    type: Type | None = None
    description: str = Field(default="", max_length=256)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        allowed = f"write count, or {{function: column}} with a function out of {', '.join(FUNCTIONS)}"
        if data == "count":
            return {"function": "count"}
        if isinstance(data, Aggregate):
            return data
        if not isinstance(data, Mapping):
            raise ValueError(f"{data!r} is not an aggregate; {allowed}")
        named = {name: value for name, value in data.items() if name not in _SETTINGS}
        if len(named) != 1:
            raise ValueError(
                f"{data!r} is not an aggregate; {allowed}, and if need be {', '.join(_SETTINGS)} beside it"
            )
        function, column = next(iter(named.items()))
        if function not in FUNCTIONS:
            raise ValueError(f"unknown function {function!r}; {allowed}")
        if not isinstance(column, str):
            raise ValueError(f"{function} wants the name of a column: {unquoted(column) or f'it is not {column!r}'}")
        if column == "*" and function != "count":
            raise ValueError(f"{function} wants the name of a column; only count can count events with '*'")
        settings = {name: data[name] for name in _SETTINGS if name in data}
        if hasattr(settings.get("default"), "isoformat"):
            # Of data that another YAML reader has made.
            settings["default"] = settings["default"].isoformat()
        return {"function": function, "column": None if column == "*" else column, **settings}

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        settings = {name: getattr(self, name) for name in _SETTINGS if getattr(self, name) not in (None, "")}
        if self.type is not None:
            settings["type"] = str(self.type)
        if self.column is None:
            return {"count": "*", **settings} if settings else "count"
        return {self.function: self.column, **settings}

    def problems(self, columns: Mapping[str, FeatureType]) -> Iterator[str]:
        """What is wrong with this aggregate over these columns; None as a type: the column is wrong itself."""
        declared = columns.get(self.column) if self.column is not None else None
        usable = self.column is None or declared is not None
        if self.column is not None and self.column not in columns:
            yield f"column {self.column!r} is not in source.schema, which has {', '.join(columns)}"
        elif declared is not None and (problem := self._problem_with_type(declared)):
            yield problem
            usable = False
        if self.where is not None and (problem := expression_problem(self.where, columns, None)):
            yield f"where: {problem}"
        if usable and self.type is not None and (problem := cast_problem(self.result_type(columns), self.type)):
            yield f"type: {problem}"
            usable = False
        if self.default is None:
            return
        if self.function in COUNTS:
            yield f"default: {self.function} is 0 where there is nothing, never null; remove default"
        elif usable and (problem := check_value(self.default, self.feature_type(columns))):
            yield f"default: {problem}"

    def _problem_with_type(self, declared: FeatureType) -> str | None:
        if self.function in ("sum", *MOMENTS) and not declared.is_numeric:
            return f"{self.function} needs a numeric column, and {self.column!r} is {declared}"
        if self.function in EXTREMES and declared.name in ("boolean", "binary"):
            return (
                f"{self.function} needs a column of numbers, texts, dates or timestamps, and {self.column!r} is "
                f"{declared}"
            )
        if self.function in ("count_distinct", *POSITIONS) and declared.name == "binary":
            return f"{self.function} cannot compare or carry bytes, and {self.column!r} is binary; declare it string"
        return None

    def feature_type(self, columns: Mapping[str, FeatureType]) -> FeatureType:
        """Type of the feature."""
        return self.type or self.result_type(columns)

    def result_type(self, columns: Mapping[str, FeatureType]) -> FeatureType:
        """Type of what the function gives.

        Wide enough not to overflow or truncate: Flink's own AVG of an INT is an INT.
        """
        if self.column is None or self.function in COUNTS:
            return BIGINT
        declared = columns[self.column]
        if self.function in (*EXTREMES, *POSITIONS):
            return declared
        if self.function == "sum" and declared.is_integer:
            return BIGINT
        if self.function == "sum" and declared.is_decimal:
            return decimal(38, declared.scale)
        return DOUBLE

    def limit(self, columns: Mapping[str, FeatureType], *, on_event: bool) -> int | None:
        """Exponent of ten of the magnitude that the aggregate's arithmetic cannot hold; None: it holds every number.

        The feature is null while the window holds such a number: what came out would depend on the order of events.
        Infinity is beyond every limit.

        :param on_event: with ``emit: on_event``, where events leave the window again and sums must be exact for that.
        """
        if self.column is None or self.function not in ("sum", *MOMENTS):
            return None
        kind = columns[self.column]
        if kind.is_floating:
            # Beyond the second, squares are infinite.
            return _EXACT_DOUBLE if on_event else _LARGEST_DOUBLE
        if self.function == "sum":
            # Of 38 digits ten are left for the number of events; integers are checked when they are summed up.
            return _SUMMED_DIGITS - kind.scale if kind.precision > _SUMMED_DIGITS else None
        if on_event and kind == BIGINT:
            return _EXACT_BIGINT
        return _SQUARED_DIGITS - kind.scale if on_event and kind.precision > _SQUARED_DIGITS else None


def cast_problem(kind: FeatureType, target: FeatureType) -> str | None:
    """Why a result cannot be cast to a type, or None."""
    from hopsworks_flink.pipeline.expressions import converted

    try:
        converted("", kind, target, "flink")
    except ValueError as error:
        return str(error)
    return None
