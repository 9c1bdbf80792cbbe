"""Blocks of Kafka's record batches: taken apart as a client that reads record by record would take them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack.hopsworks.offline.bulkavro import BulkDecoder
from devstack.hopsworks.offline.bulkrecords import RecordDecoder
from devstack.hopsworks.offline.recordbatches import Block, OddRecordsError, blocks
from devstack.hopsworks.offline.topicreader import CODE_NAMES, RouteCodes
from tests.devstack.hopsworks.samples import SMALL, SMALL_TEXT, make_group, small

EVERYTHING = (0, 2**62)
_ATTRIBUTES, _PRODUCER = 21, 43


@dataclass(frozen=True)
class Record:
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    key: bytes | None = b"k"


def own(group=7, subject=3, **more):
    known = {"projectId": 119, "featureGroupId": group, "subjectId": subject, **more}
    return tuple((name, str(value).encode()) for name, value in known.items())


OWN, OTHER = own(), own(group=8)


def batch(records, base=0, codec=None, attributes=0, producer=-1) -> bytes:
    """As a producer makes it, at an offset that the broker gives."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=2**30,
    )  # fmt: skip
    for offset, record in enumerate(records):
        builder.append(offset, 1000 + offset, record.key, record.value, list(record.headers))
    made = builder.build()
    head, body = bytearray(made[:61]), bytes(made[61:])
    if codec:
        number, name = codec
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, name) as stream:
            stream.write(body)
        body, attributes = sink.getvalue().to_pybytes(), attributes | number
    struct.pack_into(">qi", head, 0, base, len(head) + len(body) - 12)
    struct.pack_into(">h", head, _ATTRIBUTES, attributes)
    struct.pack_into(">q", head, _PRODUCER, producer)
    return bytes(head) + body


def only(*args, **kwargs) -> Block:
    (block,) = blocks(*args, **kwargs)
    return block


def decoder() -> RecordDecoder:
    return RecordDecoder(make_group(*SMALL), SMALL_TEXT, RouteCodes(7, 3))


def kept(number, text="x", headers=OWN):
    return Record(small(number, text), headers)


# --- batches ---------------------------------------------------------------------------------------------------


def test_batches_are_joined_and_what_was_cut_off_is_left():
    first, second = batch([kept(0), kept(1)], base=5), batch([kept(2)], base=9)
    whole = only(3, first + second, EVERYTHING, 10)
    assert (whole.partition, whole.count, whole.next_offset) == (3, 3, 10)
    assert whole.base_offsets.tolist() == [5, 5, 9]
    for length in (len(first), len(first) + 30, len(first) + len(second) - 1):
        cut = only(0, (first + second)[:length], EVERYTHING, 10)
        assert (cut.count, cut.next_offset) == (2, 7)
    nothing = only(0, first[:20], (4, 9), 10)
    assert (nothing.count, nothing.next_offset) == (0, 4)


def test_blocks_stay_small():
    data = b"".join(batch([kept(0)] * 4, base=4 * number) for number in range(5))
    assert [(block.count, block.next_offset) for block in blocks(0, data, EVERYTHING, 9)] == [(8, 8), (8, 16), (4, 20)]


def test_nothing_at_or_behind_the_end_is_read():
    data = batch([kept(0)] * 4, base=0) + batch([kept(0)] * 4, base=4) + batch([kept(0)] * 4, base=8)
    assert only(0, data, (0, 8), 99).count == 8
    inside = only(0, data, (2, 6), 99)
    assert (inside.count, inside.next_offset) == (8, 6)
    assert decoder().decode(inside).offsets.tolist() == [2, 3, 4, 5]
    # Compaction and markers leave offsets without records.
    assert only(0, batch([kept(0)], base=20), (5, 10), 99).next_offset == 10


def test_markers_of_transactions_are_no_records():
    data = batch([kept(0)], base=0, attributes=0x10) + batch([kept(9)], base=1, attributes=0x30) + batch([kept(1)], 2)
    block = only(0, data, EVERYTHING, 99)
    assert (block.count, block.next_offset) == (2, 3)
    assert decoder().decode(block).offsets.tolist() == [0, 2]


@pytest.mark.parametrize("codec", [None, (4, "zstd")])
def test_what_a_transaction_has_aborted_is_left_out(codec):
    """Up to its marker, and only of its producer: another one may write between, and it may go on itself."""

    def written(base, number, producer, attributes=0x10):
        return batch([kept(number)], base=base, producer=producer, attributes=attributes, codec=codec)

    def marker(base, producer):
        return batch([kept(99)], base=base, producer=producer, attributes=0x30)

    data = [
        written(0, 0, producer=1), marker(1, producer=1),
        written(2, 1, producer=1), written(3, 2, producer=2), written(4, 3, producer=-1, attributes=0),
        written(5, 4, producer=1), marker(6, producer=1),
        written(7, 5, producer=1), marker(8, producer=2), marker(9, producer=1),
        written(10, 6, producer=2), marker(11, producer=2),
    ]  # fmt: skip
    block = only(0, b"".join(data), EVERYTHING, 99, [(2, 10), (1, 2)])
    assert (decoder().decode(block).offsets.tolist(), block.next_offset) == ([0, 3, 4, 7], 12)
    # An answer may begin within the transaction.
    block = only(0, b"".join(data[5:]), EVERYTHING, 99, [(1, 2), (2, 10)])
    assert decoder().decode(block).offsets.tolist() == [7]


@pytest.mark.parametrize("codec", [(1, "gzip"), (3, "lz4"), (4, "zstd")])
def test_compressed_batches(codec):
    rows = [kept(number) for number in range(100)]
    records = decoder().decode(only(0, batch(rows, codec=codec), EVERYTHING, 999))
    assert records.table["id"].to_pylist() == list(range(100))


def test_unknown_formats_are_odd():
    with pytest.raises(OddRecordsError, match="codec 2"):
        only(0, batch([kept(0)], attributes=2), EVERYTHING, 9)
    old = LegacyRecordBatchBuilder(magic=1, compression_type=0, batch_size=1000)
    for offset in range(3):
        old.append(offset, timestamp=1, key=None, value=b"x" * 50)
    with pytest.raises(OddRecordsError, match="old format 1"):
        only(0, bytes(old.build()), EVERYTHING, 9)


# --- records ---------------------------------------------------------------------------------------------------


def test_records_of_one_group():
    rows = [kept(number, "y" * (number % 90)) for number in range(500)]
    records = decoder().decode(only(2, batch(rows[:300], 10) + batch(rows[300:], 400), EVERYTHING, 999))
    assert records.table.equals(BulkDecoder(make_group(*SMALL), SMALL_TEXT).decode([row.value for row in rows]))
    assert records.offsets.tolist() == [*range(10, 310), *range(400, 600)]
    assert set(records.codes.tolist()) == {CODE_NAMES.index("kept")}
    assert (records.partition, records.next_offset) == (2, 600)


def test_records_of_several_groups_and_schemas():
    rows = [
        kept(0),
        Record(b"bytes of another schema", OTHER),
        kept(1, headers=own(subject=2)),
        kept(2),
        Record(b"", own(group="?")),
        kept(3),
    ]
    found = decoder().decode(only(0, batch(rows), EVERYTHING, 99))
    expected = ["kept", "other_group", "other_subject", "kept", "no_headers", "kept"]
    assert [CODE_NAMES[code] for code in found.codes] == expected
    assert found.table["id"].to_pylist() == [0, 2, 3]
    assert found.offsets.tolist() == [0, 3, 5]


def test_headers_of_equal_length_are_told_apart():
    rows = [kept(0), kept(1, headers=own(group=8)), kept(2)]
    assert decoder().decode(only(0, batch(rows), EVERYTHING, 99)).table["id"].to_pylist() == [0, 2]


def test_a_block_of_other_records_only():
    found = decoder().decode(only(0, batch([kept(0, headers=OTHER)] * 3), EVERYTHING, 99))
    assert (len(found.codes), len(found.offsets), found.table) == (3, 0, None)


@pytest.mark.parametrize("wrong", [b"", b"\x02", small(1) + b"\0", small(1)[:-1], b"\xff" * 30])
def test_values_that_cannot_be_decoded_are_handed_over(wrong):
    rows = [kept(0), Record(wrong, OWN), kept(2)]
    found = decoder().decode(only(0, batch(rows), EVERYTHING, 99))
    assert found.table is None
    assert found.values.to_pylist() == [row.value for row in rows]
    assert found.offsets.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "odd",
    [
        Record(None, OWN),
        Record(small(1), OWN, key=None),
        Record(small(1), OWN[:2]),
        Record(small(1), own(storage="offline")),
        Record(small(1), (*OWN[:2], ("subjectId", None))),
    ],
    ids=["no value", "no key", "a header less", "a header more", "header without value"],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_does_not_fit_is_odd(odd, first):
    rows = [odd, kept(0), kept(2)] if first else [kept(0), odd, kept(2)]
    with pytest.raises(OddRecordsError):
        decoder().decode(only(0, batch(rows), EVERYTHING, 99))


def test_broken_bytes_are_odd():
    block = only(0, batch([kept(0), kept(1)]), EVERYTHING, 99)
    for body in (block.body[:-1], block.body + b"\0", b"", b"\xff" * 40):
        with pytest.raises(OddRecordsError):
            decoder().decode(Block(0, body, np.zeros(2, np.int64), EVERYTHING, 2))


HEADERS = st.sampled_from([OWN, OTHER, own(subject=2), own(storage="online"), own(operation="delete"), ()])
VALUES = st.builds(small, st.integers(-(2**63), 2**63 - 1), st.none() | st.text(max_size=9)) | st.binary(max_size=40)
RECORDS = st.lists(st.builds(Record, VALUES, HEADERS, st.binary(max_size=20)), min_size=1, max_size=12)


class Message:
    def __init__(self, record: Record) -> None:
        self._headers = list(record.headers) or None

    def headers(self):
        return self._headers


@settings(max_examples=60, deadline=None)
@given(records=RECORDS, several=st.lists(st.integers(1, 4), max_size=3), wanted=st.tuples(st.integers(0, 6)))
def test_as_record_by_record(records, several, wanted):
    """Whatever the records are: either as one by one, or the other reader is called."""
    data, done = b"", 0
    for number in [*several, len(records)]:
        if records[done : done + number]:
            data += batch(records[done : done + number], base=done)
        done += number
    asked = (wanted[0], len(records))
    try:
        found = decoder().decode(only(0, data, asked, 999))
    except OddRecordsError:
        assert len({len(record.headers) for record in records}) > 1
        return
    expected = records[wanted[0] :]
    assert found.codes.tolist() == RouteCodes(7, 3).of([Message(record) for record in expected]).tolist()
    own_values = [record.value for record in expected if record.headers == OWN]
    assert len(found.offsets) == len(own_values)
    if not own_values:
        assert not found.table
    elif found.table is not None:
        assert found.table.equals(BulkDecoder(make_group(*SMALL), SMALL_TEXT).decode(own_values))
    else:
        assert found.values.to_pylist() == own_values
