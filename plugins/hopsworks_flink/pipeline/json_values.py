"""Values of JSON events: what each type of column takes, and as what. Pure.

The rules of the Flink format that the jobs read with (flink_jobs/java); tests hold both against each other.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import ROUND_FLOOR, Decimal, localcontext
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.spec.source.writing import MONTHS, Pattern
from hopsworks_flink.pipeline.types import TIMESTAMP, FeatureType

#: Longer numbers are none.
LONGEST_NUMBER = 1000

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?(?P<exponent>[0-9]+))?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
    r"(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_EPOCH = datetime(1970, 1, 1)
_MICROSECONDS = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
_FARTHEST = timedelta(hours=18)


class Number(str):
    """A number's digits as they stand in the JSON text."""


def reader(column: Column) -> Callable[[Any], Any]:
    """What makes a column's value out of one that JSON holds; raises ValueError for what the type does not take.

    Numbers are `Number`, or Python's own.
    """
    kind = column.type
    if kind == TIMESTAMP:
        if column.unit is not None:
            return lambda found: counted(found, str(column.unit))
        return lambda found: moment(found, column)
    if kind.is_integer:
        return lambda found: integer(found, kind)
    if kind.is_floating:
        return lambda found: floating(found, kind)
    if kind.is_decimal:
        return lambda found: decimal(found, kind)
    return {
        "boolean": boolean,
        "string": text,
        "binary": binary,
        "date": day,
    }[kind.name]


def boolean(found: Any) -> bool:
    """``true`` and ``false``, nothing else."""
    if not isinstance(found, bool):
        raise ValueError("must be true or false")
    return found


def integer(found: Any, kind: FeatureType) -> int:
    """A whole number in the range of its type, however it is written: ``3``, ``3.0``, ``3e2``."""
    number = _exact(found) if _is_number(found) else None
    if number is None or _scale(number) > 0:
        raise ValueError(f"must be a whole number, as the column is {kind}")
    limit = 1 << (kind.bits - 1)
    # Not written out before it is known to be no longer than any integer.
    if number and (number.adjusted() > 18 or not -limit <= int(number) < limit):
        raise ValueError(f"is out of the range of {kind}")
    return int(number) if number else 0


def floating(found: Any, kind: FeatureType) -> float:
    """A finite number; the nearest one that a double is."""
    if not _is_number(found):
        raise ValueError("must be a number")
    number = float(found)
    if math.isfinite(number) and kind.name == "float":
        try:
            struct.pack("<f", number)
        except OverflowError:
            number = math.inf
    if not math.isfinite(number):
        raise ValueError("must be a finite number" if math.isnan(number) else f"is out of the range of {kind}")
    return number


def decimal(found: Any, kind: FeatureType) -> Decimal:
    """A number of which the type holds every digit; or its text, as many producers write it to keep the digits."""
    plain_text = isinstance(found, str) and not isinstance(found, Number)
    number = _exact(found) if _is_number(found) or plain_text else None
    if number is None:
        raise ValueError("must be a decimal number")
    whole_digits = 0 if not number else number.adjusted() + 1
    if _scale(number) > kind.scale or whole_digits > kind.precision - kind.scale:
        raise ValueError(f"does not fit into {kind}")
    return Decimal(f"{number:.{kind.scale}f}")


def text(found: Any) -> str:
    """A text that UTF-8 can hold."""
    if not isinstance(found, str) or isinstance(found, Number):
        raise ValueError("must be a text")
    if not is_unicode(found):
        raise ValueError("must be a text of whole characters")
    return found


def is_unicode(found: str) -> bool:
    """Whether a text holds no half of a surrogate pair, which JSON can write."""
    return not any("\ud800" <= character <= "\udfff" for character in found)


def binary(found: Any) -> bytes:
    """Base64 with its padding."""
    return base64.b64decode(text(found), validate=True)


def day(found: Any) -> date:
    """An ISO date."""
    if not isinstance(found, str) or not _DATE.fullmatch(found):
        raise ValueError("must be a date, an ISO text such as 2025-01-31")
    return date.fromisoformat(found)


def counted(found: Any, unit: str) -> datetime:
    """A number of units since the epoch, as a datetime in UTC without a zone; finer than microseconds is cut."""
    number = _exact(found) if _is_number(found) else None
    if number is None or (number and number.adjusted() > 18):
        raise ValueError(f"must be a number of {unit} since 1970")
    with localcontext(prec=2 * LONGEST_NUMBER):
        micros = int((number * _MICROSECONDS[unit]).to_integral_value(ROUND_FLOOR))
    return since_epoch(micros)


def since_epoch(micros: int) -> datetime:
    """A datetime in UTC, without a zone. Raises ValueError for one that the calendar does not hold."""
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        raise ValueError("is out of the range of timestamp") from None


def microseconds(unit: str | None) -> int:
    """How many microseconds one of a unit is; of none, it is one."""
    return _MICROSECONDS[unit or "microseconds"]


def moment(found: Any, column: Column) -> datetime:
    """A timestamp's text, as a datetime in UTC without a zone; digits beyond microseconds are cut.

    Of ISO 8601 with its zone, or without one where the column names it; or of the column's pattern.
    """
    if column.pattern is not None:
        return _by_pattern(found, column.pattern, column.zone)
    parts = _TIMESTAMP.fullmatch(found) if isinstance(found, str) else None
    if not parts or (parts["zone"] is None and column.zone is None):
        zone = "" if column.zone else " with its zone"
        raise ValueError(f"must be a timestamp, an ISO text{zone} such as 2025-01-31T12:00:00Z or …+02:00")
    hour, minute, second = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    local = datetime.combine(date.fromisoformat(parts["date"]), time(hour, minute, second, _micros(parts["fraction"])))
    return _in_utc(local, parts["zone"], column.zone)


def _by_pattern(found: Any, text: str, zone: str | None) -> datetime:
    pattern = _pattern(text)
    parts = _compiled(pattern.expression).fullmatch(found) if isinstance(found, str) else None
    if not parts:
        raise ValueError(f"must be a time such as {text}")
    by_field = dict(zip(pattern.fields, parts.groups(), strict=True))

    def number(field: str, default: int = 0) -> int:
        return int(by_field.get(field) or default)

    month = MONTHS.index(by_field["b"]) + 1 if "b" in by_field else number("M")
    hour = number("H")
    if by_field.get("h") is not None:
        if not 1 <= number("h") <= 12:
            raise ValueError("has an hour that is not one of twelve")
        hour = number("h") % 12 + (12 if by_field.get("a") == "PM" else 0)
    local = datetime(number("y"), month, number("d"), hour, number("m"), number("s"), _micros(by_field.get("S")))
    return _in_utc(local, by_field.get("X"), zone)


_pattern = cache(Pattern.of)
_compiled = cache(re.compile)


def _micros(fraction: str | None) -> int:
    return int(f"{fraction or '':0<6}"[:6])


def _in_utc(local: datetime, written: str | None, zone: str | None) -> datetime:
    """A local time in UTC, by the zone that was written (``Z``, ``+02:00``), else by the named one."""
    if written is None:
        if zone is None:
            raise ValueError("has no zone")
        # A time that the clocks showed twice is the first one; one that they left out counts on from before.
        offset = local.replace(tzinfo=ZoneInfo(zone)).utcoffset()
        assert offset is not None
    else:
        sign, digits = written[0], f"{written[1:].replace(':', ''):0<4}"
        hours, minutes = (0, 0) if sign == "Z" else (int(digits[:2]), int(digits[2:]))
        offset = timedelta(hours=hours, minutes=minutes)
        if minutes > 59 or offset > _FARTHEST:
            raise ValueError("has a zone that does not exist")
        offset = -offset if sign == "-" else offset
    try:
        return local - offset
    except OverflowError:
        raise ValueError("is out of the range of timestamp") from None


def _is_number(found: Any) -> bool:
    return isinstance(found, (Number, int, float, Decimal)) and not isinstance(found, bool)


def _exact(found: Any) -> Decimal | None:
    """The number that a text says; None if it is none that a column could hold."""
    written = str(found)
    parts = _NUMBER.fullmatch(written)
    if len(written) > LONGEST_NUMBER or not parts or len(parts["exponent"] or "") > 4:
        return None
    return Decimal(written)


def _scale(number: Decimal) -> int:
    """How many digits stand after the point, without zeros at the end; not above zero if there is none."""
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return -exponent - zeros if number else 0
