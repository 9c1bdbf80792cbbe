"""Windows that are not SQL's: operators in Java (flink_jobs/java) between two views, with ``engine: native``.

The view before them makes one column of every expression that is aggregated, the INSERT behind them makes features of
the aggregates: both are the SQL of the other windows, whose rules hold here as well. What lies between is a step of the
plan, which the runner hands to Java. A row for each event is a window as well: one that ends with the event, made of
panes of a millisecond. Features may look back by several lengths, which are made of the same panes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.aggregates import MOMENTS, Aggregate
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.sql import names
from hopsworks_flink.pipeline.sql.aggregates import (
    EVENT_TIME,
    Columns,
    chosen_value,
    feature_value,
    present_value,
    within,
)
from hopsworks_flink.pipeline.sql.events import Step
from hopsworks_flink.pipeline.sql.windows import joined_feature
from hopsworks_flink.pipeline.types import DOUBLE, sql_identifier


class NativeWindows:
    """Windows and their aggregates, of all feature groups that have the same ones.

    :param view: name of the view with them.
    :param values: expressions over an event, by the name of their column.
    :param calls: function, column (None: events), and panes that it looks back at, by the name of the result.
    :param features: group → feature → expression over the results.
    """

    def __init__(self, pipeline: Pipeline, groups: Sequence[FeatureGroup]) -> None:
        self.first, self.source = groups[0], pipeline.source
        self.on_event = self.first.emit == "on_event"
        self.view = names.windows_view(self.first)
        self.values: dict[str, str] = {}
        self.calls: dict[str, tuple[str, str | None, int]] = {}
        columns = pipeline.source.all_columns
        # The window's length before an event belongs to it, and so does the event's own millisecond.
        self.panes = milliseconds(self.first.window.size) + 1 if self.on_event else self._panes(self.first.row_length)
        # By name: so that the plan stays what it is when features change their places in the file.
        self.features = {
            group.full_name: {
                feature: self._feature(group, group.aggregates[feature], columns)
                for feature in sorted(group.aggregates)
            }
            for group in groups
        }

    def _panes(self, length: timedelta) -> int:
        return length // self.first.window.pane

    def _feature(self, group: FeatureGroup, aggregate: Aggregate, columns: Columns) -> str:
        panes = self.panes if self.on_event else self._panes(group.length_of(aggregate))
        value, empty = self._value(aggregate, columns, panes), ""
        if group.on_empty == "zero":
            empty = f"{self._call('COUNT', None, self._panes(group.window.size))} = 0"
        return joined_feature(group, aggregate, columns, value, empty)

    def _value(self, aggregate: Aggregate, columns: Columns, panes: int) -> str:
        """The feature before its default."""

        def call(function: str, value: str) -> str:
            if value == "*" and aggregate.where is None:
                return self._call(function, None, panes)
            return self._call(function, chosen_value(aggregate, columns, "1" if value == "*" else value), panes)

        if aggregate.function not in ("sum", *MOMENTS) or aggregate.result_type(columns) != DOUBLE:
            return feature_value(aggregate, columns, call)
        assert aggregate.column is not None
        kind = columns[aggregate.column]
        column, limit = sql_identifier(aggregate.column), aggregate.limit(columns, on_event=self.on_event)
        function = f"{aggregate.function.upper()}({{}})"
        if limit is None:
            return call(function, f"TRY_CAST({column} AS DOUBLE)")
        # Java's sums are exact, and of finite numbers only.
        held = f"ABS({column}) < 1E{limit}" if kind.is_floating else within(column, limit)
        held = f"CASE WHEN {held} THEN CAST({column} AS DOUBLE) END"
        present = present_value(aggregate.column, kind)
        every = f"{call('COUNT({})', present)} = {call('COUNT({})', held)}"
        return f"CASE WHEN {every} THEN {call(function, held)} END"

    def _call(self, function: str, value: str | None, panes: int) -> str:
        column = None if value is None else _name(self.values, "__v", value)
        return sql_identifier(_name(self.calls, "__a", (function.partition("(")[0], column, panes)))

    def steps(self) -> list[str | Step]:
        """What makes the view: one of SQL, which the operators read, and the operators."""
        group, window = self.first, self.first.window
        values = names.values_view(group)
        selected = [sql_identifier(name) for name in (*group.key, EVENT_TIME)]
        selected += [f"{expression} AS {sql_identifier(name)}" for name, expression in self.values.items()]
        select_list = ",\n  ".join(selected)
        view = (
            f"CREATE TEMPORARY VIEW {sql_identifier(values)} AS\nSELECT\n  {select_list}\n"
            f"FROM {sql_identifier(names.events_view(self.source, group.key))}"
        )
        step = {
            "table": values,
            "view": self.view,
            "name": names.windows_in_words(group),
            "keys": len(group.key),
            "pane": 1 if self.on_event else milliseconds(window.pane),
            "panes": self.panes,
            "emit": "EVENT" if self.on_event else "STEP" if window.is_cumulating else "SLIDE",
            "aggregates": [
                # By what a column holds, state is found again: its name changes with the others.
                {"name": name, "function": function, "column": column, "of": self.values.get(column or "")}
                | ({"panes": panes} if group.is_joined else {})
                for name, (function, column, panes) in self.calls.items()
            ],
        }
        return [view, {"windows": step}]


def _name(names: dict[str, Any], prefix: str, value: Any) -> str:
    for name, present in names.items():
        if present == value:
            return name
    name = f"{prefix}{len(names)}"
    names[name] = value
    return name


def native_windows(pipeline: Pipeline, group: FeatureGroup) -> NativeWindows | None:
    """The windows of a group; None: they are SQL's."""
    return next((NativeWindows(pipeline, groups) for groups in pipeline.native_windows if group in groups), None)


def window_steps(pipeline: Pipeline) -> list[str | Step]:
    """What makes the views of all native windows."""
    return [step for groups in pipeline.native_windows for step in NativeWindows(pipeline, groups).steps()]
