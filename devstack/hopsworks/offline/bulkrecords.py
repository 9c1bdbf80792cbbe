"""Whole Kafka records in bulk: a block of them becomes Arrow columns without a step of Python per record.

Kafka writes the parts of a record as Avro writes fields: lengths and deltas are zigzag varints, as Avro's ``long`` is,
and keys, values and headers are Avro's ``bytes``. So an Avro reader takes records apart, given the right schema. Where
all records of a block have the same headers, the value's own fields stand in that schema as well, and those headers
are the mark by which each record is seen to end where it should.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from devstack.hopsworks.metadata.models import FeatureGroup
from devstack.hopsworks.metadata.wire import DecodeError
from devstack.hopsworks.offline.bulkavro import BulkDecoder, ContainerReader
from devstack.hopsworks.offline.recordbatches import Block, OddRecordsError
from devstack.hopsworks.offline.topicreader import KEPT, RouteCodes

_LENGTH, _ATTRIBUTES, _DELTA, _VALUE, _COUNT, _MARK = (
    f"__{name}" for name in ("length", "attributes", "delta", "value", "count", "mark")
)
_FRONT = [
    {"name": _LENGTH, "type": "long"},
    {"name": _ATTRIBUTES, "type": {"type": "fixed", "name": "Attributes", "size": 1}},
    {"name": "__time", "type": "long"},
    {"name": _DELTA, "type": "long"},
    {"name": "__key", "type": "bytes"},
]
# After a block whose headers differ, this many blocks are not tried as uniform.
_MIXED_BLOCKS = 8
_MOST_HEADERS = 64


@dataclass(frozen=True)
class Records:
    """The decoded records of a block.

    :param codes: of each record that was asked for: one of ``topicreader.CODE_NAMES``, as its index.
    :param offsets: of each record that is kept.
    :param table: the features of each record that is kept; None if ``values`` could not be decoded in bulk.
    :param values: its raw values.
    """

    partition: int
    codes: np.ndarray
    offsets: np.ndarray
    table: pa.Table | None
    values: pa.Array | None
    next_offset: int


class RecordDecoder:
    """Decodes blocks for one feature group and the newest version of its schema."""

    def __init__(self, group: FeatureGroup, schema_text: str, codes: RouteCodes) -> None:
        self._values = BulkDecoder(group, schema_text)
        self._codes = codes
        self._uniform: dict[bytes, ContainerReader] = {}
        self._mixed: dict[int, ContainerReader] = {}
        self._wait = 0

    def decode(self, block: Block) -> Records:
        """Decode a block. Raises :class:`OddRecordsError` where it must be read record by record."""
        if not block.count:
            none = np.zeros(0, np.int64)
            return Records(block.partition, none.astype(np.int8), none, None, None, block.next_offset)
        headers, raw = _first_headers(block)
        if self._wait:
            self._wait -= 1
        elif self._codes[headers] == KEPT:
            try:
                return self._decode_uniform(block, raw)
            except DecodeError:
                self._wait = _MIXED_BLOCKS
        try:
            return self._decode_mixed(block, len(headers))
        except DecodeError as error:
            raise OddRecordsError(str(error)) from error

    def _decode_uniform(self, block: Block, headers: bytes) -> Records:
        """All records are kept, and end with the same bytes."""
        reader = self._uniform.get(headers)
        if reader is None:
            mark = {"name": _MARK, "type": {"type": "fixed", "name": "Mark", "size": len(headers)}}
            fields = [*_FRONT, {"name": _VALUE, "type": "long"}, *self._values.schema["fields"], mark]
            self._uniform = {headers: ContainerReader({**self._values.schema, "fields": fields})}
            reader = self._uniform[headers]
        columns = reader.read(block.body, block.count, least=len(headers))
        if not pc.all(pc.equal(columns[_MARK].cast(pa.binary()), pa.scalar(headers))).as_py():
            raise DecodeError("headers differ")
        offsets, wanted = _offsets(block, columns)
        table = self._values.columns(columns)
        if not wanted.all():
            offsets, table = offsets[wanted], table.filter(pa.array(wanted))
        codes = np.full(len(offsets), KEPT, np.int8)
        return Records(block.partition, codes, offsets, table, None, block.next_offset)

    def _decode_mixed(self, block: Block, number: int) -> Records:
        """Records with the same number of headers, whatever is in them."""
        reader = self._mixed.get(number)
        if reader is None:
            names = [name for place in range(number) for name in (f"__name{place}", f"__content{place}")]
            rest = [{"name": name, "type": "bytes"} for name in (_VALUE, *names)]
            rest.insert(1, {"name": _COUNT, "type": "long"})
            schema = {"type": "record", "name": "Record", "fields": [*_FRONT, *rest]}
            self._mixed[number] = reader = ContainerReader(schema)
        columns = reader.read(block.body, block.count, least=len(_FRONT) + 2 + 2 * number)
        if not pc.all(pc.equal(columns[_COUNT], number)).as_py():
            raise DecodeError("the number of headers differs")
        offsets, wanted = _offsets(block, columns)
        codes = self._route(columns, number)
        kept = wanted & (codes == KEPT)
        values = columns[_VALUE].cast(pa.binary()).filter(pa.array(kept)).combine_chunks()
        try:
            table = self._values.decode(values) if len(values) else None
        except DecodeError:
            table = None
        return Records(block.partition, codes[wanted], offsets[kept], table, values, block.next_offset)

    def _route(self, columns: pa.Table, number: int) -> np.ndarray:
        """The code of each record."""
        combined, texts = np.zeros(columns.num_rows, np.int64), []
        for place in range(number):
            for name in (f"__name{place}", f"__content{place}"):
                encoded = pc.dictionary_encode(columns[name].cast(pa.binary())).combine_chunks()
                texts.append((encoded.dictionary, encoded.indices.to_numpy()))
                _, combined = np.unique(combined * len(encoded.dictionary) + texts[-1][1], return_inverse=True)
        kinds, first, back = np.unique(combined, return_index=True, return_inverse=True)
        codes = np.zeros(len(kinds), np.int8)
        for kind, example in enumerate(first.tolist()):
            parts = [dictionary[int(indices[example])].as_py() for dictionary, indices in texts]
            try:
                codes[kind] = self._codes[tuple(zip(map(bytes.decode, parts[::2]), parts[1::2], strict=True))]
            except UnicodeDecodeError as error:
                raise DecodeError("the name of a header is not UTF-8") from error
        return codes[back]


def _offsets(block: Block, columns: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The offset of each record, and whether it was asked for. Raises DecodeError if the records are inconsistent."""
    lengths = columns[_LENGTH].to_numpy()
    if int(lengths.sum() + _varint_sizes(lengths).sum()) != len(block.body):
        raise DecodeError("records are longer or shorter than they say")
    if not pc.all(pc.equal(columns[_ATTRIBUTES].cast(pa.binary()), pa.scalar(b"\0"))).as_py():
        raise DecodeError("records have attributes")
    offsets = block.base_offsets + columns[_DELTA].to_numpy()
    if (np.diff(offsets) <= 0).any():
        raise DecodeError("offsets do not grow")
    return offsets, (offsets >= block.wanted[0]) & (offsets < block.wanted[1])


def _varint_sizes(numbers: np.ndarray) -> np.ndarray:
    """How many bytes zigzag varints of numbers from 0 on take."""
    return np.searchsorted(2 ** np.arange(6, 63, 7), numbers, side="right") + 1


def _first_headers(block: Block) -> tuple[tuple[tuple[str, bytes | None], ...], bytes]:
    """The headers of a block's first record, and all bytes from their number on."""
    stream = io.BytesIO(block.body)

    def number() -> int:
        return int(fastavro.schemaless_reader(stream, "long", None))  # type: ignore[arg-type]

    def text() -> bytes | None:
        length = number()
        return None if length < 0 else stream.read(length)

    try:
        end = number() + stream.tell()
        stream.seek(1, io.SEEK_CUR)
        for part in (number, number, text, text):
            part()
        start = stream.tell()
        headers = tuple(((text() or b"").decode(), text()) for _ in range(min(number(), _MOST_HEADERS)))
    except (EOFError, IndexError, UnicodeDecodeError) as error:
        raise OddRecordsError(f"a record cannot be read: {error!r}") from error
    return headers, block.body[start:end]
