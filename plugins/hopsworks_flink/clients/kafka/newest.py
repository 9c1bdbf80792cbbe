"""The newest records of a topic."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from hopsworks_flink.clients.kafka.client import KafkaClient
from hopsworks_flink.exceptions import KafkaError

#: So many of each topic are looked at, and so many seconds it may take.
MOST = 500
SECONDS = 10.0


def newest_records(
    conf: Mapping[str, Any], topic: str, since: int, *, most: int = MOST
) -> list[tuple[bytes | None, int]]:
    """Value and Kafka timestamp (epoch milliseconds) of the newest records, without those of aborted transactions.

    Partitions share alike. Commits nothing, and joins no group.

    :param conf: librdkafka settings that reach the broker.
    :param since: only records whose Kafka timestamp is not older, epoch milliseconds.
    :param most: about so many at the most.
    :return: empty if the topic does not exist.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    deadline = time.monotonic() + SECONDS
    metadata = KafkaClient(conf).topics(SECONDS).get(topic)
    if metadata is None:
        return []
    share = max(1, most // len(metadata.partitions))
    settings = {"log_level": 0, **conf, "group.id": "unused", "enable.auto.commit": False}
    consumer = Consumer({**settings, "isolation.level": "read_committed", "auto.offset.reset": "earliest"})
    found = []
    try:
        begins: list[Any] = []
        ends: dict[int, int] = {}
        for partition in metadata.partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=SECONDS)
            if low < high:
                begins.append(TopicPartition(topic, partition, max(low, high - share)))
                ends[partition] = high
        consumer.assign(begins)
        while ends and time.monotonic() < deadline:
            for record in consumer.consume(most, timeout=0.5):
                if record.error():
                    raise KafkaException(record.error())
                _, arrived = record.timestamp()
                if arrived >= since:
                    found.append((record.value(), arrived))
            # By the position: a transaction's end has an offset, and is no record.
            for place in consumer.position([TopicPartition(topic, partition) for partition in ends]):
                if place.offset >= ends[place.partition]:
                    del ends[place.partition]
    except KafkaException as error:
        raise KafkaError(f"The newest records of topic {topic} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return found
