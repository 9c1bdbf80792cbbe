"""Types of the online store's columns: what a pipeline file may choose, and how much a row and its key may hold.

Source: Hopsworks' guide to data types (defaults, bytes of each type, 30,000 bytes a row; a ``varchar`` counts four
bytes for each character); MySQL's bound of 3,072 bytes for a key.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from hopsworks_flink.pipeline.types import FeatureType

MOST_ROW_BYTES = 30_000
MOST_KEY_BYTES = 3_072
#: Characters that fit into any ``text``, which holds 65,535 bytes.
MOST_TEXT = 65_535 // 4
_BYTES_OF_CHARACTER = 4
# Characters of the default type of a string.
_STRING = 100
# Of all others 8.
_BYTES = {"tinyint": 1, "smallint": 2, "int": 4, "float": 4, "decimal": 16, "text": 256}
_VARCHAR = re.compile(r"varchar\((\d{1,5})\)")
_VARBINARY = re.compile(r"varbinary\((\d{1,5})\)")
_TIMESTAMP = re.compile(r"timestamp(?:\(([0-6])\))?")
_LONGEST_VARCHAR = MOST_ROW_BYTES // _BYTES_OF_CHARACTER


def _parse(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError(f"an online type is a text such as varchar(500), not {type(text).__name__}")
    plain = re.sub(r"\s+", "", text).lower()
    if match := _VARCHAR.fullmatch(plain):
        if not 1 <= int(match[1]) <= _LONGEST_VARCHAR:
            raise ValueError(f"varchar(n) has 1 to {_LONGEST_VARCHAR} characters; for longer strings write text")
        return f"varchar({int(match[1])})"
    if match := _VARBINARY.fullmatch(plain):
        if not 1 <= int(match[1]) <= MOST_ROW_BYTES:
            raise ValueError(f"varbinary(n) has 1 to {MOST_ROW_BYTES} bytes")
        return f"varbinary({int(match[1])})"
    if match := _TIMESTAMP.fullmatch(plain):
        return f"timestamp({match[1]})" if match[1] not in (None, "0") else "timestamp"
    if plain == "text":
        return plain
    raise ValueError(
        "must be varchar(n) or text, for a string, varbinary(n), for an array, or timestamp(n) with n digits of a "
        "second's fraction, for a timestamp; every other type has one online type only"
    )


OnlineType = Annotated[str, BeforeValidator(_parse)]


def default_online_type(kind: FeatureType) -> str:
    """The type that Hopsworks gives to a feature's column if nobody names one; of an array see `online_array`."""
    return {"boolean": "tinyint", "string": "varchar(100)", "binary": "varbinary(100)", "array": "varbinary(100)"}.get(
        kind.name, str(kind)
    )


def online_array(element: FeatureType, most: int) -> str:
    """A type that holds so many values, strings of up to 100 characters, in Avro's encoding."""
    longest_value = {"string": 2 + _STRING * _BYTES_OF_CHARACTER, "boolean": 1, "float": 4, "double": 8}
    # Numbers take seven bits a byte; decimals at most 16 bytes and their number.
    value = 1 + longest_value.get(element.name, 17 if element.is_decimal else 10)
    return f"varbinary({min(MOST_ROW_BYTES, 4 + most * value)})"


def misfit(online_type: str, kind: FeatureType, *, is_key: bool) -> str | None:
    """Why a feature of a type cannot have this online type; None: it can."""
    allowed = {"string": ("varchar(n)", "text"), "timestamp": ("timestamp(n)",), "array": ("varbinary(n)",)}.get(
        kind.name, ()
    )
    if not online_type.startswith(tuple(name.removesuffix("(n)") for name in allowed)):
        can = f"can be {' or '.join(allowed)}" if allowed else f"is always {default_online_type(kind)}"
        return f"the feature is {kind}, which {can} online"
    if is_key and online_type == "text":
        return f"a key column cannot be text; write varchar(n), n at most {MOST_KEY_BYTES // _BYTES_OF_CHARACTER}"
    return None


def longest(online_type: str) -> int | None:
    """Most characters that a column holds; None if it holds no strings."""
    if match := _VARCHAR.fullmatch(online_type):
        return int(match[1])
    return MOST_TEXT if online_type == "text" else None


def size(online_type: str) -> int:
    """Bytes that a column takes of a row."""
    if match := _VARCHAR.fullmatch(online_type):
        return _BYTES_OF_CHARACTER * int(match[1])
    if match := _VARBINARY.fullmatch(online_type):
        return int(match[1])
    return _BYTES.get(online_type.partition("(")[0], 8)
