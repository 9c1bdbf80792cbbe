"""Avro records in bulk: a chunk of raw values becomes Arrow columns without a step of Python per record.

No reader takes a list of single records, but each takes an object container file: a header with the schema, and a
block of records that stand one behind the other. So the chunk is wrapped as such a file.

A record of wrong length would shift everything behind it without a sign. Therefore a mark of random bytes stands behind
each record, declared as its last field: where every mark is read back whole, every record ended where it should.
"""

from __future__ import annotations

import io
import json
import os
import sys
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.compute as pc

from devstack.hopsworks.metadata.featuretypes import encoded_schema, is_complex
from devstack.hopsworks.metadata.models import FeatureGroup
from devstack.hopsworks.metadata.wire import DecodeError
from devstack.hopsworks.offline.columns import arrow_type, column_builder, in_calendar

_MARK_FIELD = "__mark"
_SYNC = os.urandom(16)


class ContainerReader:
    """Reads records of one record schema that stand one behind the other."""

    def __init__(self, schema: dict[str, Any]) -> None:
        header = io.BytesIO()
        fastavro.writer(header, schema, [], codec="null", sync_marker=_SYNC)
        self._header = header.getvalue()

    def read(self, body: bytes | memoryview, count: int, least: int) -> pa.Table:
        """The columns of the ``count`` records in ``body``.

        Where they end is for the caller to check: bytes left over are not seen. Raises DecodeError, without naming
        the record.

        :param least: minimum size of a record in bytes; not 0.
        """
        # Imported here: it costs half a second, and many runs have nothing to read. The public reader leaves the size
        # of batches to polars.
        from polars import DataFrame

        if sys.version_info < (3, 11):
            # polars-avro declares support for Python 3.10, but imports this name, which is newer.
            import typing

            import typing_extensions

            typing.Self = typing_extensions.Self
        from polars_avro._avro_rs import AvroSource
        from polars_avro._source import seekable_factory

        file = io.BytesIO()
        file.write(self._header)
        # The reader loops for ever over bytes after the last announced record. So more records are announced than the
        # bytes can hold, and one batch takes the wanted number.
        fastavro.schemaless_writer(file, "long", len(body) // least + 1)
        fastavro.schemaless_writer(file, "long", len(body))
        file.write(body)
        file.write(_SYNC)
        file.seek(0)
        try:
            frame = DataFrame(next(AvroSource([seekable_factory(file)], True, False).batch_iter(count, None)))
        except Exception as error:  # arbitrary bytes make the reader fail in any way
            raise DecodeError(f"{type(error).__name__}: {error}") from error
        if len(frame) != count:
            raise DecodeError(f"{len(frame)} records instead of {count}")
        return frame.to_arrow()


class BulkDecoder:
    """From raw values of a feature group to the columns of its offline table.

    Complex features are encoded twice; their inner values are decoded one by one, because a broken block count can
    send the bulk reader into a loop without end. Scalar records hold no counts.

    :param mark: stands behind each value, and shows where one was longer or shorter than its schema says; eight bytes
        that nobody can guess.
    """

    def __init__(self, group: FeatureGroup, schema_text: str, mark: bytes | None = None) -> None:
        self._mark = mark or os.urandom(8)
        schema = json.loads(schema_text)
        types = {field["name"]: field["type"] for field in schema["fields"]}
        #: Of the bytes of one value.
        self.schema = encoded_schema(schema)
        field = {"name": _MARK_FIELD, "type": {"type": "fixed", "name": "Mark", "namespace": "devstack", "size": 8}}
        self._reader = ContainerReader({**self.schema, "fields": [*self.schema["fields"], field]})
        features = [feature for feature in group.features if feature.name in types]
        self._columns = [(feature.name, arrow_type(feature.type or "")) for feature in features]
        self._inner = {f.name: column_builder(f, types[f.name]) for f in features if is_complex(f.type or "")}

    def decode(self, values: list[bytes] | pa.Array) -> pa.Table:
        """The columns of ``values``, in the group's order. Raises DecodeError when any of them is broken.

        :param values: as a list, or as an Arrow array of binary without nulls.
        """
        table = self._reader.read(_marked(values, self._mark), len(values), least=len(self._mark))
        marks = table[_MARK_FIELD].cast(pa.binary())
        if not pc.all(pc.equal(marks, pa.scalar(self._mark))).as_py():
            raise DecodeError("a record is longer or shorter than its schema says")
        return self.columns(table)

    def columns(self, outer: pa.Table) -> pa.Table:
        """The group's columns, in its order, of what was read with :attr:`schema`. Raises DecodeError."""
        try:
            return pa.table({name: self._column(name, outer[name], target) for name, target in self._columns})
        except (pa.ArrowException, OverflowError) as error:
            raise DecodeError(f"{type(error).__name__}: {error}") from error

    def _column(self, name: str, column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
        build = self._inner.get(name)
        if build is not None:
            return pa.chunked_array([build(column.to_pylist())])
        if pa.types.is_decimal(target):
            _check_digits(name, column, target)
        return in_calendar(name, column.cast(target))


def _check_digits(name: str, column: pa.ChunkedArray, target: pa.Decimal128Type) -> None:
    """Arrow casts between decimals of one scale without a look at the digits."""
    limit = Decimal((0, (9,) * target.precision, -target.scale))
    for bound, beyond in ((limit, pc.greater), (limit.copy_negate(), pc.less)):
        if pc.any(beyond(column, pa.scalar(bound, target))).as_py():
            raise DecodeError(f"{name}: a value has more digits than {target.precision}")


def _marked(values: list[bytes] | pa.Array, mark: bytes) -> bytes | memoryview:
    """All values, each followed by a mark."""
    try:
        if isinstance(values, list):
            return mark.join([*values, b""])
    except TypeError as error:
        raise DecodeError("a record has no value") from error
    joined = pc.binary_join_element_wise(values, pa.scalar(mark), pa.scalar(b""))
    # The array is new, so its bytes begin with its first value.
    return memoryview(joined.buffers()[2])
