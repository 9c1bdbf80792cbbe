"""Synthetic events for a pipeline's source topic: which event times they cover, and how the program is called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.spec import Pipeline

# How far back the first simulation begins: long enough to fill windows of the reference pipeline many times over.
DEFAULT_HISTORY_SECONDS = 3 * 3600
_SIMULATED_TYPES = {
    "avro": ("boolean", "int", "bigint", "float", "double", "string"),
    "json": ("boolean", "int", "bigint", "float", "double", "string", "decimal", "timestamp"),
}


@dataclass(frozen=True)
class EventTimeRange:
    """Event times of a simulation.

    :param start: first event, milliseconds since the epoch.
    :param speed_up: seconds of event time in a second on the clock.
    """

    start: int
    speed_up: float


def event_time_range(
    *,
    now: int,
    newest: int | None,
    events: int,
    rate: int,
    start: datetime | None = None,
    speed_up: float | None = None,
    history_seconds: int = DEFAULT_HISTORY_SECONDS,
) -> EventTimeRange:
    """Event times that are neither late nor in the future.

    Events behind those that are in the topic already would be late and dropped; Kafka refuses timestamps that lie
    more than an hour ahead. So a simulation begins where the topic ends, at most ``history_seconds`` ago, and runs as
    fast as it must to arrive at ``now`` with its last event, or at the speed of the clock when it has no end.

    :param now: milliseconds since the epoch.
    :param newest: newest Kafka timestamp of the topic in milliseconds, None for an empty topic.
    :param events: number of events, 0 for an endless simulation.
    :param rate: events a second on the clock.
    :param start: begin here instead.
    :param speed_up: run at this speed instead.
    :raises PipelineError: a value is out of bounds, or the last event would lie in the future.
    """
    if events < 0 or rate <= 0 or (speed_up is not None and speed_up <= 0):
        raise PipelineError(
            f"events must be 0 or more, rate and speed_up positive (found: {events}, {rate}, {speed_up})"
        )
    if start is not None:
        first = int(start.replace(tzinfo=start.tzinfo or timezone.utc).timestamp() * 1000)
    elif not events:
        first = now
    else:
        first = max(now - history_seconds * 1000, newest + 1 if newest is not None else 0)
    if not events:
        return EventTimeRange(first, speed_up or 1.0)
    duration = events / rate * 1000
    if speed_up is None:
        speed_up = max(now - first, duration) / duration
    if first + duration * speed_up > now + 3_600_000 + duration:
        raise PipelineError(
            f"the last event would lie {(first + duration * speed_up - now) / 3_600_000:.1f} hours in the future, "
            "where Kafka refuses its timestamp; choose an earlier start, fewer events or a smaller speed_up"
        )
    return EventTimeRange(first, speed_up)


def simulator_arguments(
    pipeline: Pipeline,
    times: EventTimeRange,
    *,
    cards: int,
    events: int,
    rate: int,
    disorder: float,
    skew: float,
    seed: int,
) -> list[str]:
    """Command line of ``transaction_simulator.py`` for a pipeline's source.

    The key of the first feature group identifies the entities whose events are simulated.

    :raises PipelineError: the simulator cannot make such events.
    """
    source = pipeline.source
    if problem := _not_simulated(pipeline):
        raise PipelineError(f"pipeline {pipeline.name} cannot be simulated: {problem}; send events of your own")
    options = {
        "--topic": source.topic,
        "--schema": json.dumps({name: str(kind) for name, kind in source.columns.items()}),
        "--event-time": source.event_time.column or "",
        "--unit": source.event_time.unit,
        "--key": ",".join(pipeline.feature_groups[0].key),
        "--start": str(times.start),
        "--speed-up": repr(float(times.speed_up)),
        "--cards": str(cards),
        "--events": str(events),
        "--rate": str(rate),
        "--disorder": repr(float(disorder)),
        "--skew": repr(float(skew)),
        "--seed": str(seed),
        "--format": source.format,
    }
    return [word for pair in options.items() for word in pair]


def _not_simulated(pipeline: Pipeline) -> str | None:
    source = pipeline.source
    if not source.is_ours:
        return "events are written as JSON or plain Avro, and the source's have a schema or framing of their own"
    simulated = _SIMULATED_TYPES[source.format]
    for name, kind in source.columns.items():
        if kind.name not in simulated:
            return f"column {name!r} is {kind}, and in {source.format} values are made for {', '.join(simulated)}"
    for name, written in source.declared.items():
        if written.more:
            return f"column {name!r} has {', '.join(written.more)}, and events are written flat, with plain types"
    if source.event_time.column is None:
        return "event_time is Kafka's timestamp or an expression, and simulated events have a column for it"
    for name in pipeline.feature_groups[0].key:
        if name in source.derive:
            return f"the key {name!r} is derived"
        if name not in source.columns:
            return f"the key {name!r} is a column of a joined topic"
        if source.columns[name].name == "decimal":
            return f"the key {name!r} is a decimal"
    return None
