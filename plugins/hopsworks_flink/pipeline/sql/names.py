"""What the tables and views of a job are called: what they hold, in the words of topic, key and feature groups.

Flink's pages show them. Topics and feature groups have no space in their names, so none is taken for a view.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.durations import format_duration
from hopsworks_flink.pipeline.spec.source import Source

# Settings of Flink that the runner gives to the planner when it makes it; a planner that is there ignores them.
_CATALOG, _DATABASE = "table.builtin-catalog-name", "table.builtin-database-name"
_PART = re.compile(r"(\d+)([a-z]+)")


def catalog(pipeline: Pipeline) -> dict[str, str]:
    """Settings of a plan by which its tables stand in a database of the pipeline's name."""
    return {_CATALOG: "features", _DATABASE: pipeline.name}


def source_table(source: Source) -> str:
    """The source topic's events: ``orders``."""
    return source.topic


def files_table(source: Source) -> str:
    """Events in files, which stand in for the topic's."""
    return f"{source.topic} files"


def arrived_view(source: Source) -> str:
    """All that the topic has, where late events are told apart from those that count once."""
    return f"{source.topic} arrived"


def on_time_view(source: Source) -> str:
    """The events that are not late, before those that are sent twice are left out."""
    return f"{source.topic} on time"


def late_view(source: Source) -> str:
    """The events that are late."""
    return f"{source.topic} late"


def read_view(source: Source) -> str:
    """The events as they come from the source, where others share them."""
    return f"{source.topic} read"


def prepared_view(source: Source) -> str:
    """The events that count, with their derived columns."""
    return f"{source.topic} prepared"


def unjoined_view(source: Source) -> str:
    """The events without those that are sent twice, before anything is joined to them."""
    return f"{source.topic} once"


def versions_table(join: str) -> str:
    """The topic of a join."""
    return f"{join} topic"


def versions_view(join: str) -> str:
    """Its records as versions."""
    return f"{join} versions"


def joined_view(source: Source, join: str) -> str:
    """The events with the columns of a join, and of those before it: ``orders with limits``."""
    return f"{source.topic} with {join}"


def unprepared(source: Source) -> str:
    """The events with all that is joined to them, before anything is derived from their columns."""
    *_, last = ["", *source.join]
    return joined_view(source, last) if last else source_table(source)


def events_view(source: Source, key: Sequence[str]) -> str:
    """The events that have a key: ``orders by shop``; feature groups with the same key share it."""
    return f"{source.topic} by {', '.join(key)}"


def sessions_view(source: Source, key: Sequence[str]) -> str:
    """These events as sessions see them, in the stream."""
    return f"{events_view(source, key)} for sessions"


def running_view(source: Source, key: Sequence[str]) -> str:
    """These events as running aggregates see them, in the stream: those that are late are left out."""
    return f"{events_view(source, key)} on time"


def group_table(group: FeatureGroup) -> str:
    """A feature group's rows on their way to it: ``shop_hourly v1``."""
    return f"{group.name} v{group.version}"


def values_view(group: FeatureGroup) -> str:
    """What native windows aggregate."""
    return f"{group_table(group)} values"


def windows_view(group: FeatureGroup, length: timedelta | None = None) -> str:
    """Rows of windows: of one length, or as they go to the group."""
    return f"{group_table(group)} windows" + (f" of {format_duration(length)}" if length else "")


def windows_in_words(group: FeatureGroup) -> str:
    """What a group's windows are, as Java's ``Words`` says it of SQL's: ``10 m every 1 m by cc_num``."""
    lengths = sorted({group.window.size, *map(group.length_of, group.aggregates.values())}, reverse=True)
    window, by, size = group.window, f"by {', '.join(group.key)}", ", ".join(map(_spaced, lengths))
    if group.emit == "on_event":
        return f"{size} before each event {by}"
    if window.is_tumbling:
        return f"{size} {by}"
    return f"{'up to ' if window.is_cumulating else ''}{size} every {_spaced(window.pane)} {by}"


def _spaced(duration: timedelta) -> str:
    return " ".join(part for pair in _PART.findall(format_duration(duration)) for part in pair)
