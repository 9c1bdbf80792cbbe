"""Reads the committed records between two offsets of each partition."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from hopsworks_flink.exceptions import KafkaError

# For a configuration without one; nothing is committed under it, and it is not joined.
_GROUP = "hopsworks_flink"
_BATCH = 2000


def read_committed(
    conf: Mapping[str, Any],
    topic: str,
    ranges: Mapping[int, tuple[int, int]],
    take: Callable[[Any], bool],
    deadline: float,
    *,
    complete: bool = True,
) -> bool:
    """Hand the committed records of each partition's range on, in the order of their offsets.

    Records of aborted transactions are left out, as they are for a job.

    :param conf: librdkafka settings that reach the broker.
    :param ranges: partition -> first offset, and the offset behind the last one: the last stable offset, or less.
    :param take: gets a record; True: nothing more is wanted of its partition.
    :param deadline: by ``time.monotonic()``.
    :param complete: whether it is an error if not everything was read by then.
    :return: whether everything was.
    :raises KafkaError: the broker does not answer, or not in time.
    """
    from confluent_kafka import Consumer, KafkaException, TopicPartition
    from confluent_kafka import KafkaError as Code

    ends = {partition: end for partition, (begin, end) in ranges.items() if begin < end}
    if not ends:
        return True
    consumer = Consumer(
        {
            "log_level": 0,
            "group.id": _GROUP,
            **conf,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            # The last offset may belong to a marker, to an aborted transaction or to a record that was compacted away.
            "enable.partition.eof": True,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, ranges[partition][0]) for partition in ends])
        while ends and time.monotonic() < deadline:
            for record in consumer.consume(_BATCH, timeout=min(1.0, max(0.1, deadline - time.monotonic()))):
                partition, offset, error = record.partition(), record.offset(), record.error()
                # The group is none that anybody joins: whether it may be does not matter.
                if error is not None and error.code() not in (Code._PARTITION_EOF, Code.GROUP_AUTHORIZATION_FAILED):
                    raise KafkaException(error)
                if partition not in ends or offset is None:
                    continue
                beyond = error is not None or offset >= ends[partition]
                if beyond or take(record) or offset + 1 >= ends[partition]:
                    del ends[partition]
                    consumer.incremental_unassign([TopicPartition(topic, partition)])
    except KafkaException as error:
        raise KafkaError(f"Topic {topic} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()
    if ends and complete:
        raise KafkaError(f"Topic {topic} could not be read in time: partitions {sorted(ends)} have more records.")
    return not ends
