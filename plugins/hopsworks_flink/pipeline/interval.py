"""The interval of event time that a task works on: from its arguments or its run's data interval. Pure, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.pipeline.spec.durations import parse_duration
from hopsworks_flink.pipeline.times import as_time, in_utc

_NO_INTERVAL = "{} must be given: the run has no data interval (it was started by an asset, or without a logical date)."
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# How much the clock that an end comes from, such as the scheduler's, may be ahead of the worker's.
_CLOCKS = timedelta(minutes=5)


@dataclass(frozen=True)
class Interval:
    """Event time from ``start`` (included) to ``end`` (excluded), both with their zone."""

    start: datetime
    end: datetime

    @property
    def start_ms(self) -> int:
        """Milliseconds since the epoch."""
        return (self.start - _EPOCH) // timedelta(milliseconds=1)

    @property
    def end_ms(self) -> int:
        """Milliseconds since the epoch."""
        return (self.end - _EPOCH) // timedelta(milliseconds=1)

    def to_json(self) -> list[str]:
        """Both in ISO 8601, UTC."""
        return [moment.astimezone(timezone.utc).isoformat() for moment in (self.start, self.end)]

    def __str__(self) -> str:
        return "[{}, {})".format(*self.to_json())


def resolve_interval(start: Any, end: Any, data_interval: tuple[datetime, datetime] | None) -> Interval:
    """The interval that is meant: what was given, and for what was not the run's data interval.

    :param start: a datetime, or text in ISO 8601 (a date, or a time; UTC unless it says otherwise); None, or empty.
    :param end: the same.
    :param data_interval: of the run; None where it has none (started by an asset, or without a logical date).
    :raises ConfigurationError: something is missing, no time, or the interval is empty.
    """
    given_start, given_end = as_time(start, "start"), as_time(end, "end")
    missing = [name for name, value in (("start", given_start), ("end", given_end)) if value is None]
    if missing and data_interval is None:
        raise ConfigurationError(_NO_INTERVAL.format(" and ".join(missing)))
    default_start, default_end = data_interval or (_EPOCH, _EPOCH)
    interval = Interval(given_start or in_utc(default_start), given_end or in_utc(default_end))
    if interval.start_ms >= interval.end_ms:
        hint = "start must be before end"
        if len(missing) == 2:
            hint = (
                "the run's data interval has no length. Give the DAG a timetable with intervals, such as "
                "CronDataIntervalTimetable, or give start and end"
            )
        raise ConfigurationError(f"The interval {interval} is empty: {hint}.")
    return interval


def refuse_future(end: datetime, now: datetime) -> None:
    """Refuse an interval that is not over.

    :raises ConfigurationError: its end is later than ``now``, by more than clocks differ.
    """
    if end > now + _CLOCKS:
        raise ConfigurationError(
            f"end lies in the future ({end.astimezone(timezone.utc).isoformat()}): only what is past can be recomputed."
        )


def as_margin(value: Any) -> timedelta:
    """Parse how long after its time an event may be delivered to the topic, such as ``1h``.

    :raises ConfigurationError: it is not a duration.
    """
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ConfigurationError(f"arrival_margin {value!r}: {error}.") from None


def longest_arrival(arrival_margin: timedelta, max_disorder: timedelta) -> timedelta:
    """How long after the end of an interval an event of it may arrive in the topic and still count.

    The stream counts it until one has come whose time is ``max_disorder`` after the end, and the delivery of that one
    may take ``arrival_margin``.
    """
    return arrival_margin + max_disorder


def arrivals_over(end: Any, arrival_margin: Any, max_disorder: timedelta, data_interval_end: datetime | None) -> str:
    """When all events of an interval can be in the topic, ISO 8601.

    :param end: of the interval, as for `resolve_interval`; None: ``data_interval_end``.
    :param arrival_margin: as for `as_margin`; ``max_disorder``: the pipeline's.
    :raises ConfigurationError: neither is there, or an argument cannot be read.
    """
    last = as_time(end, "end") or as_time(data_interval_end, "data_interval_end")
    if last is None:
        raise ConfigurationError(_NO_INTERVAL.format("end"))
    return (last + longest_arrival(as_margin(arrival_margin), max_disorder)).isoformat()
