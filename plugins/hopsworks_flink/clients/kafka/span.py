"""Reads the committed records of a span of Kafka time: found by the broker's index of times, and bounded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hopsworks_flink.clients.kafka.offsets import partition_histories
from hopsworks_flink.clients.kafka.reading import read_committed
from hopsworks_flink.pipeline.recompute import PartitionHistory

#: Bound on the reading of one span.
SECONDS = 60.0


@dataclass(frozen=True)
class Span:
    """What was read of a topic.

    :param since: Kafka timestamp, epoch milliseconds, of the first record that was looked for; ``until``: of the first
        one that was not, None: up to the end of the topic.
    :param partitions: what each still held, and which part of it belongs to the span.
    :param records: how many were read.
    :param complete: whether all of them were, in the time given.
    """

    topic: str
    since: int
    until: int | None
    partitions: tuple[PartitionHistory, ...]
    records: int
    complete: bool


def read_span(
    conf: Mapping[str, Any],
    topic: str,
    since: int,
    until: int | None,
    take: Callable[[Any], None],
    *,
    seconds: float | None = None,
) -> Span:
    """Hand the records of a span on, each partition's in the order of their offsets.

    :param conf: librdkafka settings that reach the broker.
    :param seconds: how long it may take; None: a minute.
    :raises ConfigurationError: there is no such topic.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    count = 0

    def look(record: Any) -> bool:
        nonlocal count
        count += 1
        take(record)
        return False

    partitions = tuple(partition_histories(conf, topic, since, until))
    ranges = {one.partition: (one.first, one.end) for one in partitions}
    deadline = time.monotonic() + (SECONDS if seconds is None else seconds)
    complete = read_committed(conf, topic, ranges, look, deadline, complete=False)
    return Span(topic, since, until, partitions, count, complete)
