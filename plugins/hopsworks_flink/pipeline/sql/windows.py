"""Windows in Flink SQL, and rows that are made of windows of several lengths.

Windows of each length are aggregated by themselves: Flink does that by slices, an event goes into one slice of each
length. Then the rows of all lengths that end at the same time are joined to the row of the longest, which has one
whenever another one has. So values are those of plain windows, in the stream and in batch, and each length costs what
it would cost in a feature group of its own, without the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.aggregates import COUNTS, Aggregate
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.sql import names
from hopsworks_flink.pipeline.sql.aggregates import (
    EVENT_TIME,
    Columns,
    epoch_milliseconds,
    window_value,
    with_default,
)
from hopsworks_flink.pipeline.types import sql_identifier, sql_interval

# The end of a window less a millisecond, as Flink's event time of its row.
ROW_TIME = "__row_time"
# Whether the window has no event: the row is that of `on_empty`.
EMPTY = "__empty"


def window_function(pipeline: Pipeline, group: FeatureGroup, length: timedelta | None = None) -> str:
    """Windowing table-valued function over the group's events.

    :param length: of the windows; None: the group's own.
    """
    view = names.sessions_view if group.has_sessions else names.events_view
    table = f"TABLE {sql_identifier(view(pipeline.source, group.key))}"
    time = f"DESCRIPTOR({sql_identifier(EVENT_TIME)})"
    window, length, data = group.window, length or group.window.size, f"{table}, {time}"
    if window.gap is not None:
        keys = ", ".join(map(sql_identifier, group.key))
        return f"SESSION({table} PARTITION BY ({keys}), {time}, {sql_interval(window.gap)})"
    if window.step is not None and window.is_cumulating:
        return f"CUMULATE({data}, {sql_interval(window.step)}, {sql_interval(length)})"
    if length == window.pane:
        return f"TUMBLE({data}, {sql_interval(length)})"
    return f"HOP({data}, {sql_interval(window.pane)}, {sql_interval(length)})"


def ends_decide(group: FeatureGroup) -> bool:
    """Whether a job that begins with a window begins by its end, and not by its start.

    The window that grows then is out up to there, windows of several lengths begin at several times, nobody knows when
    a session began, and rows of events have the events' times.
    """
    on_event = group.emit == "on_event"
    return on_event or group.window.is_cumulating or group.is_joined or group.window.gap is not None


def sessions_of_batch(pipeline: Pipeline, group: FeatureGroup) -> str:
    """The group's events with the session of each one, as `window_function` has them: batch mode has no SESSION."""
    assert group.window.gap is not None
    keys, time = ", ".join(map(sql_identifier, group.key)), epoch_milliseconds(sql_identifier(EVENT_TIME))
    gap, events = milliseconds(group.window.gap), sql_identifier(names.events_view(pipeline.source, group.key))
    by_time = f"PARTITION BY {keys} ORDER BY `__milliseconds`"
    begins = f"`__milliseconds` - LAG(`__milliseconds`) OVER ({by_time}) <= {gap}"
    return f"""(
  SELECT
    *,
    CAST(TO_TIMESTAMP_LTZ(MIN(`__milliseconds`) OVER w, 3) AS TIMESTAMP(3)) AS `window_start`,
    CAST(TO_TIMESTAMP_LTZ(MAX(`__milliseconds`) OVER w + {gap}, 3) AS TIMESTAMP(3)) AS `window_end`
  FROM (
    SELECT *, SUM(`__begins`) OVER ({by_time} RANGE UNBOUNDED PRECEDING) AS `__session` FROM (
      SELECT *, CASE WHEN {begins} THEN 0 ELSE 1 END AS `__begins` FROM (
        SELECT *, {time} AS `__milliseconds` FROM {events}
      )
    )
  )
  WINDOW w AS (PARTITION BY {keys}, `__session`)
)"""


def joined_views(pipeline: Pipeline, group: FeatureGroup, order: Sequence[str]) -> list[str]:
    """Views of these rows, if a group has such ones: one for each length, and one that joins them.

    :param order: of the features, as registered.
    """
    if not group.is_joined or group in pipeline.native_groups:
        return []
    # So that the plan stays what it is when features change their places in the file.
    aggregates = {name: group.aggregates[name] for name in order if name in group.aggregates}
    group = group.model_copy(update={"aggregates": aggregates})
    views = {length: names.windows_view(group, length) for length in group.lengths}
    return [
        *(_of_length(pipeline, group, length, name) for length, name in views.items()),
        _join(group, [sql_identifier(name) for name in views.values()]),
    ]


def joined_features(pipeline: Pipeline, group: FeatureGroup) -> dict[str, str]:
    """What the features are, over the view's columns: where a length has no event, its columns are null."""
    columns, found = pipeline.source.all_columns, {}
    for feature, aggregate in group.aggregates.items():
        value = sql_identifier(feature)
        if aggregate.function in COUNTS:
            value = f"COALESCE({value}, 0)"
        value = joined_feature(group, aggregate, columns, value, sql_identifier(EMPTY))
        if value != sql_identifier(feature):
            found[feature] = value
    return found


def joined_feature(group: FeatureGroup, aggregate: Aggregate, columns: Columns, value: str, empty: str) -> str:
    """A feature of a row, which may be made of several lengths.

    :param value: the same before its default; null where its length has no event, 0 if it is a count.
    :param empty: condition that the window has no event.
    """
    value = with_default(aggregate, columns, value)
    if group.on_empty == "zero" and aggregate.function not in COUNTS and aggregate.zero_where_empty(columns):
        kind = aggregate.feature_type(columns).sql
        value = f"CASE WHEN {empty} THEN CAST(0 AS {kind}) ELSE {value} END"
    return value


def _of_length(pipeline: Pipeline, group: FeatureGroup, length: timedelta, name: str) -> str:
    keys = [sql_identifier(column) for column in group.key]
    selected = [*keys, f"`window_time` AS {sql_identifier(ROW_TIME)}"]
    if length == group.window.size and group.on_empty == "zero":
        selected.append(f"FALSE AS {sql_identifier(EMPTY)}")
    for feature, aggregate in group.aggregates.items():
        if group.length_of(aggregate) == length:
            value = window_value(aggregate, pipeline.source.all_columns)
            selected.append(f"{value} AS {sql_identifier(feature)}")
    select_list = ",\n  ".join(selected)
    return (
        f"CREATE TEMPORARY VIEW {sql_identifier(name)} AS\nSELECT\n  {select_list}\n"
        f"FROM {window_function(pipeline, group, length)}\n"
        f"GROUP BY {', '.join(keys)}, `window_start`, `window_end`, `window_time`"
    )


def _join(group: FeatureGroup, views: Sequence[str]) -> str:
    """The rows of the longest windows, with those of the others that end at the same time.

    Flink joins windows that are the same: here the slide at whose end all of them end.
    """
    keys = [sql_identifier(column) for column in group.key]
    longest, *others = views
    selected = [f"{longest}.{column}" for column in (*keys, "`window_end`")]
    if group.on_empty == "zero":
        selected.append(f"COALESCE({sql_identifier(EMPTY)}, TRUE) AS {sql_identifier(EMPTY)}")
    selected += map(sql_identifier, group.aggregates)
    joined = f"(\n  SELECT * FROM {_by_end(group, longest)}\n) AS {longest}"
    for view in others:
        same = "\n  AND ".join(
            f"{longest}.{column} = {view}.{column}" for column in (*keys, "`window_start`", "`window_end`")
        )
        joined += f"\nLEFT JOIN (\n  SELECT * FROM {_by_end(group, view)}\n) AS {view}\nON {same}"
    select_list = ",\n  ".join(selected)
    name = sql_identifier(names.windows_view(group))
    return f"CREATE TEMPORARY VIEW {name} AS\nSELECT\n  {select_list}\nFROM {joined}"


def _by_end(group: FeatureGroup, view: str) -> str:
    return f"TUMBLE(TABLE {view}, DESCRIPTOR({sql_identifier(ROW_TIME)}), {sql_interval(group.window.pane)})"
