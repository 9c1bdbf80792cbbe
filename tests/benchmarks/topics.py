"""The topics: one of events for each number of cards, filled once, and one of results for each run."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from tests.benchmarks.cluster import HOME, Cluster, run_java_tool

PARTITIONS = 2
# On a whole minute, and always the same: equal seeds give equal topics.
START = 1_767_225_600_000
WINDOWS_PER_EVENT = 10
# Of event time, whatever the number of cards.
EVENTS_PER_CARD_AND_MINUTE = 12


@dataclass(frozen=True)
class Events:
    """A filled topic.

    :param amount: sum of all amounts.
    """

    topic: str
    cards: int
    events: int
    amount: float


class Topics:
    """Makes, fills, reads and removes topics."""

    def __init__(self, cluster: Cluster) -> None:
        self.brokers = cluster.config.kafka_bootstrap
        self._admin = AdminClient({"bootstrap.servers": self.brokers})

    def filled(self, cards: int, events: int, partitions: int = PARTITIONS) -> Events:
        """A topic with so many events, of an earlier run if that left one."""
        topic = f"transactions_{cards}_{events}_{partitions}"
        note = HOME / f"{topic}.json"
        if topic not in self._admin.list_topics(timeout=10).topics or not note.is_file():
            self.remove(topic)
            self.create(topic, partitions)
            facts = run_java_tool(
                "Fill",
                brokers=self.brokers,
                topic=topic,
                events=events,
                cards=cards,
                rate=cards * EVENTS_PER_CARD_AND_MINUTE // 60,
                start=START,
                partitions=partitions,
            )
            note.write_text(json.dumps(facts))
        return Events(topic, cards, events, json.loads(note.read_text())["amount"])

    def records(self, topic: str) -> int:
        """How many records a topic holds."""
        ends = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(PARTITIONS)}
        return sum(int(future.result(30).offset) for future in self._admin.list_offsets(ends).values())

    def create(self, topic: str, partitions: int = PARTITIONS) -> None:
        # Events of the past would be gone at once with Kafka's default retention.
        settings = {"retention.ms": "-1"}
        self._admin.create_topics([NewTopic(topic, partitions, 1, config=settings)])[topic].result(30)

    def remove(self, topic: str) -> None:
        if topic not in self._admin.list_topics(timeout=10).topics:
            return
        self._admin.delete_topics([topic])[topic].result(30)
        while topic in self._admin.list_topics(timeout=10).topics:
            time.sleep(0.2)

    def digest(self, topic: str) -> dict[str, Any]:
        """Sums over a job's output, see Digest.java."""
        return run_java_tool("Digest", brokers=self.brokers, topic=topic)
