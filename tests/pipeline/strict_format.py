"""The Flink format of the jobs, asked without a cluster: what it makes of a record, or why it makes nothing of it."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from devstack import flink, jars
from hopsworks_flink.pipeline.spec.source import Column
from hopsworks_flink.pipeline.spec.source.columns import path_of
from hopsworks_flink.pipeline.types import FeatureType
from tests.support.java_program import JavaProgram

CASES: dict[str, Any] = json.loads((Path(__file__).parent / "records.json").read_text(encoding="utf-8"))
_PROGRAM = Path(__file__).parent / "java" / "Decode.java"


class JavaFormat:
    """A JVM with the format's classes, which answers one question after the other."""

    def __init__(self) -> None:
        classes = ":".join(
            f"{folder}/*"
            for folder in (jars.JAVA_JARS, flink.distribution() / "lib", jars.PARQUET_JARS, jars.CONNECTOR_JARS)
        )
        command = [jars.java(), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes]
        self._program = JavaProgram([*command, str(_PROGRAM)])

    def decode(
        self, encoding: str, schema: Mapping[str, Any], values: Sequence[bytes], appended: int = 0, **framing: Any
    ) -> list[dict[str, Any]]:
        """For each value ``{"row": {column: text}}``, or ``{"reason": …}``; ``{"failed": …}`` if a job would fail.

        :param appended: so many of the last columns may be missing.
        :param framing: ``framed``, ``ids``, ``written`` (a schema of Avro), ``registry`` (its URL), with
            ``authorization`` and ``ca`` (PEM), ``message`` (of Protobuf), ``unwrap``, if any.
        """
        texts = [base64.b64encode(value).decode() for value in values]
        return self._ask(encoding, schema, values=texts, appended=appended, **framing)

    def read(
        self,
        encoding: str,
        schema: Mapping[str, Any],
        file: Path,
        *,
        header: bool = False,
        splits: int = 1,
        skip: int = 0,
    ) -> list[dict[str, Any]]:
        """For each row of a file ``{"row": {column: text}}``, and ``{"refused": …}`` where it is not read on.

        :param splits: into how many parts the file is cut.
        :param skip: so many rows of each part were read before.
        """
        return self._ask(encoding, schema, file=str(file), header=header, splits=splits, skip=skip)

    def table(self, options: Mapping[str, str]) -> list[dict[str, Any]]:
        """``{"refused": …}`` where a job's table over files is not made, with options of its DDL; else nothing."""
        return list(self._program.ask({"options": dict(options)}))

    def _ask(self, encoding: str, columns_: Mapping[str, Any], **question: Any) -> list[dict[str, Any]]:
        unwrap = question.get("unwrap")
        columns = [
            [name, kind.name.upper(), kind.precision, kind.scale, column.options(path_of(name, column, unwrap))]
            for name, column in declared(columns_).items()
            for kind in [column.type]
        ]
        return list(self._program.ask({"encoding": encoding, "columns": columns, **question}))

    def close(self) -> None:
        """End it."""
        self._program.close()


def declared(schema: Mapping[str, Any]) -> dict[str, Column]:
    """Columns as a pipeline file has them."""
    return {name: Column.model_validate(written) for name, written in schema.items()}


def value_of(case: Mapping[str, Any]) -> bytes:
    """A case's record."""
    return bytes.fromhex(case["hex"]) if "hex" in case else str(case["text"]).encode()


def row_of(case: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A case's row, as the decoder in Python makes it; columns that the case does not name are null."""
    row = dict.fromkeys(schema)
    for name, written in case["row"].items():
        row[name] = _value(written, Column.model_validate(schema[name]).type)
    return row


def _value(written: Any, kind: FeatureType) -> Any:
    if kind.is_floating:
        return float(written)
    if kind.is_decimal:
        return Decimal(written)
    readers: dict[str, Any] = {
        "binary": bytes.fromhex,
        "date": date.fromisoformat,
        "timestamp": datetime.fromisoformat,
    }
    return readers.get(kind.name, lambda same: same)(written)


def texts(row: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, str | None]:
    """A row as `JavaFormat` writes it: what is equal there is the same value, bit by bit."""
    return {
        name: None if row[name] is None else _text(row[name], column.type) for name, column in declared(schema).items()
    }


def _text(value: Any, kind: FeatureType) -> str:
    if kind.name == "boolean":
        return str(value).lower()
    if kind.is_floating:
        if kind.name == "float":
            (value,) = struct.unpack("<f", struct.pack("<f", value))
        return struct.pack(">d", math.nan if math.isnan(value) else value).hex()
    if kind.is_decimal:
        # Flink's decimals know no zero below zero.
        return f"{value if value else Decimal(0):.{kind.scale}f}"
    if kind.name == "binary":
        return base64.b64encode(value).decode()
    if kind.name == "timestamp":
        since = value - datetime(1970, 1, 1)
        return str((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)
    return str(value)
