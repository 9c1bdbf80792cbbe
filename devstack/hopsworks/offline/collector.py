"""From chunks of a topic's records to rounds of Arrow rows: filter by headers, decode, count."""

from __future__ import annotations

import sys
import time
from collections import Counter

import numpy as np
import pyarrow as pa

from devstack.hopsworks.metadata.models import FeatureGroup
from devstack.hopsworks.metadata.store import SubjectVersion
from devstack.hopsworks.metadata.wire import DecodeError, value_decoder
from devstack.hopsworks.offline.bulkavro import BulkDecoder
from devstack.hopsworks.offline.bulkrecords import RecordDecoder, Records
from devstack.hopsworks.offline.columns import OFFSET, PARTITION, TableBuilder
from devstack.hopsworks.offline.recordbatches import Block
from devstack.hopsworks.offline.rounds import ROUND_BYTES, ROUND_ROWS, Rounds
from devstack.hopsworks.offline.topicreader import CODE_NAMES, KEPT, Chunk, RouteCodes

# One call of the decoder costs a millisecond, whatever it decodes.
DECODE_ROWS = 32_768
DECODE_BYTES = 64 * 1024 * 1024
PIECE = 2_048


class Collector:
    """Takes chunks as they are read and submits rounds to be written."""

    def __init__(
        self, group: FeatureGroup, subject: SubjectVersion, rounds: Rounds, next_offsets: dict[int, int]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.next_offsets = next_offsets
        self.selected = 0
        self.seconds = 0.0
        self._rounds = rounds
        self._topic = group.online_topic_name
        self._codes = RouteCodes(group.id, subject.id)
        self._decoder = _Decoder(group, subject.schema)
        self._block_decoder = RecordDecoder(group, subject.schema, self._codes)
        self._values: list[bytes] = []
        self._places: list[tuple[np.ndarray, np.ndarray]] = []
        self._value_bytes = 0
        self._tables: list[pa.Table] = []
        self._rows = self._bytes = 0

    def add(self, chunk: Chunk, limit: int) -> None:
        """One chunk, up to the record with which ``limit`` records of the group are reached."""
        codes = self._codes.of(chunk.messages)
        kept = codes == KEPT
        if self.selected + int(kept.sum()) > limit:
            number = int(np.flatnonzero(kept)[limit - self.selected - 1]) + 1
            chunk, codes, kept = chunk.first(number), codes[:number], kept[:number]
        self._count(codes)
        self.next_offsets.update(chunk.next_offsets())
        own = chunk.where(kept)
        self._values += own.values()
        self._places.append((own.partitions, own.offsets))
        self._value_bytes += sum(map(len, own.messages))
        if len(self._values) >= DECODE_ROWS or self._value_bytes >= DECODE_BYTES:
            self._decode()
        self._end_full_round()

    def add_block(self, block: Block, limit: int) -> bool:
        """One block; False, and nothing is taken of it, if it could lead beyond ``limit`` records of the group.

        Raises OddRecordsError, and takes nothing, if the block needs the other reader.
        """
        if self.selected + block.count > limit:
            return False
        began = time.monotonic()
        records = self._block_decoder.decode(block)
        self.seconds += time.monotonic() - began
        self._count(records.codes)
        self.next_offsets[block.partition] = block.next_offset
        self._take(records)
        self._end_full_round()
        return True

    def _take(self, records: Records) -> None:
        partitions = np.full(len(records.offsets), records.partition, np.int32)
        if records.table is not None:
            self._add_table(records.table, partitions, records.offsets)
        elif records.values is not None and len(records.values):
            self._decode_values(records.values.to_pylist(), partitions, records.offsets)

    def _count(self, codes: np.ndarray) -> None:
        self.counts["read"] += len(codes)
        for code, number in enumerate(np.bincount(codes, minlength=len(CODE_NAMES)).tolist()):
            self.counts[CODE_NAMES[code]] += number
        self.selected = self.counts["kept"] + self.counts["undecodable"]

    def finish(self) -> None:
        """The rest, as the last round."""
        self._end_round()

    def _end_full_round(self) -> None:
        if self._rows >= ROUND_ROWS or self._bytes >= ROUND_BYTES:
            self._end_round()

    def _end_round(self) -> None:
        self._decode()
        self._rounds.submit(self._tables, self.next_offsets)
        self._tables, self._rows, self._bytes = [], 0, 0

    def _decode(self) -> None:
        if not self._values:
            return
        values = self._values
        partitions, offsets = (np.concatenate(column) for column in zip(*self._places, strict=True))
        self._values, self._places, self._value_bytes = [], [], 0
        self._decode_values(values, partitions, offsets)

    def _decode_values(self, values: list[bytes], partitions: np.ndarray, offsets: np.ndarray) -> None:
        began = time.monotonic()
        table, broken = self._decoder.decode(values)
        for place, reason in broken.items():
            where = f"{self._topic}[{partitions[place]}]@{offsets[place]}"
            print(f"{where} left out: {reason}", file=sys.stderr)
        self.counts["undecodable"] += len(broken)
        self.counts["kept"] -= len(broken)
        if broken:
            good = np.ones(len(values), bool)
            good[list(broken)] = False
            partitions, offsets = partitions[good], offsets[good]
        self._add_table(table, partitions, offsets)
        self.seconds += time.monotonic() - began

    def _add_table(self, table: pa.Table, partitions: np.ndarray, offsets: np.ndarray) -> None:
        table = table.append_column(PARTITION, pa.array(partitions)).append_column(OFFSET, pa.array(offsets))
        self._tables.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes


class _Decoder:
    """Decodes in bulk; after an error record by record, to find the broken ones and the reasons."""

    def __init__(self, group: FeatureGroup, schema_text: str) -> None:
        self._bulk = BulkDecoder(group, schema_text)
        self._one = value_decoder(schema_text)
        self._builder = TableBuilder(group, schema_text)

    def decode(self, values: list[bytes]) -> tuple[pa.Table, dict[int, str]]:
        """The columns of all records that can be decoded, and by position why the others cannot."""
        try:
            return self._bulk.decode(values), {}
        except DecodeError:
            tables, broken = [], {}
            for start in range(0, len(values), PIECE):
                piece = values[start : start + PIECE]
                try:
                    tables.append(self._bulk.decode(piece))
                except DecodeError:
                    table, reasons = self._one_by_one(piece)
                    tables.append(table)
                    broken.update({start + place: reason for place, reason in reasons.items()})
            return pa.concat_tables(tables), broken

    def _one_by_one(self, values: list[bytes]) -> tuple[pa.Table, dict[int, str]]:
        tables, broken = [self._builder.columns([])], {}
        for place, value in enumerate(values):
            try:
                tables.append(self._builder.columns([self._one(value)]))
            except (DecodeError, pa.ArrowException, OverflowError) as error:
                broken[place] = str(error)
        return pa.concat_tables(tables), broken
