"""The newest records of a topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from hopsworks_flink.clients.kafka.offsets import stable_offsets
from hopsworks_flink.clients.kafka.reading import read_committed

#: So many of each topic are looked at, and so many seconds it may take.
MOST = 500
SECONDS = 10.0


def newest_records(
    conf: Mapping[str, Any], topic: str, since: int, *, most: int = MOST
) -> list[tuple[bytes | None, int]]:
    """Value and Kafka timestamp (epoch milliseconds) of the newest committed records; partitions share alike.

    :param conf: librdkafka settings that reach the broker.
    :param since: only records whose Kafka timestamp is not older, epoch milliseconds.
    :param most: about so many at the most.
    :return: empty if the topic does not exist.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    found: list[tuple[bytes | None, int]] = []

    def take(record: Any) -> None:
        _, arrived = record.timestamp()
        if arrived >= since:
            found.append((record.value(), arrived))

    take_newest(conf, topic, take, most=most)
    return found


def take_newest(conf: Mapping[str, Any], topic: str, take: Callable[[Any], None], *, most: int = MOST) -> None:
    """Hand the newest committed records of a topic on; partitions share alike.

    :param most: about so many at the most.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """

    def look(record: Any) -> bool:
        take(record)
        return False

    ends = stable_offsets(conf, topic)
    share = max(1, most // max(1, len(ends)))
    ranges = {partition: (max(0, end - share), end) for partition, end in ends.items()}
    read_committed(conf, topic, ranges, look, time.monotonic() + SECONDS, complete=False)
