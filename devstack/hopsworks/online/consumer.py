"""The online consumer: Kafka topics into the online store, rows and offsets in one transaction.

Partitions are assigned by hand, without a consumer group: the offsets live beside the rows, as in OnlineFS.
"""

from __future__ import annotations

import fcntl
import re
import signal
import sqlite3
import threading
import time
from collections import Counter
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from devstack.config import DevstackConfig
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.home.log import configure_logging, get_logger
from devstack.hopsworks.metadata.db import immediate
from devstack.hopsworks.metadata.store import MetadataStore
from devstack.hopsworks.online.store import add_results, connect_online_store, load_offsets, save_offsets
from devstack.hopsworks.online.writer import OnlineWriter, Record, Targets
from devstack.kafka.access import consumer_settings

TOPIC_PATTERN = re.compile(r".*_onlinefs\Z")
BATCH_SIZE = 1000
POLL_SECONDS = 0.2
# The platform's service looks every 60 seconds.
DISCOVERY_SECONDS = 2.0
RETRY_SECONDS = 5.0
REPORT_SECONDS = 30.0
log = get_logger("onlinefs")


class OnlineConsumer:
    """Reads all online topics of the broker until :meth:`stop`."""

    def __init__(self, config: DevstackConfig) -> None:
        layout = Layout(config)
        self.store = MetadataStore(layout)
        self.online = connect_online_store(layout)
        self.writer = OnlineWriter(Targets(self.store, self.online), self.online)
        self.consumer = Consumer(consumer_settings(config, "onlinefs"))
        self._assigned: set[tuple[str, int]] = set()
        self._stopping = threading.Event()
        self._next_discovery = 0.0
        self._total: Counter[str] = Counter()
        self._next_report = time.monotonic() + REPORT_SECONDS

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        """Read and write until stopped. A failure of broker or store pauses, and loses no record."""
        log.info("online consumer started")
        while not self._stopping.is_set():
            try:
                self._discover()
                messages = self._poll()
            except KafkaException as error:
                log.warning("broker: %s; trying again in %g s", error, RETRY_SECONDS)
                self._stopping.wait(RETRY_SECONDS)
                continue
            if messages:
                self._write(messages)
            self._report()
        self.consumer.close()
        log.info("online consumer stopped")

    def _discover(self) -> None:
        """Assign the partitions of new topics, unassign those of deleted ones."""
        if time.monotonic() < self._next_discovery:
            return
        topics = self.consumer.list_topics(timeout=5.0).topics
        named = {group.online_topic_name for group in self.store.feature_groups() if group.online_enabled}
        found = {
            (name, partition)
            for name, metadata in topics.items()
            if (TOPIC_PATTERN.match(name) or name in named) and metadata.error is None
            for partition in metadata.partitions
        }
        gone, new = self._assigned - found, found - self._assigned
        if gone:
            self.consumer.incremental_unassign([TopicPartition(*key) for key in gone])
        if new:
            saved = load_offsets(self.online)
            self.consumer.incremental_assign(
                [
                    TopicPartition(topic, partition, saved.get((topic, partition), OFFSET_BEGINNING))
                    for topic, partition in sorted(new)
                ]
            )
            log.info("assigned: %s", ", ".join(f"{topic}[{partition}]" for topic, partition in sorted(new)))
        self._assigned = found
        self._next_discovery = time.monotonic() + DISCOVERY_SECONDS

    def _poll(self) -> list[Any]:
        messages = []
        # The first record ends the wait: consume() alone would sit out its timeout for a full batch.
        first = self.consumer.poll(POLL_SECONDS)
        if first is None:
            return []
        for message in (first, *self.consumer.consume(BATCH_SIZE - 1, 0)):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() not in (KafkaError._PARTITION_EOF, KafkaError.UNKNOWN_TOPIC_OR_PART):
                log.warning("broker: %s", error.str())
        return messages

    def _write(self, messages: list[Any]) -> None:
        records = [Record(m.topic(), m.partition(), m.offset(), m.headers(), m.value()) for m in messages]
        while not self._stopping.is_set():
            try:
                self._commit(records)
                return
            except sqlite3.Error as error:
                log.warning("online store: %s; trying the batch again in %g s", error, RETRY_SECONDS)
                self._stopping.wait(RETRY_SECONDS)

    def _commit(self, records: list[Record]) -> None:
        next_offsets = {(record.topic, record.partition): record.offset + 1 for record in records}
        with immediate(self.online):
            counts = self.writer.apply(records)
            add_results(self.online, ((i, status, n) for (i, status), n in counts.items() if i is not None and n))
            save_offsets(self.online, ((*place, offset) for place, offset in next_offsets.items()))
        self._total["records"] += len(records)
        for (_, status), rows in counts.items():
            self._total[status] += rows

    def _report(self) -> None:
        if time.monotonic() < self._next_report:
            return
        if self._total:
            log.info("since the last report: %s", ", ".join(f"{k} {v}" for k, v in sorted(self._total.items())))
        self._total.clear()
        self._next_report = time.monotonic() + REPORT_SECONDS


def run(config: DevstackConfig) -> None:
    """The process: until SIGTERM or SIGINT."""
    configure_logging()
    layout = Layout(config)
    layout.locks.mkdir(parents=True, exist_ok=True)
    with (layout.locks / "onlinefs.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"Another online consumer works on {layout.home} already; stop it first.") from None
        _run_until_signal(config)


def _run_until_signal(config: DevstackConfig) -> None:
    consumer = OnlineConsumer(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: consumer.stop())
    consumer.run()
