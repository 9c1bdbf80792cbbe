"""Constants of a pipeline file, such as the default of an aggregate: checked against a type, written as SQL."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

from hopsworks_flink.pipeline.times import in_utc, parse_time
from hopsworks_flink.pipeline.types import FeatureType, sql_literal

Value = bool | int | float | str
# Of a decimal number a double keeps so many, whichever they are.
_EXACT_DIGITS = 15
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def check_value(value: Any, kind: FeatureType) -> str | None:
    """What is wrong with a constant of this type, or None."""
    try:
        typed_value(value, kind)
    except ValueError as error:
        return str(error)
    return None


def typed_value(value: Value, kind: FeatureType) -> Any:
    """The constant as a Python value of the type; a timestamp as microseconds since the epoch.

    :raises ValueError: it is not of the type.
    """
    reader: Callable[[Value, FeatureType], Any] | None = {
        "boolean": _boolean,
        "string": _string,
        "date": _date,
        "timestamp": _timestamp,
        "decimal": _decimal,
        "float": _floating,
        "double": _floating,
    }.get(kind.name, _integer if kind.is_integer else None)
    if reader is None:
        raise ValueError(f"a constant of type {kind} cannot be written")
    return reader(value, kind)


def _boolean(value: Value, kind: FeatureType) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not a boolean; write true or false")
    return value


def _string(value: Value, kind: FeatureType) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text; quote it")
    if not value.isprintable():
        raise ValueError(f"{value!r} holds characters that cannot be printed; leave them out")
    return value


def _integer(value: Value, kind: FeatureType) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number, which {kind} needs")
    if not -(2 ** (kind.bits - 1)) <= value < 2 ** (kind.bits - 1):
        raise ValueError(f"{value} is too large for {kind}")
    return value


def _floating(value: Value, kind: FeatureType) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number, which {kind} needs")
    return float(value)


def _decimal(value: Value, kind: FeatureType) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise ValueError(f"{value!r} is not a decimal number, which {kind} needs")
    if isinstance(value, float) and len(number.as_tuple().digits) > _EXACT_DIGITS:
        raise ValueError(f"{value!r} is what a double holds of a longer number; write its digits in quotes")
    if not fits(number, kind):
        raise ValueError(f"{value!r} has more digits than {kind} holds")
    return Decimal(f"{number:.{kind.scale}f}")


def fits(number: Decimal, kind: FeatureType) -> bool:
    """Whether a decimal type holds every digit of a number."""
    with localcontext() as context:
        # Python's own context rounds to 28 digits.
        context.prec = 100
        shifted = number.scaleb(kind.scale)
        return shifted == shifted.to_integral_value() and abs(shifted) < Decimal(10) ** kind.precision


def _date(value: Value, kind: FeatureType) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a date such as 2025-03-01") from None


def _timestamp(value: Value, kind: FeatureType) -> int:
    try:
        moment = in_utc(parse_time(str(value)))
    except ValueError:
        raise ValueError(f"{value!r} is not a timestamp such as 2025-03-01 12:00:00") from None
    return (moment - _EPOCH) // (datetime.resolution)


def sql_value(value: Value, kind: FeatureType) -> str:
    """The constant in Flink SQL, as a value of exactly this type; a timestamp as BIGINT microseconds.

    :raises ValueError: it is not of the type.
    """
    typed = typed_value(value, kind)
    if isinstance(typed, bool):
        return "TRUE" if typed else "FALSE"
    if isinstance(typed, float):
        text = repr(typed) if "e" in repr(typed) else f"{typed!r}E0"
    elif isinstance(typed, (str, date)):
        text = sql_literal(str(typed))
    else:
        text = str(typed)
    return f"CAST({text} AS {kind.sql})"
