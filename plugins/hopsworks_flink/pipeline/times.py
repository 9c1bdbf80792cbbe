"""Points in time as people write them: ISO 8601, in UTC unless they say otherwise; or epoch milliseconds. Pure."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from typing import Any

from hopsworks_flink.exceptions import ConfigurationError

_DATE, _TIME, _ZONE = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d(:\d\d(\.\d{1,9})?)?", r"(Z|[+-]\d\d:?\d\d)"
#: What a form's field takes: a date or a time, or nothing.
ISO_TIME = rf"^({_DATE}([T ]{_TIME}{_ZONE}?)?)?$"
#: The same for a time that must have a zone, or is epoch milliseconds.
ZONED_TIME = rf"^(\d{{1,15}}|{_DATE}[T ]{_TIME}{_ZONE})?$"

_PARTS = re.compile(rf"({_DATE})(?:[T ](\d\d:\d\d)(:\d\d)?(?:\.(\d{{1,9}}))?{_ZONE}?)?", re.ASCII)


def parse_time(text: str) -> datetime:
    """The time that a text in ISO 8601 names; without a zone if the text has none. Digits below microseconds drop out.

    Python's own parser understands other forms in each version.

    :raises ValueError: it names none.
    """
    parts = _PARTS.fullmatch(text.strip())
    if parts is None:
        raise ValueError(f"{text!r} is not a time such as 2025-03-01T12:00:00+00:00, or a date")
    day, minutes, seconds, fraction, zone = parts.groups()
    zone = "" if zone is None else "+00:00" if zone == "Z" else f"{zone[:3]}:{zone[-2:]}"
    micros = (fraction or "").ljust(6, "0")[:6]
    return datetime.fromisoformat(f"{day}T{minutes or '00:00'}{seconds or ':00'}.{micros}{zone}")


def in_utc(value: datetime) -> datetime:
    """A plain datetime with a zone: UTC where it had none."""
    # Airflow gives pendulum's, whose differences are of a class of their own.
    plain = datetime.fromisoformat(value.isoformat())
    return plain.replace(tzinfo=timezone.utc) if plain.tzinfo is None else plain


def as_time(value: Any, argument: str) -> datetime | None:
    """Parse a rendered argument: a datetime, a date, or text in ISO 8601, UTC unless it says otherwise; None for none.

    :raises ConfigurationError: it is not a time.
    """
    if value is None or (isinstance(value, str) and value.strip() in ("", "None", "null")):
        return None
    if isinstance(value, datetime):
        return in_utc(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    try:
        return in_utc(parse_time(str(value)))
    except ValueError:
        raise ConfigurationError(
            f"{argument} must be a time in ISO 8601 such as 2025-03-01T12:00:00+00:00, or a date, not {value!r}."
        ) from None


def as_epoch_milliseconds(value: Any, argument: str) -> int | None:
    """Parse a rendered argument: epoch milliseconds, or text in ISO 8601 with its zone; None for nothing.

    :raises ConfigurationError: it is neither, or seems to be epoch seconds.
    """
    text = "" if value is None else str(value).strip()
    if text in ("", "None", "null"):
        return None
    if text.isdigit():
        if len(text) == 10:
            raise ConfigurationError(
                f"{argument}: {text} has ten digits, as epoch seconds have since 2001. It takes milliseconds, "
                f"{text}000, or an ISO time with zone."
            )
        return int(text)
    try:
        time = parse_time(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigurationError(
            f"{argument} must be epoch milliseconds or an ISO time with zone such as 2025-01-31T12:00:00+00:00, "
            f"not {value!r}."
        )
    return round(time.timestamp() * 1000)
