"""One execution of a materialization job: the topic's new records of one feature group into its Delta table.

Table first, offsets second: a run that dies in between reads the same records again, and merging them again changes
no value. The end offsets of a run are those known when it started, so it always ends.
"""

from __future__ import annotations

import gc
import json
import os
import shlex
import sys
import time
import traceback
from argparse import ArgumentError, ArgumentParser
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from confluent_kafka import Consumer, TopicPartition

from devstack.config import DevstackConfig
from devstack.hopsworks.home.datasets import Datasets
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.jobs.store import JobStore
from devstack.hopsworks.metadata.models import FeatureGroup, new_commit
from devstack.hopsworks.metadata.store import MetadataStore, SubjectVersion
from devstack.hopsworks.offline.blockreader import BlockReader
from devstack.hopsworks.offline.checkpoint import Checkpoint, load_checkpoint, start_offsets
from devstack.hopsworks.offline.collector import Collector
from devstack.hopsworks.offline.recordbatches import OddRecordsError
from devstack.hopsworks.offline.rounds import Rounds
from devstack.hopsworks.offline.table import Written
from devstack.hopsworks.offline.topicreader import FETCH_SETTINGS, TopicReader
from devstack.kafka.access import consumer_settings

JOB_LIMIT = 5_000_000
# Below, importing and connecting a second client takes longer than it saves.
BLOCKS_FROM = 50_000


class MaterializationError(Exception):
    """The run cannot be done; the text says why."""


def say(text: str) -> None:
    """One line of the execution's stdout log."""
    print(text, flush=True)


@dataclass(frozen=True)
class Arguments:
    """The parsed arguments of the job."""

    config_path: str
    initial: Checkpoint | None

    @classmethod
    def parse(cls, text: str) -> Arguments:
        """Raises MaterializationError for arguments that this job does not know."""
        parser = ArgumentParser(prog="offline_fg_materialization", add_help=False, exit_on_error=False)
        parser.add_argument("-op", choices=["offline_fg_materialization"], required=True)
        parser.add_argument("-path", required=True)
        parser.add_argument("-initialCheckPointString", default="")
        parser.add_argument("-start_time", default=None)

        def refuse(message: str) -> Any:
            raise MaterializationError(f"arguments {text!r}: {message}")

        parser.error = refuse  # type: ignore[method-assign]
        try:
            known = parser.parse_args(shlex.split(text))
            initial = known.initialCheckPointString
            return cls(known.path, Checkpoint.parse(initial) if initial else None)
        except (ValueError, ArgumentError) as error:
            raise MaterializationError(f"arguments {text!r}: {error}") from error


class Materialization:
    """One run for one feature group.

    :param blocks_from: from this number of offsets on, they are read in blocks.
    """

    def __init__(
        self,
        config: DevstackConfig,
        store: MetadataStore,
        group: FeatureGroup,
        limit: int,
        blocks_from: int = BLOCKS_FROM,
    ) -> None:
        self.config = config
        self.store = store
        self.group = group
        self.limit = limit
        self.blocks_from = blocks_from
        self.location = Path(unquote(urlparse(group.location).path))
        self.topic = group.online_topic_name or ""
        versions = store.subject_versions(group.full_name)
        if not versions or not self.topic:
            raise MaterializationError(f"feature group {group.full_name} has no topic or no schema.")
        self.subject: SubjectVersion = versions[-1]

    def run(self, initial: Checkpoint | None) -> None:
        """Read, de-duplicate, merge, save the offsets, register the commit; tells each step on stdout."""
        group = self.group
        say(f"feature group {group.full_name} (id {group.id}), topic {self.topic}, subject id {self.subject.id}")
        settings = {**consumer_settings(self.config, str(group.id)), **FETCH_SETTINGS}
        consumer = Consumer(settings)
        rounds = Rounds(self.location, self.topic, group.offline_key)
        try:
            low, end = self._watermarks(consumer)
            start = start_offsets(self.topic, low, end, load_checkpoint(self.location), initial)
            say(f"start offsets: {Checkpoint(self.topic, start)}")
            say(f"end offsets: {Checkpoint(self.topic, end)}")
            began, cpu = time.monotonic(), sum(os.times()[:2])
            collector = Collector(group, self.subject, rounds, dict(start))
            if sum(end.values()) - sum(start.values()) >= self.blocks_from:
                self._read_blocks(collector, end)
            if collector.selected < self.limit:
                for chunk in TopicReader(consumer, self.topic, collector.next_offsets, end):
                    collector.add(chunk, self.limit)
                    if collector.selected >= self.limit:
                        break
            seconds = max(time.monotonic() - began, 1e-9)
            collector.finish()
        finally:
            consumer.close()
            try:
                rounds.wait()
            finally:
                self._register(rounds.written)
        self._report(collector, rounds, seconds, time.monotonic() - began, cpu)

    def _read_blocks(self, collector: Collector, end: dict[int, int]) -> None:
        """Up to the first odd records, or close to the limit."""
        try:
            with closing(iter(BlockReader(self.config, self.topic, dict(collector.next_offsets), end))) as blocks:
                for block in blocks:
                    if not collector.add_block(block, self.limit):
                        break
        except OddRecordsError as error:
            say(f"from {Checkpoint(self.topic, collector.next_offsets)} on record by record: {error}")

    def _register(self, written: Written) -> None:
        """The commit of the run, also of one that failed after its first rounds."""
        if written.inserted or written.updated:
            self.store.add_commit(self.group.id, new_commit(written.inserted, written.updated, written.table_rows))

    def _report(self, collector: Collector, rounds: Rounds, reading: float, total: float, cpu: float) -> None:
        counts, written = collector.counts, rounds.written
        read = counts["read"]
        say(f"records read: {read} in {reading:.1f} s ({read / reading:.0f}/s)")
        for name in ("kept", "other_group", "other_subject", "online_only", "deletes", "undecodable", "no_headers"):
            say(f"records {name}: {counts[name]}")
        say(f"rows with a null in the key, left out: {rounds.null_keys}")
        say(f"rows after de-duplication on {', '.join(self.group.offline_key)}: {rounds.unique}")
        say(f"rows inserted: {written.inserted}, rows updated: {written.updated}, table rows: {written.table_rows}")
        say(
            f"seconds from the first record to the last commit: {total:.2f}; "
            f"of them decoding {collector.seconds:.2f}, writing {rounds.seconds:.2f} (beside the reading); "
            f"CPU {sum(os.times()[:2]) - cpu:.2f}"
        )
        say(f"next offsets: {Checkpoint(self.topic, collector.next_offsets)}")

    def _watermarks(self, consumer: Consumer) -> tuple[dict[int, int], dict[int, int]]:
        """Lowest and end offset of each partition; what an open transaction holds back lies behind that end."""
        metadata = consumer.list_topics(self.topic, timeout=20.0).topics[self.topic]
        if metadata.error is not None:
            raise MaterializationError(f"topic {self.topic}: {metadata.error.str()}")
        low, end = {}, {}
        for partition in metadata.partitions:
            low[partition], end[partition] = consumer.get_watermark_offsets(
                TopicPartition(self.topic, partition), timeout=20.0
            )
        return low, end


def _load_group(layout: Layout, store: MetadataStore, arguments: Arguments) -> tuple[FeatureGroup, int]:
    """The feature group of the job's configuration file, and its limit of records per run."""
    path = Datasets(layout).existing(arguments.config_path)
    document = json.loads(path.read_text())
    found = [g for g in store.feature_groups(document["name"]) if str(g.version) == str(document["version"])]
    if not found:
        raise MaterializationError(f"feature group {document['name']} version {document['version']} does not exist.")
    limit = int((document.get("write_options") or {}).get("job_limit", JOB_LIMIT))
    if limit < 1:
        raise MaterializationError(f"write option job_limit is {limit}; it must be at least 1.")
    return found[0], limit


def run_execution(config: DevstackConfig, execution_id: int) -> None:
    """The process: runs the execution and writes its final state itself. Never returns."""
    layout = Layout(config)
    store = MetadataStore(layout)
    jobs = JobStore(store.db)
    execution = jobs.execution(execution_id)
    if execution is None:
        raise SystemExit(f"Execution {execution_id} does not exist in {layout.metadata_db}.")
    jobs.mark_running(execution_id)
    # There are no reference cycles, and the garbage collector would scan the headers of each chunk repeatedly.
    gc.disable()
    try:
        arguments = Arguments.parse(execution.args)
        group, limit = _load_group(layout, store, arguments)
        Materialization(config, store, group, limit).run(arguments.initial)
    except Exception as error:
        traceback.print_exc()
        print(f"FAILED: {error}", file=sys.stderr)
        _end(jobs, execution_id, "FAILED", "FAILED")
    _end(jobs, execution_id, "FINISHED", "SUCCEEDED")


def _end(jobs: JobStore, execution_id: int, state: str, final_status: str) -> None:
    say(f"final status: {final_status}")
    sys.stderr.flush()
    jobs.finish(execution_id, state, final_status)
    # Not sys.exit: threads of deltalake still alive at interpreter exit can abort the process after all is done.
    os._exit(0 if final_status == "SUCCEEDED" else 1)
