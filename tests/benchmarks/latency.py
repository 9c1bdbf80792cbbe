"""From an event that is produced to its row: at 1,000 events a second up to the local online store, where it can be
read, and at 10,000 a second up to the topic of features, which is where the package's part ends.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from devstack.hopsworks.home.layout import Layout
from tests.benchmarks.cluster import Cluster
from tests.benchmarks.platform import Deployed
from tests.benchmarks.results import percentile

RATE, HIGH_RATE = 1_000, 10_000
CARDS = 1_000
WARM_UP_SECONDS = 15
_TICK = 0.005
_LOOK_SECONDS = 0.01
# `on_event` gives a row for each event. For windows the event waits for the end of its second.
MODES: dict[str, dict[str, Any]] = {
    "on_event": {"emit": "on_event", "window": {"size": "10m"}},
    "on_window": {"window": {"size": "10s", "slide": "1s"}},
}


def measure(cluster: Cluster, *, seconds: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """p50, p99 and the largest latency of both ways to emit, in milliseconds."""
    cluster.up("kafka", "flink-jobmanager", "flink-taskmanager", "hopsworks", "hopsworks-onlinefs")
    found = {}
    for mode, group in MODES.items():
        found[mode] = _measure(cluster, mode, group, seconds)
        tell(f"latency {mode}: {found[mode]}")
    found["on_event_into_the_topic"] = _into_the_topic(cluster, seconds)
    tell(f"latency on_event into the topic: {found['on_event_into_the_topic']}")
    return found


def _measure(cluster: Cluster, mode: str, group: dict[str, Any], seconds: int) -> dict[str, Any]:
    name = f"latency_{mode}_{int(time.time())}"
    deployed = _deployed(cluster, name, group)
    events = _Events(deployed, seconds + WARM_UP_SECONDS, RATE)
    try:
        latencies = _watch(cluster, f"{name}_1", events, seconds)
    finally:
        events.join()
        deployed.end()
    return _told(latencies)


def _into_the_topic(cluster: Cluster, seconds: int) -> dict[str, Any]:
    """By the time at which the broker appends each row: nobody has to look at ten thousand rows a second meanwhile."""
    name = f"latency_topic_{int(time.time())}"
    deployed = _deployed(cluster, name, MODES["on_event"])
    try:
        topic = deployed.online_topic
        brokers = {"bootstrap.servers": cluster.config.kafka_bootstrap}
        _stamp_when_appended(AdminClient(brokers), topic)
        consumer = Consumer({**brokers, "group.id": name})
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)[1] for number in partitions]
        events = _Events(deployed, seconds + WARM_UP_SECONDS, HIGH_RATE)
        began = time.time()
        events.join()
        consumer.assign([TopicPartition(topic, number, end) for number, end in zip(partitions, ends, strict=True)])
        latencies = []
        while rows := consumer.consume(5_000, timeout=5):
            for row in rows:
                if error := row.error():
                    raise KafkaException(error)
                newest = deployed.decode(row.value())["newest"]
                if newest > (began + WARM_UP_SECONDS) * 1000:
                    latencies.append(float(row.timestamp()[1] - newest))
        consumer.close()
    finally:
        deployed.end()
    assert len(latencies) > 0.9 * HIGH_RATE * seconds, f"only {len(latencies)} rows of {HIGH_RATE * seconds} events"
    return _told(latencies)


def _stamp_when_appended(admin: AdminClient, topic: str) -> None:
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(30)


def _told(latencies: list[float]) -> dict[str, Any]:
    return {
        "p50_ms": percentile(latencies, 50),
        "p99_ms": percentile(latencies, 99),
        "largest_ms": max(latencies),
        "events": len(latencies),
    }


def _deployed(cluster: Cluster, name: str, group: dict[str, Any]) -> Deployed:
    deployed = Deployed(
        cluster,
        {
            "name": name,
            "source": {
                "topic": name,
                "schema": {"tid": "string", "datetime": "bigint", "cc_num": "bigint", "amount": "double"},
                "event_time": {"column": "datetime", "unit": "milliseconds"},
                "max_disorder": "0s",
            },
            "feature_groups": [
                {
                    "name": name,
                    "key": ["cc_num"],
                    "aggregates": {
                        "events": "count",
                        "mean": {"avg": "amount"},
                        "deviation": {"stddev_samp": "amount"},
                        # Tells which events a row has seen.
                        "newest": {"max": "datetime"},
                    },
                    **group,
                }
            ],
        },
    )
    deployed.register()
    deployed.deploy("submitted")
    return deployed


class _Events(threading.Thread):
    """Produces at a steady rate; remembers of each card which events are not seen yet."""

    def __init__(self, deployed: Deployed, seconds: float, rate: int) -> None:
        super().__init__(daemon=True)
        self._deployed, self._seconds, self._rate = deployed, seconds, rate
        self.waiting: list[deque[tuple[int, float]]] = [deque() for _ in range(CARDS)]
        self.start()

    def run(self) -> None:
        producer = Producer({"bootstrap.servers": self._deployed.cluster.config.kafka_bootstrap, "linger.ms": 1})
        began, number = time.monotonic(), 0
        while (passed := time.monotonic() - began) < self._seconds:
            for number in range(number, int(passed * self._rate)):  # noqa: B020  goes on where the last tick ended
                self._produce(producer, number)
            number = int(passed * self._rate)
            producer.poll(0)
            time.sleep(_TICK)
        producer.flush(30)

    def _produce(self, producer: Producer, number: int) -> None:
        card, now = number % CARDS, time.time()
        stamp = int(now * 1000)
        event = {"tid": f"1-{number}", "datetime": stamp, "cc_num": card, "amount": number % 997 / 10}
        self.waiting[card].append((stamp, now))
        producer.produce(self._deployed.spec["source"]["topic"], self._deployed.encode(event), str(card))


def _watch(cluster: Cluster, table: str, events: _Events, seconds: int) -> list[float]:
    """Latency in milliseconds of each event produced after the warm-up, by looking at the online table."""
    online = sqlite3.connect(f"file:{Layout(cluster.config).online_db}?mode=ro", uri=True, timeout=30)
    found: list[float] = []
    seen = [0] * CARDS
    began = time.time()
    # A little longer: the last window ends and is written after the last event.
    while time.time() < began + WARM_UP_SECONDS + seconds + 5:
        rows = online.execute(f'SELECT cc_num, newest FROM "{table}"').fetchall()
        now = time.time()
        for card, newest in rows:
            if newest == seen[card]:
                continue
            seen[card] = newest
            waiting = events.waiting[card]
            while waiting and waiting[0][0] <= newest:
                produced = waiting.popleft()[1]
                if produced > began + WARM_UP_SECONDS:
                    found.append((now - produced) * 1000)
        time.sleep(_LOOK_SECONDS)
    online.close()
    expected = RATE * seconds
    # The events of the last moments have no successor that would move the watermark over them.
    assert len(found) > 0.9 * expected, f"only {len(found)} of {expected} events were seen in {table}"
    return found
