"""A canary: a synthetic event under a reserved key, by which the way from an event to its features is measured. Pure.

The event does not disturb the others: it has nothing but key and time, and its time is never ahead of what its
partition has seen, so that it moves no watermark.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hopsworks_flink.pipeline import json_values
from hopsworks_flink.pipeline.resources import source_avro_schema
from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.pipeline import RESERVED_KEYS
from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.spec.source.columns import path_of
from hopsworks_flink.pipeline.spec.source.writing import Path, Pattern
from hopsworks_flink.pipeline.types import TIMESTAMP

_EPOCH = datetime(1970, 1, 1)
_FACTORS = {"seconds": 0.001, "milliseconds": 1, "microseconds": 1000}


@dataclass(frozen=True)
class Canary:
    """The reserved key in one feature group.

    :param group: where it is read.
    :param key: name of the key column.
    :param value: the reserved key.
    """

    pipeline: Pipeline
    group: FeatureGroup
    key: str
    value: str | int

    @classmethod
    def of(cls, pipeline: Pipeline) -> Canary:
        """The canary of a pipeline that can have one, in the group whose windows close most often.

        A group without windows is taken only where there is no other: it does not wait for the watermark.
        """
        group = min(pipeline.canary_groups, key=_step)
        (key,) = group.key
        return cls(pipeline, group, key, RESERVED_KEYS[pipeline.source.columns[key].name])

    def event_time(self, watermark: int) -> int:
        """The newest time that moves no watermark, epoch milliseconds.

        :param watermark: the job's lowest; every partition has seen an event so much newer as disorder is allowed.
        """
        newest = watermark + milliseconds(self.pipeline.source.max_disorder)
        event_time = self.pipeline.source.event_time
        if event_time.column is None:
            return newest
        # Not every column can say milliseconds.
        if (column := self.pipeline.source.declared[event_time.column]).type == TIMESTAMP:
            read = json_values.reader(column)(self._time(newest, column))
            return (read - _EPOCH) // timedelta(milliseconds=1)
        return newest // 1000 * 1000 if event_time.unit == "seconds" else newest

    def is_shown(self, row: float, sent: int) -> bool:
        """Whether a row is of a canary, or of a later one.

        :param row: event time of the row online, epoch milliseconds; whole seconds, in most groups.
        :param sent: event time of the canary, epoch milliseconds.
        """
        # A window that holds it ends later.
        return row >= sent // 1000 * 1000 if self.group.is_projection else row > sent

    def value_at(self, time: int) -> bytes:
        """The event's record value.

        :param time: event time, epoch milliseconds.
        """
        source = self.pipeline.source
        event: dict[str, Any] = dict.fromkeys(source.value_columns)
        event[self.key] = self.value
        if source.event_time.column is not None:
            name = source.event_time.column
            if (column := source.declared[name]).type == TIMESTAMP:
                event[name] = self._time(time, column)
            else:
                event[name] = int(time * _FACTORS[source.event_time.unit])
        return self._avro(event) if source.format == "avro" else self._json(event)

    @staticmethod
    def _time(time: int, column: Column) -> int | str:
        """An epoch millisecond as the column has it in a record of JSON, and of Avro where it is no timestamp there."""
        if column.unit is not None:
            return int(time * _FACTORS[column.unit])
        local = (_EPOCH + timedelta(milliseconds=time)).replace(tzinfo=timezone.utc)
        if column.pattern is not None:
            zone = (
                ZoneInfo(column.zone) if column.zone and "X" not in Pattern.of(column.pattern).fields else timezone.utc
            )
            return Pattern.written(column.pattern, local.astimezone(zone))
        return local.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def _avro(self, event: Mapping[str, Any]) -> bytes:
        import fastavro

        name = self.pipeline.source.event_time.column
        if name is not None and (column := self.pipeline.source.declared[name]).type == TIMESTAMP and not column.more:
            event = {**event, name: datetime.fromisoformat(event[name].replace("Z", "+00:00"))}
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(source_avro_schema(self.pipeline)), event)
        return buffer.getvalue()

    def _json(self, event: Mapping[str, Any]) -> bytes:
        columns = self.pipeline.source.declared
        values = {path_of(name, columns[name]): value for name, value in event.items() if value is not None}
        return json.dumps(nested(values)).encode()


def nested(values: Mapping[Path, Any]) -> Any:
    """Values by their paths as one object, with nulls for what arrays lack."""
    if () in values:
        return values[()]
    below: dict[str | int, dict[Path, Any]] = {}
    for path, value in values.items():
        below.setdefault(path[0], {})[path[1:]] = value
    made = {step: nested(inner) for step, inner in below.items()}
    places = [step for step in made if isinstance(step, int)]
    return [made.get(place) for place in range(max(places) + 1)] if places else made


def _step(group: FeatureGroup) -> timedelta:
    if group.is_projection:
        return timedelta.max
    return group.window.step or group.window.slide or group.window.size


@dataclass(frozen=True)
class Freshness:
    """Summary of a number of canary measurements, in seconds.

    :param measured: how many, with those that were not read in time.
    :param missed: how many of these were not read in time; they count with the time that they were waited for.
    """

    measured: int
    missed: int
    p50: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[Mapping[str, Any]]) -> Freshness:
        """Of samples with ``seconds`` and ``missed``; there must be one."""
        seconds = sorted(float(sample["seconds"]) for sample in samples)
        return cls(
            len(samples), sum(bool(sample["missed"]) for sample in samples), _rank(seconds, 0.50), _rank(seconds, 0.99)
        )

    def __str__(self) -> str:
        missed = f", {self.missed} of them not in time" if self.missed else ""
        return f"p50 {self.p50:.1f} s, p99 {self.p99:.1f} s of {self.measured} canaries{missed}"


def _rank(ordered: Sequence[float], share: float) -> float:
    """The nearest rank: a value that was really measured."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
