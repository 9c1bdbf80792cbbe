"""Whether Flink can decode a record of a pipeline's source topic, and if not, why. Pure.

For the search after a failure: Flink's exception tells neither topic nor partition nor offset. Judges as Flink's own
formats do, which are lenient: broken UTF-8 and unknown JSON fields do not matter to them. Bytes after an Avro record
do: Flink's decoder takes them for the beginning of the next one.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.source import Source
from hopsworks_flink.pipeline.types import FeatureType, avro_type

#: From a record's value to what is wrong with it; None if nothing is.
Check = Callable[[bytes | None], str | None]

# Java reads an int from at most five bytes, which hold 35 bits, and drops what is beyond its 32.
_LARGEST_INT = 2**34
_INTEGER = re.compile(r"[+-]?\d+")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?Z")
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
_SHOWN = 60


def value_check(pipeline: Pipeline) -> Check:
    """What tells whether a record's value can be decoded with the pipeline's schema.

    A record without a value (a tombstone) is no event, and no failure either.
    """
    source = pipeline.source
    return _avro_check(source) if source.format == "avro" else _json_check(source)


def _avro_check(source: Source) -> Check:
    import fastavro

    # Logical types would be made into Python's values, which hold less than Flink's.
    fields = [{"name": name, "type": ["null", _plain(kind)]} for name, kind in source.columns.items()]
    schema = fastavro.parse_schema({"type": "record", "name": "event", "fields": fields})
    narrow = [name for name, kind in source.columns.items() if _plain(kind) == "int"]

    def check(value: bytes | None) -> str | None:
        if value is None:
            return None
        stream = io.BytesIO(value)
        try:
            record: Any = fastavro.schemaless_reader(stream, schema, None, handle_unicode_errors="replace")
        except Exception as error:  # a decoder may raise anything on bytes that are no record
            return f"it is no Avro record of the pipeline's schema ({type(error).__name__}: {error})"
        if more := len(value) - stream.tell():
            return f"{more} more bytes follow its Avro record, which was written with another schema"
        for name in narrow:
            if record[name] is not None and not -_LARGEST_INT <= record[name] < _LARGEST_INT:
                return f"{name} is int in the pipeline's schema, and holds {record[name]}"
        return None

    return check


def _plain(kind: FeatureType) -> str:
    written = avro_type(kind)[1]
    return str(written["type"] if isinstance(written, dict) else written)


def _json_check(source: Source) -> Check:
    readers = {name: _json_reader(kind) for name, kind in source.columns.items()}
    decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=Decimal)

    def check(value: bytes | None) -> str | None:
        if value is None:
            return None
        try:
            text = value.decode(json.detect_encoding(value), "replace")
            event, _ = decoder.raw_decode(text.lstrip())
        except ValueError as error:
            return f"it is no JSON ({error})"
        for item in event if isinstance(event, list) else [event]:
            if not isinstance(item, dict):
                return f"it is {_shown(item)}, not a JSON object"
            for name, reads in readers.items():
                found = item.get(name)
                if found is not None and not reads(found):
                    return f"{name} is {source.columns[name]} in the pipeline's schema, and holds {_shown(found)}"
        return None

    return check


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _json_reader(kind: FeatureType) -> Callable[[Any], bool]:
    """Whether Flink's JSON format takes a value for a column of this type; texts are parsed, numbers are cut."""
    if kind.is_integer:
        bound = 2 ** max(kind.bits - 1, 31)
        return lambda found: _is_number(found, _INTEGER.fullmatch) and -bound <= int(found) < bound
    if kind.is_floating or kind.is_decimal:
        return lambda found: _is_number(found, _is_decimal)
    return {
        "boolean": lambda found: not isinstance(found, (dict, list)),
        "string": lambda found: True,
        "binary": lambda found: isinstance(found, str) and _is_base64(found),
        "date": lambda found: isinstance(found, str) and bool(_DATE.fullmatch(found)),
        "timestamp": lambda found: isinstance(found, str) and bool(_TIMESTAMP.fullmatch(found)),
    }[kind.name]


def _is_number(found: Any, is_numeral: Callable[[str], Any]) -> bool:
    if isinstance(found, str):
        return bool(is_numeral(found.strip()))
    return isinstance(found, (int, Decimal)) and not isinstance(found, bool)


def _is_decimal(text: str) -> bool:
    try:
        Decimal(text)
    except ArithmeticError:
        return False
    return True


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
