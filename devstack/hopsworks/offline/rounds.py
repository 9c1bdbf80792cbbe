"""Rounds: a run's rows are written to the offline table in portions while the next records are read.

Each round de-duplicates its rows, writes them to the table and then saves its offsets. So memory is bounded, and a run
that dies is continued after its last complete round.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from devstack.hopsworks.offline.checkpoint import Checkpoint, save_checkpoint
from devstack.hopsworks.offline.table import Written, drop_null_keys, latest_per_key, merge

ROUND_ROWS = 500_000
ROUND_BYTES = 256 * 1024 * 1024


class Rounds:
    """Writes rounds in a thread, one at a time: Arrow and Delta release the interpreter for the reader."""

    def __init__(self, location: Path, topic: str, keys: list[str]) -> None:
        self._location, self._topic, self._keys = location, topic, keys
        self._writer = ThreadPoolExecutor(1, "writer")
        self._unfinished: Future[None] | None = None
        self.written = Written()
        self.null_keys = self.unique = 0
        self.seconds = 0.0

    def submit(self, tables: list[pa.Table], next_offsets: dict[int, int]) -> None:
        """Submit one round and the offsets after it. Raises the error of the previous round."""
        self.wait()
        self._unfinished = self._writer.submit(self._write, tables, dict(next_offsets))

    def wait(self) -> None:
        """Wait until all rounds are in the table. Raises the error of a round."""
        if self._unfinished is not None:
            unfinished, self._unfinished = self._unfinished, None
            unfinished.result()

    def _write(self, tables: list[pa.Table], next_offsets: dict[int, int]) -> None:
        began = time.monotonic()
        if tables:
            table = pa.concat_tables(tables)
            complete = drop_null_keys(table, self._keys)
            rows = latest_per_key(complete, self._keys)
            self.null_keys += table.num_rows - complete.num_rows
            self.unique += rows.num_rows
            if rows.num_rows:
                done, before = merge(self._location, rows, self._keys), self.written
                self.written = Written(before.inserted + done.inserted, before.updated + done.updated, done.table_rows)
        save_checkpoint(self._location, Checkpoint(self._topic, next_offsets))
        self.seconds += time.monotonic() - began
