"""Finds the records that a Flink job cannot decode, which Flink's exception does not name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hopsworks_flink.clients.kafka.client import KafkaClient
from hopsworks_flink.clients.kafka.reading import read_committed
from hopsworks_flink.exceptions import ConfigurationError, KafkaError
from hopsworks_flink.pipeline.decoding import Check

# In every trace of a source that cannot decode, whatever the format says below it.
_MARKS = ("Failed to deserialize consumer record", "Failed to deserialize Avro record", "Failed to deserialize JSON")
#: Bound on a search.
SEARCH_SECONDS = 30.0
_SHOWN_BYTES = 64


@dataclass(frozen=True)
class PoisonedRecord:
    """A record that cannot be decoded.

    :param timestamp: Kafka's, milliseconds since the epoch; None if it has none.
    :param problem: what is wrong with it, a clause.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    value: bytes
    problem: str

    def __str__(self) -> str:
        head = self.value[:_SHOWN_BYTES]
        more = f" … ({len(self.value)} bytes)" if len(self.value) > len(head) else f" ({len(self.value)} bytes)"
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in head)
        return (
            f"topic {self.topic}, partition {self.partition}, offset {self.offset}: {self.problem}; "
            f"value {head.hex(' ') or '(empty)'}{more}, as text {text!r}"
        )


@dataclass(frozen=True)
class Search:
    """The result of a search.

    :param records: the first one of each partition that has any; ordered by partition.
    :param examined: how many records were decoded.
    :param complete: whether every partition was read to its first such record, or to its end.
    """

    records: tuple[PoisonedRecord, ...]
    examined: int
    complete: bool


def is_decoding_failure(stack_trace: str) -> bool:
    """Whether a job's stack trace is that of a source that cannot decode a record."""
    return any(mark in stack_trace for mark in _MARKS)


def find_poison(
    conf: Mapping[str, Any], topic: str, group_id: str, check: Check, *, seconds: float | None = None
) -> Search:
    """The first undecodable record of each partition, from the job's committed offsets on.

    Flink commits the offsets of its checkpoints, and a failing job restarts from there: what it stumbles over comes
    after them. A job that was started elsewhere (rewarmed, or with another schema) may stumble before: if nothing is
    found, the search begins again at the oldest record. Commits nothing, and does not join the group.

    :param conf: librdkafka settings that reach the broker.
    :param group_id: consumer group that the job commits its offsets under.
    :param check: of a record's value, see :func:`~hopsworks_flink.pipeline.decoding.value_check`.
    :param seconds: bound on the reading of records; None: half a minute.
    :raises ConfigurationError: there is no such topic.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    metadata = KafkaClient(conf).topics(SEARCH_SECONDS).get(topic)
    if metadata is None:
        raise ConfigurationError(f"There is no Kafka topic {topic!r}.")
    places = [TopicPartition(topic, partition) for partition in sorted(metadata.partitions)]
    # As the job reads: what a transaction has aborted, or not committed yet, it has not seen.
    settings = {**conf, "group.id": group_id, "isolation.level": "read_committed"}
    consumer = Consumer({"log_level": 0, **settings, "enable.auto.commit": False})
    try:
        ranges, before = {}, {}
        for place in consumer.committed(places, timeout=SEARCH_SECONDS):
            low, end = consumer.get_watermark_offsets(place, timeout=SEARCH_SECONDS)
            begin = min(max(place.offset, low), end)
            ranges[place.partition], before[place.partition] = (begin, end), (low, begin)
    except KafkaException as error:
        raise KafkaError(f"Topic {topic} cannot be searched: {error.args[0].str()}") from error
    finally:
        consumer.close()
    deadline = time.monotonic() + (SEARCH_SECONDS if seconds is None else seconds)
    found = _search(settings, topic, ranges, check, deadline)
    if found.records or not found.complete:
        return found
    earlier = _search(settings, topic, before, check, deadline)
    return Search(earlier.records, found.examined + earlier.examined, earlier.complete)


def _search(
    conf: Mapping[str, Any], topic: str, ranges: Mapping[int, tuple[int, int]], check: Check, deadline: float
) -> Search:
    """Read each partition from its first offset up to its second one, or to what cannot be decoded."""
    found: dict[int, PoisonedRecord] = {}
    examined = 0

    def look(record: Any) -> bool:
        nonlocal examined
        examined += 1
        problem = check(record.value())
        if not problem:
            return False
        _, stamp = record.timestamp()
        found[record.partition()] = PoisonedRecord(
            topic, record.partition(), record.offset(), stamp if stamp >= 0 else None, record.value(), problem
        )
        return True

    complete = read_committed(conf, topic, ranges, look, deadline, complete=False)
    return Search(tuple(found[partition] for partition in sorted(found)), examined, complete)
