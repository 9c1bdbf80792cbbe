"""The aggregates of a pipeline file: ``count``, ``{avg: amount}``, ``{sum: amount, where: "ok", default: 0}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, Field, model_serializer, model_validator

from hopsworks_flink.pipeline.spec.base import Model
from hopsworks_flink.pipeline.spec.durations import Duration, format_duration
from hopsworks_flink.pipeline.spec.problems import unquoted
from hopsworks_flink.pipeline.spec.source import expression_problem
from hopsworks_flink.pipeline.types import BIGINT, BOOLEAN, DOUBLE, FeatureType, Type, array, decimal
from hopsworks_flink.pipeline.values import check_value

COUNTS = ("count", "count_distinct", "approx_count_distinct")
MOMENTS = ("avg", "stddev_samp", "stddev_pop", "var_samp", "var_pop")
EXTREMES = ("min", "max")
POSITIONS = ("first_value", "last_value")
TIMES = ("time_since_last",)
PAIRS = ("covar_samp", "covar_pop", "corr")
RANKS = ("median", "percentile")
# Of all values of a window, of at most MOST_VALUES different ones.
FREQUENT = ("mode", "top_k", *RANKS)
# Arrays, of n values at most.
ORDERED = ("first_n", "last_n")
LISTS = (*ORDERED, "collect_distinct", "top_k")
FUNCTIONS = (*COUNTS, "share", "sum", *MOMENTS, *PAIRS, *EXTREMES, *POSITIONS, *TIMES, "mode", *RANKS, *LISTS)
# Those that Flink's SQL does not have: flink_jobs/java has them.
IN_JAVA = ("approx_count_distinct", *PAIRS, "mode", *RANKS, *LISTS)
MOST_VALUES = 10_000
_OF_EVENTS = ("count", *TIMES)
# See `Aggregate.limit`.
_LARGEST_DOUBLE, _EXACT_DOUBLE, _EXACT_BIGINT, _SUMMED_DIGITS, _SQUARED_DIGITS = 150, 13, 16, 28, 30
_SETTINGS = ("p", "n", "where", "window", "default", "type", "description")


class Aggregate(Model):
    """One aggregate function over the events of a window.

    :param function: one of `FUNCTIONS`.
    :param column: a column of the source or a derived one; None only for ``count`` and ``time_since_last``, which then
        are about events. Null
        values are left out by every function, as SQL has it, and NaN with them. ``stddev_samp`` and ``var_samp`` of a
        single value are null. ``first_value`` and ``last_value`` go by event time; of equal ones, by the order in the
        topic.
    :param other: the second column of a covariance or correlation.
    :param p: of a percentile: the share of the values that lie below it, 0 to 1.
    :param n: of an array: how many values it has at most.
    :param where: SQL condition; only events for which it is true are aggregated.
    :param window: how far the aggregate looks back from the window's end, at most its size; None: as far as that.
    :param default: value in place of null.
    :param type: what the result is cast to, null where that does not hold it.
    :param description: of the feature.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    function: str
    column: str | None = None
    other: str | None = None
    p: float | None = Field(default=None, ge=0, le=1)
    n: int | None = Field(default=None, ge=1, le=1000)
    where: str | None = Field(default=None, min_length=1, max_length=10_000)
    window: Duration | None = None
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
        column, other = cls._operands(function, column)
        settings = {name: data[name] for name in _SETTINGS if name in data}
        if (function == "percentile") != (settings.get("p") is not None):
            wanted = "wants a p from 0 to 1: {percentile: amount, p: 0.95}" if function == "percentile" else "has no p"
            raise ValueError(f"{function} {wanted}")
        if (function in LISTS) != (settings.get("n") is not None):
            wanted = f"wants an n, how many at most: {{{function}: page, n: 5}}" if function in LISTS else "has no n"
            raise ValueError(f"{function} {wanted}")
        if hasattr(settings.get("default"), "isoformat"):
            # Of data that another YAML reader has made.
            settings["default"] = settings["default"].isoformat()
        return {"function": function, "column": column, "other": other, **settings}

    @staticmethod
    def _operands(function: str, column: Any) -> tuple[str | None, str | None]:
        """The columns that are named behind a function."""
        if function in PAIRS:
            if not isinstance(column, list) or len(column) != 2 or not all(isinstance(name, str) for name in column):
                raise ValueError(f"{function} wants the names of two columns, [x, y]; they are not {column!r}")
            return column[0], column[1]
        if not isinstance(column, str):
            raise ValueError(f"{function} wants the name of a column: {unquoted(column) or f'it is not {column!r}'}")
        if column != "*":
            return column, None
        if function not in _OF_EVENTS:
            raise ValueError(
                f"{function} wants the name of a column; only {' and '.join(_OF_EVENTS)} are about events with '*'"
            )
        return None, None

    @property
    def columns(self) -> list[str]:
        """The columns that it names."""
        return [name for name in (self.column, self.other) if name is not None]

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        settings = {name: value for name in _SETTINGS if (value := getattr(self, name)) is not None}
        if not self.description:
            del settings["description"]
        if self.window is not None:
            settings["window"] = format_duration(self.window)
        if self.type is not None:
            settings["type"] = str(self.type)
        if self.column is None:
            return {self.function: "*", **settings} if settings or self.function != "count" else "count"
        return {self.function: self.columns if self.other else self.column, **settings}

    def problems(self, columns: Mapping[str, FeatureType]) -> Iterator[str]:
        """What is wrong with this aggregate over these columns; None as a type: the column is wrong itself."""
        usable = True
        for name in self.columns:
            declared = columns.get(name)
            usable &= declared is not None
            if name not in columns:
                yield f"column {name!r} is not in source.schema, which has {', '.join(columns)}"
            elif declared is not None and (problem := self._problem_with_type(name, declared)):
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
        elif self.function in LISTS:
            yield "default: an array has none; remove default"
        elif usable and (problem := check_value(self.default, self.feature_type(columns))):
            yield f"default: {problem}"

    def _problem_with_type(self, name: str, declared: FeatureType) -> str | None:
        if self.function in ("sum", *MOMENTS, *PAIRS, *RANKS) and not declared.is_numeric:
            return f"{self.function} needs a numeric column, and {name!r} is {declared}"
        if self.function == "share" and declared != BOOLEAN:
            return f"share needs a boolean column, and {name!r} is {declared}; derive one with the condition"
        if self.function == "approx_count_distinct" and declared.is_floating:
            return f"approx_count_distinct needs values that compare exactly, and {name!r} is {declared}"
        if self.function in EXTREMES and declared.name in ("boolean", "binary"):
            return f"{self.function} needs a column of numbers, texts, dates or timestamps, and {name!r} is {declared}"
        if self.function not in ("count", *TIMES) and declared.name == "binary":
            return f"{self.function} cannot compare or carry bytes, and {name!r} is binary; declare it string"
        return None

    def feature_type(self, columns: Mapping[str, FeatureType]) -> FeatureType:
        """Type of the feature."""
        return self.type or self.result_type(columns)

    def result_type(self, columns: Mapping[str, FeatureType]) -> FeatureType:
        """Type of what the function gives.

        Wide enough not to overflow or truncate: Flink's own AVG of an INT is an INT.
        """
        if self.function in COUNTS:
            return BIGINT
        if self.column is None:
            return DOUBLE
        declared = columns[self.column]
        if self.function in LISTS:
            return array(declared)
        if self.function in (*EXTREMES, *POSITIONS, "mode"):
            return declared
        if self.function == "sum" and declared.is_integer:
            return BIGINT
        if self.function == "sum" and declared.is_decimal:
            return decimal(38, declared.scale)
        return DOUBLE

    def zero_where_empty(self, columns: Mapping[str, FeatureType]) -> bool:
        """Whether ``on_empty: zero`` makes it 0: if it is a number. No time has passed since no event, nor none."""
        return self.default is None and self.function not in TIMES and self.result_type(columns).is_numeric

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
