"""The scalar types of a pipeline file and their names in Flink SQL, Avro and the feature store.

Sources: the feature store's type table (``bigint`` is Avro ``long``, ``timestamp`` is ``timestamp-micros``), and
Flink's Avro format, which maps SQL types to the same Avro types and every nullable column to ``["null", T]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_INTEGERS = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
_FLOATS = ("float", "double")
TYPE_NAMES = ("boolean", *_INTEGERS, *_FLOATS, "decimal", "string", "binary", "date", "timestamp")
_DECIMAL = re.compile(r"decimal\((\d{1,4}),(\d{1,4})\)")
_MOST_DIGITS = 38
_COMPLEX = ("array", "map", "struct", "uniontype")
_OTHER_NAMES = {
    "long": "bigint",
    "integer": "int",
    "real": "float",
    "varchar": "string",
    "char": "string",
    "text": "string",
    "bytes": "binary",
    "bool": "boolean",
    "numeric": "decimal(p,s)",
    "datetime": "timestamp",
}


@dataclass(frozen=True)
class FeatureType:
    """Type of a column or feature, spelt as the feature store spells it.

    :param name: ``boolean``, ``tinyint``, ``smallint``, ``int``, ``bigint``, ``float``, ``double``, ``decimal``,
        ``string``, ``binary``, ``date`` or ``timestamp``.
    :param precision: of a decimal: number of digits, 1 to 38; 0 for others.
    :param scale: of a decimal: how many of them stand after the point.
    :param element: of an ``array``, which a feature may be and a column may not: what it holds.
    """

    name: str
    precision: int = 0
    scale: int = 0
    element: FeatureType | None = None

    def __str__(self) -> str:
        if self.element is not None:
            return f"array<{self.element}>"
        return f"decimal({self.precision},{self.scale})" if self.is_decimal else self.name

    @classmethod
    def parse(cls, text: Any) -> FeatureType:
        """Type of a text such as ``bigint`` or ``decimal(10,2)``. Raises ValueError for anything else."""
        if isinstance(text, FeatureType):
            return text
        if not isinstance(text, str):
            raise ValueError(f"a type is a text such as bigint or decimal(10,2), not {type(text).__name__}")
        plain = re.sub(r"\s+", "", text).lower()
        if plain in TYPE_NAMES and plain != "decimal":
            return cls(plain)
        if match := _DECIMAL.fullmatch(plain):
            precision, scale = int(match[1]), int(match[2])
            if not 1 <= precision <= _MOST_DIGITS or scale > precision:
                raise ValueError(f"decimal(p,s) has 1 to {_MOST_DIGITS} digits p, at most all of them after the point")
            return cls("decimal", precision, scale)
        raise ValueError(_refusal(plain))

    @property
    def sql(self) -> str:
        """Flink SQL type.

        A ``timestamp`` is a BIGINT of microseconds since the epoch, from the source to the sink: Flink's Avro format
        reads and writes milliseconds for TIMESTAMP columns of any precision, while the feature store wants
        ``timestamp-micros``.
        """
        if self.is_decimal:
            return f"DECIMAL({self.precision}, {self.scale})"
        # An array is there as the bytes that the feature store's records have.
        return {"binary": "BYTES", "timestamp": "BIGINT", "array": "BYTES"}.get(self.name, self.name.upper())

    @classmethod
    def of_feature(cls, text: str | FeatureType) -> FeatureType:
        """As `parse`, of a feature: ``array<bigint>`` as well."""
        if isinstance(text, str) and text.startswith("array<"):
            return array(cls.parse(text.removeprefix("array<").removesuffix(">")))
        return cls.parse(text)

    @property
    def is_integer(self) -> bool:
        """``tinyint``, ``smallint``, ``int`` or ``bigint``."""
        return self.name in _INTEGERS

    @property
    def bits(self) -> int:
        """Width of an integer type."""
        return _INTEGERS[self.name]

    @property
    def is_floating(self) -> bool:
        """``float`` or ``double``."""
        return self.name in _FLOATS

    @property
    def is_decimal(self) -> bool:
        """``decimal(p,s)``."""
        return self.name == "decimal"

    @property
    def is_numeric(self) -> bool:
        """Whether sums and averages make sense."""
        return self.is_integer or self.is_floating or self.is_decimal


def _refusal(plain: str) -> str:
    known = ", ".join("decimal(p,s)" if name == "decimal" else name for name in TYPE_NAMES)
    if plain.startswith(_COMPLEX):
        return (
            "a pipeline handles scalar types only; send the parts of a complex value as columns of their own, or the "
            "whole as string"
        )
    if plain.startswith("decimal"):
        return "a decimal needs its digits and how many of them stand after the point, such as decimal(10,2)"
    meant = _OTHER_NAMES.get(plain.partition("(")[0])
    return f"must be one of {known}" + (f"; you may mean {meant}" if meant else "")


Type = Annotated[FeatureType, BeforeValidator(FeatureType.parse), PlainSerializer(str, return_type=str)]

BOOLEAN = FeatureType("boolean")
BIGINT = FeatureType("bigint")
DOUBLE = FeatureType("double")
STRING = FeatureType("string")
DATE = FeatureType("date")
TIMESTAMP = FeatureType("timestamp")


def decimal(precision: int, scale: int) -> FeatureType:
    """``decimal(precision,scale)``."""
    return FeatureType("decimal", precision, scale)


def array(element: FeatureType) -> FeatureType:
    """``array<element>``."""
    return FeatureType("array", element=element)


AVRO_TYPES: dict[str, Any] = {
    "boolean": "boolean",
    "tinyint": "int",
    "smallint": "int",
    "int": "int",
    "bigint": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "binary": "bytes",
    "date": {"type": "int", "logicalType": "date"},
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
}


def avro_type(feature_type: str | FeatureType) -> list[Any]:
    """Avro union of a feature or source column: every value is nullable, and ``null`` comes first."""
    kind = FeatureType.of_feature(feature_type)
    if kind.element is not None:
        return ["null", {"type": "array", "items": avro_type(kind.element)}]
    if kind.is_decimal:
        return [
            "null",
            {"type": "bytes", "logicalType": "decimal", "precision": kind.precision, "scale": kind.scale},
        ]
    return ["null", AVRO_TYPES[kind.name]]


_UNITS = (("DAY", 86400), ("HOUR", 3600), ("MINUTE", 60), ("SECOND", 1))


def sql_interval(duration: timedelta) -> str:
    """``INTERVAL`` literal in the largest unit that divides the duration.

    The leading precision is spelt out where needed: Flink allows two digits by default and refuses ``'600' SECOND``.
    """
    milliseconds = duration // timedelta(milliseconds=1)
    seconds, fraction = divmod(milliseconds, 1000)
    if fraction and seconds < 100:
        return f"INTERVAL '{seconds}.{fraction:03d}' SECOND(2, 3)"
    if fraction:
        # The planner takes no more digits before the point.
        minutes, second = divmod(seconds, 60)
        days, hour = divmod(minutes // 60, 24)
        digits = f"({len(str(days))})" if days > 99 else ""
        return f"INTERVAL '{days} {hour:02d}:{minutes % 60:02d}:{second:02d}.{fraction:03d}' DAY{digits} TO SECOND(3)"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    count = str(seconds // size)
    precision = f"({len(count)})" if len(count) > 2 else ""
    return f"INTERVAL '{count}' {unit}{precision}"


def sql_identifier(name: str) -> str:
    """Quoted identifier; back-ticks inside are doubled."""
    return "`" + name.replace("`", "``") + "`"


def sql_literal(text: str) -> str:
    """Quoted string literal; quotes inside are doubled, which is all the escaping Flink SQL knows."""
    return "'" + text.replace("'", "''") + "'"
