"""Events as people write them in tests and files, as one typed column after the other."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.spec import Source
from hopsworks_flink.pipeline.types import BIGINT, FeatureType

#: Key of an event's Kafka timestamp, beside its columns.
KAFKA_TIMESTAMP = "__kafka_timestamp"

_EPOCH = datetime(1970, 1, 1)
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)


def typed_columns(source: Source, events: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The events' values column by column, and their Kafka timestamps (epoch milliseconds); absent values are None.

    :raises PipelineError: an event has an unknown column, or a value that its column cannot hold.
    """
    converters = {name: _converter(kind) for name, kind in source.columns.items()}
    converters[KAFKA_TIMESTAMP] = _epoch_milliseconds
    columns: dict[str, list[Any]] = {name: [] for name in converters}
    for number, event in enumerate(events):
        if not isinstance(event, Mapping):
            raise PipelineError(f"events[{number}] must be a mapping of columns to values, not {event!r}")
        unknown = [name for name in event if name not in converters]
        if unknown:
            raise PipelineError(
                f"events[{number}] has {unknown[0]!r}, which is no column of the source: "
                f"{', '.join(source.columns)} (and {KAFKA_TIMESTAMP})"
            )
        for name, convert in converters.items():
            value = event.get(name)
            try:
                columns[name].append(None if value is None else convert(value))
            except (TypeError, ValueError, OverflowError, binascii.Error) as error:
                raise PipelineError(f"events[{number}].{name}: {error} (found: {value!r})") from None
        if source.event_time.column is None and columns[KAFKA_TIMESTAMP][-1] is None:
            raise PipelineError(
                f"events[{number}] has no {KAFKA_TIMESTAMP}, which is the event time of this pipeline "
                "(epoch milliseconds or a datetime)"
            )
    return columns


def _converter(kind: FeatureType) -> Callable[[Any], Any]:
    """From a value as people write it to what the column's type holds."""
    if kind.is_integer:
        return lambda value: _integer(value, kind)
    if kind.is_decimal:
        return lambda value: _decimal(value, kind)
    return {
        "boolean": _boolean,
        "float": _single,
        "double": _number,
        "string": _text,
        "binary": _bytes,
        "date": _date,
        "timestamp": _timestamp,
    }[kind.name]


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("must be true or false")
    return value


def _integer(value: Any, kind: FeatureType) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"must be a whole number, as the column is {kind}")
    limit = 1 << (kind.bits - 1)
    if not -limit <= value < limit:
        raise ValueError(f"is out of the range of {kind}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise TypeError("must be a number")
    return float(value)


def _single(value: Any) -> float:
    number = _number(value)
    try:
        struct.pack("<f", number)
    except OverflowError:
        raise ValueError("is out of the range of float") from None
    return number


def _decimal(value: Any, kind: FeatureType) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise TypeError("must be a decimal number")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("must be a decimal number") from None
    if not number.is_finite():
        raise ValueError("must be a finite number")
    # Python's own context would round to 28 digits.
    with localcontext() as context:
        context.prec = 100
        scaled = number.scaleb(kind.scale or 0)
        if scaled != scaled.to_integral_value() or abs(scaled) >= 10 ** (kind.precision or 0):
            raise ValueError(f"does not fit into {kind}")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("must be a text")
    return value


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        # In a file of JSON lines.
        return base64.b64decode(value, validate=True)
    if not isinstance(value, (bytes, bytearray)):
        raise TypeError("must be bytes, or their base64 text")
    return bytes(value)


def _date(value: Any) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, datetime) or not isinstance(value, date):
        raise TypeError("must be a date, or its ISO text such as 2025-01-31")
    return value


def _timestamp(value: Any) -> datetime:
    """In UTC, without zone; a value without zone is taken as UTC."""
    if isinstance(value, str):
        value = _moment(value)
    if not isinstance(value, datetime):
        raise TypeError("must be a datetime, or its ISO text such as 2025-01-31T12:00:00Z")
    return value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value


def _moment(text: str) -> datetime:
    # Not by Python's parser alone: what it takes differs from one version to the next.
    found = _MOMENT.fullmatch(text)
    if not found:
        raise ValueError("must be an ISO time such as 2025-01-31T12:00:00Z")
    day, clock, seconds, fraction, zone = found.groups()
    # Flink cuts what is smaller than a microsecond.
    fraction = (fraction or "0")[:6].ljust(6, "0")
    zone = "+00:00" if zone in (None, "Z") else zone if ":" in zone else f"{zone[:3]}:{zone[3:] or '00'}"
    return datetime.fromisoformat(f"{day}T{clock or '00:00'}:{seconds or '00'}.{fraction}{zone}")


def _epoch_milliseconds(value: Any) -> int:
    if isinstance(value, (datetime, str)):
        return (_timestamp(value) - _EPOCH) // timedelta(milliseconds=1)
    return _integer(value, BIGINT)
