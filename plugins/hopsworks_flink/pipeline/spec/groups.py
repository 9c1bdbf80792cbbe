"""What is computed: feature groups, their windows and aggregates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hopsworks_flink.pipeline.spec.aggregates import IN_JAVA, TIMES, Aggregate
from hopsworks_flink.pipeline.spec.base import HOPSWORKS_NAME, WINDOW_COLUMNS, FullName, Model, Name, Topic
from hopsworks_flink.pipeline.spec.durations import Duration, format_duration
from hopsworks_flink.pipeline.spec.group.projection import Projection
from hopsworks_flink.pipeline.spec.group.registration import OnlineConfig, StatisticsConfig
from hopsworks_flink.pipeline.spec.group.times import EventTimeFeature, WindowStart
from hopsworks_flink.pipeline.spec.online_types import (
    MOST_KEY_BYTES,
    MOST_ROW_BYTES,
    OnlineType,
    default_online_type,
    misfit,
    online_array,
    size,
)
from hopsworks_flink.pipeline.spec.problems import refuse
from hopsworks_flink.pipeline.types import FeatureType

# `engine: native` keeps all panes of a key as one value. A window that grows keeps the ones to come only.
MOST_PANES = 1440
# What the names of topics end with that the online store reads.
ONLINE_TOPIC = "_onlinefs"


class Window(Model):
    """Windows over event time, aligned to the epoch, from their start to just before their end; or sessions.

    :param size: length of a window, whole seconds. Of a session the longest that has a row, by default a day.
    :param slide: distance between the starts of windows; divides ``size``. Without it windows tumble.
    :param step: the window grows by this much until it has its size, and is emitted at each step; divides ``size``.
    :param gap: a session begins with an event after a longer silence of its key, and ends so long after its last event.
    """

    size: Duration
    slide: Duration | None = None
    step: Duration | None = None
    gap: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def _longest_session(cls, data: Any) -> Any:
        return {"size": "1d", **data} if isinstance(data, Mapping) and data.get("gap") is not None else data

    @model_validator(mode="after")
    def _arithmetic(self) -> Window:
        refuse(self._unit_problems())
        refuse(self._ratio_problems())
        return self

    def _unit_problems(self) -> Iterator[str]:
        for field in ("size", "slide", "step", "gap"):
            value = getattr(self, field)
            if value is not None and (value < timedelta(seconds=1) or value % timedelta(seconds=1)):
                yield f"{field} is {format_duration(value)}; it must be a whole number of seconds, 1s or more"

    def _ratio_problems(self) -> Iterator[str]:
        size = format_duration(self.size)
        if self.gap is not None:
            if self.slide is not None or self.step is not None:
                yield "gap is for sessions, which have no slide and no step; remove one"
            if self.gap >= self.size:
                yield f"gap {format_duration(self.gap)} must be shorter than size {size}, the longest session"
            return
        if self.slide is not None and self.step is not None:
            yield "slide and step exclude each other: windows either overlap or grow; remove one"
        if self.slide is not None:
            slide = format_duration(self.slide)
            if self.slide > self.size:
                yield f"slide {slide} is longer than size {size}: events in between would count nowhere"
            elif self.size % self.slide:
                yield f"size {size} must be a multiple of slide {slide}"
        if self.step is not None and (self.step > self.size or self.size % self.step):
            yield f"size {size} must be a multiple of step {format_duration(self.step)}"

    @property
    def pane(self) -> timedelta:
        """The longest piece of time of which every window is made."""
        return self.step or self.slide or self.size

    @property
    def panes(self) -> int:
        """How many of them a whole window has."""
        return self.size // self.pane

    @property
    def is_tumbling(self) -> bool:
        """Whether every event falls into exactly one window."""
        return self.step in (None, self.size) and self.slide in (None, self.size)

    @property
    def is_cumulating(self) -> bool:
        """Whether windows are emitted several times while they grow."""
        return self.step is not None and not self.is_tumbling


class FeatureGroup(Model):
    """One feature group: a key, and either a window with aggregates over the events of a key in it, or features that
    are made of one event each.

    :param name: name of the feature group, ``[a-z][a-z0-9_]*``, at most 63 characters.
    :param version: version of the feature group, 1 or more.
    :param key: columns that identify an entity; they become the primary key.
    :param emit: ``on_window``: one row for each key and window, when the window is complete; ``on_event``: one row for
        each event, over the events of its key from ``window.size`` before it up to itself, both ends included.
    :param window: which events are aggregated together.
    :param aggregates: feature name → aggregate, in the order of the features.
    :param features: instead of window and aggregates: feature name → expression, or the names of columns. One row for
        each event, late ones too, as soon as it is read.
    :param on_empty: one more row for a key whose window has emptied, so that what is served does not stay that of its
        last events: the row of a window without events (``"null"``, in quotes), or with 0 for each number that has
        no default (``zero``). None: a window without events has no row.
    :param event_time: ``window_end`` adds the window's end as a feature and event time of the group, ``event`` (for
        rows of events) the event's own time as ``event_time``; ``{feature: …, is: …, type: …}`` under another name, or
        as ``bigint``, milliseconds. Without it the offline store keeps only the newest row of a key.
    :param window_start: ``true`` adds the window's start as a feature; ``{feature: …, type: …}`` as `event_time`.
    :param order: names of all features in the order of a new group; without it: key, aggregates or features, start of
        the window, event time.
    :param ttl: how long a row counts, from its event time.
    :param upsert_if_newer: whether an online row is only replaced by one with a later event time.
    :param online: whether rows go to the online store.
    :param online_types: feature name → type of its column in the online store; of the others the platform's default,
        which is ``varchar(100)`` for a string.
    :param offline: whether rows go to the offline store.
    :param description: shown in the feature store, at most 256 characters.
    :param tags: name → value; the names are those of the platform's schemas for tags.
    :param parents: feature groups that this one is made of, such as that of the source topic: ``orders_1``.
    :param partition_key: features by which the offline table is partitioned.
    :param time_travel_format: of the offline table: ``HUDI``, ``DELTA`` or ``NONE``.
    :param topic_name: topic of the group's own for its rows; without it the project's.
    :param online_config: of the online table.
    :param statistics_config: what is computed about the offline rows.
    """

    name: Name
    # Of the size that the platform stores.
    version: int = Field(default=1, ge=1, le=2**31 - 1)
    key: list[str] = Field(min_length=1)
    emit: Literal["on_window", "on_event"] = "on_window"
    # None with `features`: `is_projection` is asked first.
    window: Window = Field(default=None)  # type: ignore[assignment]
    aggregates: dict[Name, Aggregate] = Field(default_factory=dict, min_length=1)
    features: dict[Name, Projection] = Field(default_factory=dict, min_length=1)
    # None where the file is silent. Written it is refused: YAML reads an unquoted null so, which is a word here.
    on_empty: Literal["zero", "null"] = Field(default=None)  # type: ignore[arg-type]
    event_time: EventTimeFeature | None = None
    window_start: WindowStart | None = None
    order: list[str] = Field(default_factory=list)
    ttl: Duration | None = None
    upsert_if_newer: bool = False
    online: bool = True
    online_types: dict[str, OnlineType] = Field(default_factory=dict)
    offline: bool = True
    description: str = Field(default="", max_length=256)
    tags: dict[str, Any] = Field(default_factory=dict)
    parents: list[FullName] = Field(default_factory=list)
    partition_key: list[str] = Field(default_factory=list)
    time_travel_format: Literal["HUDI", "DELTA", "NONE"] | None = None
    topic_name: Topic | None = None
    online_config: OnlineConfig | None = None
    statistics_config: StatisticsConfig | None = None

    @property
    def full_name(self) -> str:
        """Name with version, as the platform names tables, subjects and jobs: ``cards_1``."""
        return f"{self.name}_{self.version}"

    @field_validator("features", mode="before")
    @classmethod
    def _names_of_columns(cls, features: Any) -> Any:
        if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
            return features
        if len(set(features)) < len(features):
            raise ValueError("a column is named twice")
        return dict(zip(features, features, strict=True))

    @property
    def has_sessions(self) -> bool:
        """Whether its windows are sessions."""
        return not self.is_projection and self.window.gap is not None

    @property
    def is_projection(self) -> bool:
        """Whether features are made of single events, without windows."""
        return bool(self.features)

    @property
    def required(self) -> list[str]:
        """Features without which an event has no row."""
        return [name for name, feature in self.features.items() if feature.required]

    @property
    def by_event(self) -> bool:
        """Whether there is a row for each event, and not for each window."""
        return self.is_projection or self.emit == "on_event"

    @property
    def sql_only(self) -> str | None:
        """Why the group is computed by Flink's SQL whatever the engine is, a sentence part; None: it need not be."""
        if self.is_projection:
            return "its features are made of single events, and it has no windows"
        if self.window.gap is not None:
            return "sessions are no panes"
        if self.window.panes > MOST_PANES and not self.window.is_cumulating:
            return f"a window is {self.window.panes} slides long; native windows have at most {MOST_PANES}"
        for name, aggregate in self.aggregates.items():
            if aggregate.function == "count_distinct":
                return f"{name} is a count_distinct, which keeps every value"
            if aggregate.function in IN_JAVA:
                return f"{name} is a {aggregate.function}, which native windows do not have"
        return None

    @property
    def reach(self) -> timedelta:
        """How far before a row's time the first event may lie that has to do with the row.

        A session of the longest length is one only if nothing came in the gap before it.
        """
        gap = None if self.is_projection else self.window.gap
        return self.row_length + (gap or timedelta())

    @property
    def row_length(self) -> timedelta:
        """For how long an event gives rows to its key: with ``on_empty`` a slide longer than it is in windows."""
        if self.is_projection:
            return timedelta()
        return self.window.size + (self.window.pane if self.on_empty else timedelta())

    @property
    def lengths(self) -> list[timedelta]:
        """How far features look back from the end of a window, and rows do for an event: longest first."""
        found = {self.row_length, *map(self.length_of, self.aggregates.values())}
        if self.on_empty == "zero":
            # Whether it is empty is asked of the whole window.
            found.add(self.window.size)
        return sorted(found, reverse=True)

    def length_of(self, aggregate: Aggregate) -> timedelta:
        """How far one of the aggregates looks back."""
        return aggregate.window or self.window.size

    @property
    def is_joined(self) -> bool:
        """Whether a row is made of windows of several lengths."""
        return len(self.lengths) > 1

    def online_type(self, name: str, kind: FeatureType) -> str | None:
        """Type of a feature's online column, if it is not the platform's default. An array's is made to hold it."""
        if kind.element is not None and name not in self.online_types:
            return online_array(kind.element, self.aggregates[name].n or 0)
        return self.online_types.get(name)

    @property
    def event_time_feature(self) -> str | None:
        """Name of the feature that is the group's event time."""
        return self.event_time.feature if self.event_time else None

    @property
    def times(self) -> dict[str, EventTimeFeature | WindowStart]:
        """Features with a time of the row, by name."""
        return {time.feature: time for time in (self.window_start, self.event_time) if time}

    @property
    def feature_names(self) -> list[str]:
        """All features in their order."""
        return self.order or [*self.key, *self.aggregates, *self.features, *self.times]

    def feature_types(self, columns: Mapping[str, FeatureType]) -> dict[str, FeatureType]:
        """Types of the features in their order, over these columns; without those whose columns are wrong (None)."""
        kinds = {name: columns.get(name) for name in self.key}
        for name, aggregate in self.aggregates.items():
            if aggregate and all(columns.get(column) for column in aggregate.columns):
                kinds[name] = aggregate.feature_type(columns)
        kinds |= {name: feature.kind(columns) for name, feature in self.features.items() if feature}
        kinds |= {name: time.kind for name, time in self.times.items()}
        return {name: kind for name in self.feature_names if (kind := kinds.get(name)) is not None}

    @model_validator(mode="after")
    def _consistent(self) -> FeatureGroup:
        refuse(self.problems())
        return self

    def problems(self) -> Iterator[str]:
        """What is wrong between the settings. A window that is wrong itself may be None."""
        yield from self._shape_problems()
        yield from self._feature_problems()
        yield from self._emission_problems()
        yield from self._length_problems() if self.window else ()
        yield from self._storage_problems()
        yield from self._online_problems()

    def online_problems(self, columns: Mapping[str, FeatureType]) -> Iterator[str]:
        """What the online store would not take of these columns' types."""
        kinds = self.feature_types(columns)
        sizes = {}
        for name, kind in kinds.items() if self.online else ():
            given = self.online_type(name, kind)
            if given and (problem := misfit(given, kind, is_key=name in self.key)):
                yield f"online_types.{name}: {problem}"
            sizes[name] = size(given or default_online_type(kind))
        way_out = "a varchar(n) takes 4n bytes: shorten some in online_types"
        if (key := sum(sizes.get(name, 0) for name in self.key)) > MOST_KEY_BYTES:
            yield f"key: it takes {key} bytes online, and {MOST_KEY_BYTES} are allowed; {way_out}"
        elif (row := sum(sizes.values())) > MOST_ROW_BYTES:
            yield f"a row takes {row} bytes online, and {MOST_ROW_BYTES} are allowed; {way_out}, or make them text"

    def _shape_problems(self) -> Iterator[str]:
        given = [name for name in ("emit", "window", "aggregates", "on_empty") if name in self.model_fields_set]
        if "features" in self.model_fields_set:
            for name in given:
                yield f"{name} is for windows, and features are made of one event each; remove {name}, or features"
        else:
            for name in ("window", "aggregates"):
                if name not in given:
                    yield f"{name} is required; a group has window and aggregates, or features (a row for each event)"

    def _feature_problems(self) -> Iterator[str]:
        if len(set(self.key)) != len(self.key):
            yield f"key names a column twice: {', '.join(self.key)}"
        for column in self.key:
            if not re.match(HOPSWORKS_NAME, column):
                yield (
                    f"key column {column!r} becomes a feature: its name must be lower case letters, digits and "
                    "underscores, begin with a letter and have at most 63 characters"
                )
        for feature in self.aggregates:
            if feature in self.key:
                yield f"aggregates.{feature}: a key column has that name already"
            if feature in WINDOW_COLUMNS:
                yield (
                    f"aggregates.{feature}: the name is taken by the window functions; for the window's end as a "
                    "feature write event_time: window_end"
                )
        for feature in self.features:
            if feature in self.key:
                yield f"features.{feature}: a key column is a feature already; remove it here"
        yield from self._time_problems()

    def _time_problems(self) -> Iterator[str]:
        others = [*self.key, *self.aggregates, *self.features]
        for setting in ("event_time", "window_start"):
            if (time := getattr(self, setting)) is not None:
                if time.feature in others:
                    yield f"{setting} adds a feature {time.feature!r}; rename the other one, or this: {{feature: …}}"
                others.append(time.feature)
        if self.order and sorted(self.order) != sorted(others):
            yield f"order must name each feature once: {', '.join(others)}; it has {', '.join(self.order)}"

    def _emission_problems(self) -> Iterator[str]:
        by, is_ = ("features" if self.is_projection else "on_event"), self.event_time.is_ if self.event_time else None
        if self.emit == "on_event":
            if self.window and (self.window.slide or self.window.step or self.window.gap):
                yield "emit: on_event looks back from each event: window has a size, no slide, no step and no gap"
            for feature, aggregate in self.aggregates.items():
                if aggregate and aggregate.function in (*IN_JAVA, *TIMES):
                    yield f"aggregates.{feature}: {aggregate.function} is for windows; remove emit: on_event, or it"
        if self.by_event:
            if is_ == "window_end":
                yield f"event_time: window_end is for windows; with {by} write event_time: event"
            if self.window_start:
                yield f"window_start is for windows, and {by} has none; remove it"
        elif is_ == "event":
            yield "event_time: event is for features and emit: on_event; windows have event_time: window_end"

    def _length_problems(self) -> Iterator[str]:
        one_length = None
        if self.emit == "on_event":
            one_length = "emit: on_event looks back by one length, window.size"
        elif self.window.is_cumulating:
            one_length = "a window that grows has one length at each step"
        elif self.window.gap is not None:
            one_length = "a session is as long as it is"
        size, slide = format_duration(self.window.size), format_duration(self.window.pane)
        for feature, aggregate in self.aggregates.items():
            if aggregate is None or aggregate.window is None:
                continue
            at, length = f"aggregates.{feature}.window", format_duration(aggregate.window)
            if one_length:
                yield f"{at}: {one_length}; remove it, or make another feature group"
            elif aggregate.window > self.window.size:
                yield f"{at}: {length} is longer than window.size {size}, which decides of rows; make that {length}"
            elif not aggregate.window or aggregate.window % self.window.pane:
                yield f"{at}: {length} must be a multiple of window.slide, which is {slide}"
        if self.on_empty and one_length:
            yield f"on_empty: {one_length}, and is not found empty; remove it"

    def _online_problems(self) -> Iterator[str]:
        for setting in ("online_types", "online_config"):
            if getattr(self, setting) and not self.online:
                yield f"{setting} is about the online store, and online is false; remove one"
        if self.topic_name and self.online and not self.topic_name.endswith(ONLINE_TOPIC):
            yield f"topic_name {self.topic_name!r} must end with {ONLINE_TOPIC}: the online store reads no other topics"
        names = (*self.key, *self.aggregates, *self.features, *self.times)
        named = [(f"online_types.{name}", name) for name in self.online_types]
        named += [(f"partition_key: {name!r}", name) for name in self.partition_key]
        columns = self.statistics_config.columns if self.statistics_config else []
        named += [(f"statistics_config.columns: {name!r}", name) for name in columns]
        for place, name in named:
            if name not in names:
                yield f"{place}: there is no such feature; there are {', '.join(names)}"

    def _storage_problems(self) -> Iterator[str]:
        if not self.online and not self.offline:
            yield "online and offline are both false: the features would go nowhere; remove one"
        if self.ttl is not None:
            if self.event_time is None:
                yield "ttl counts from the event time: add event_time, or remove ttl"
            if self.ttl < timedelta(seconds=1) or self.ttl % timedelta(seconds=1):
                yield (f"ttl is {format_duration(self.ttl)}; it must be a whole number of seconds, 1s or more")
        if self.upsert_if_newer and self.event_time is None:
            yield "upsert_if_newer compares event times: add event_time, or remove upsert_if_newer"
        if self.upsert_if_newer and not self.online:
            yield "upsert_if_newer is about the online store, and online is false; remove one"
