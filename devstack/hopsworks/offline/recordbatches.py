"""Kafka's record batches as a broker sends them, split into blocks of records without parsing any record.

Layout: https://kafka.apache.org/documentation/#recordbatch (magic 2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

# baseOffset, batchLength, partitionLeaderEpoch, magic, crc, attributes, lastOffsetDelta, baseTimestamp, maxTimestamp,
# producerId, producerEpoch, baseSequence, recordCount
_HEADER = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH = struct.calcsize(">qi")
_CODEC_MASK, _TRANSACTIONAL_MASK, _CONTROL_MASK = 0x07, 0x10, 0x20
_NOT_COMPRESSED = 0
# Snappy is missing: Kafka frames it in a way of its own.
_CODECS = {1: "gzip", 3: "lz4", 4: "zstd"}


class OddRecordsError(Exception):
    """Records that cannot be read in bulk; the text says why. The record-by-record reader can read them."""


@dataclass(frozen=True)
class Block:
    """Consecutive records of one partition.

    :param base_offsets: of each record: the offset that its own delta counts from; shape ``(count,)``.
    :param wanted: first offset asked for, and the offset after the last one.
    :param next_offset: the offset behind the last batch.
    """

    partition: int
    body: bytes
    base_offsets: np.ndarray
    wanted: tuple[int, int]
    next_offset: int

    @property
    def count(self) -> int:
        """Number of records, including those outside of ``wanted``."""
        return len(self.base_offsets)


def blocks(
    partition: int,
    data: bytes,
    wanted: tuple[int, int],
    most_records: int,
    aborted: Sequence[tuple[int, int]] = (),
) -> Iterator[Block]:
    """The batches of a fetch's answer, small ones joined into one block; a batch cut off at its end is left out.

    :param aborted: producer and first offset of each aborted transaction in there, as the broker names them; the
        records of these are left out.

    Raises :class:`OddRecordsError` for an old format and for a codec that is not known here.
    """
    bodies: list[bytes | memoryview] = []
    bases: list[int] = []
    counts: list[int] = []
    next_offset = wanted[0]

    def block() -> Block:
        return Block(partition, b"".join(bodies), np.repeat(np.array(bases), counts), wanted, next_offset)

    for base, after, count, body in _batches(memoryview(data), aborted):
        if base >= wanted[1]:
            # Offsets may be missing before an end.
            next_offset = wanted[1]
            break
        if bodies and sum(counts) + count > most_records:
            yield block()
            bodies, bases, counts = [], [], []
        if count:
            bodies.append(body)
            bases.append(base)
            counts.append(count)
        next_offset = min(after, wanted[1])
    yield block()


def _batches(
    data: memoryview, aborted: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int, int, bytes | memoryview]]:
    """Base offset, next offset, number of records and the records of each whole batch.

    A marker has no records, and what was aborted none that count: from the transaction's first offset on those of its
    producer, up to that one's next marker.
    """
    position, aborting = 0, set()
    begins = sorted(aborted, key=lambda transaction: transaction[1], reverse=True)
    while position + _HEADER.size <= len(data):
        fields = _HEADER.unpack_from(data, position)
        base, length, magic, attributes, last_delta, count = *fields[:2], fields[3], fields[5], fields[6], fields[12]
        producer = fields[9]
        if magic != 2:
            raise OddRecordsError(f"record batch at offset {base} has the old format {magic}")
        end = position + _BEFORE_LENGTH + length
        if end > len(data):
            break
        while begins and begins[-1][1] <= base + last_delta:
            aborting.add(begins.pop()[0])
        body: bytes | memoryview = data[position + _HEADER.size : end]
        codec = attributes & _CODEC_MASK
        if attributes & _CONTROL_MASK:
            count = 0
            aborting.discard(producer)
        elif attributes & _TRANSACTIONAL_MASK and producer in aborting:
            count = 0
        elif codec != _NOT_COMPRESSED:
            if codec not in _CODECS:
                raise OddRecordsError(f"record batch at offset {base} is compressed with codec {codec}")
            body = pa.CompressedInputStream(pa.BufferReader(body), _CODECS[codec]).read()
        yield base, base + last_delta + 1, count, body
        position = end
