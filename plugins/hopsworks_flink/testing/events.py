"""Events as people write them in tests and files, as one typed column after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline import json_values
from hopsworks_flink.pipeline.spec.source import Column, Records
from hopsworks_flink.pipeline.types import BIGINT, TIMESTAMP

#: Key of an event's Kafka timestamp, beside its columns.
KAFKA_TIMESTAMP = "__kafka_timestamp"

_EPOCH = datetime(1970, 1, 1)


def typed_columns(records: Records, events: Sequence[Mapping[str, Any]], what: str = "events") -> dict[str, list[Any]]:
    """The events' values column by column, and their Kafka timestamps (epoch milliseconds); absent values are None.

    :param what: the events are, in errors.
    :raises PipelineError: an event has an unknown column, or a value that its column cannot hold.
    """
    converters = {name: _converter(column, records.format) for name, column in records.declared.items()}
    converters[KAFKA_TIMESTAMP] = _epoch_milliseconds
    columns: dict[str, list[Any]] = {name: [] for name in converters}
    for number, event in enumerate(events):
        if not isinstance(event, Mapping):
            raise PipelineError(f"{what}[{number}] must be a mapping of columns to values, not {event!r}")
        unknown = [name for name in event if name not in converters]
        if unknown:
            raise PipelineError(
                f"{what}[{number}] has {unknown[0]!r}, which is not a column of the source: "
                f"{', '.join(records.columns)} (and {KAFKA_TIMESTAMP})"
            )
        for name, convert in converters.items():
            value = event.get(name)
            try:
                columns[name].append(None if value is None else convert(value))
            except (ValueError, OverflowError) as error:
                raise PipelineError(f"{what}[{number}].{name}: {error} (found: {value!r})") from None
        if records.event_time.is_kafka_timestamp and columns[KAFKA_TIMESTAMP][-1] is None:
            raise PipelineError(
                f"{what}[{number}] has no {KAFKA_TIMESTAMP}, which is the event time of this pipeline "
                "(epoch milliseconds or a datetime)"
            )
    return columns


def _converter(column: Column, format_: str) -> Callable[[Any], Any]:
    """From a value as people write it to what the column's type holds: as in a JSON event, or as Python's own."""
    of_json, kind = json_values.reader(column), column.type
    own: Any = {"binary": (bytes, bytearray), "date": date, "timestamp": datetime}.get(kind.name, ())

    def convert(value: Any) -> Any:
        # JSON has none; the text of a key or header may be too large for a double.
        may_be_infinite = format_ != "json" or column.is_beside
        if kind.is_floating and may_be_infinite and isinstance(value, float) and not math.isfinite(value):
            return value
        if not isinstance(value, own) or (kind.name == "date" and isinstance(value, datetime)):
            return of_json(value)
        if isinstance(value, datetime):
            return _in_utc(value)
        return bytes(value) if isinstance(value, bytearray) else value

    return convert


def _in_utc(value: datetime) -> datetime:
    """Without zone; a value without zone is taken as UTC."""
    if value != value:
        # pandas' NaT is a datetime.
        raise ValueError("is no time; one that is missing is None")
    return value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value


def _epoch_milliseconds(value: Any) -> int:
    if isinstance(value, (datetime, str)):
        moment = _in_utc(value) if isinstance(value, datetime) else json_values.moment(value, Column(type=TIMESTAMP))
        return (moment - _EPOCH) // timedelta(milliseconds=1)
    return json_values.integer(value, BIGINT)
