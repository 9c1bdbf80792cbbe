"""Offsets and timestamps of a topic's records, and which of them its retention has kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.kafka.client import KafkaClient
from hopsworks_flink.exceptions import ConfigurationError, KafkaError

if TYPE_CHECKING:
    from hopsworks_flink.pipeline.recompute import PartitionHistory

_SECONDS = 30.0


def newest_timestamp(conf: Mapping[str, Any], topic: str) -> int | None:
    """Largest record timestamp of a topic, in milliseconds since the epoch; None for an empty topic.

    :param conf: librdkafka settings that reach the broker.
    :raises ConfigurationError: there is no such topic, or the settings are wrong.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka.admin import OffsetSpec

    (answers,) = offsets(conf, topic, OffsetSpec.max_timestamp())
    if answers is None:
        raise ConfigurationError(f"There is no Kafka topic {topic!r}: deploy the pipeline first, it creates it.")
    return max((answer.timestamp for answer in answers.values() if answer.timestamp > 0), default=None)


def newest_by_partition(conf: Mapping[str, Any], topic: str) -> dict[int, int]:
    """Partition -> largest record timestamp, epoch milliseconds; empty partitions are left out.

    :param conf: librdkafka settings that reach the broker.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka.admin import OffsetSpec

    (answers,) = offsets(conf, topic, OffsetSpec.max_timestamp())
    return {partition: answer.timestamp for partition, answer in (answers or {}).items() if answer.timestamp > 0}


def end_offsets(conf: Mapping[str, Any], topic: str) -> dict[int, int]:
    """Partition -> offset after the last record; empty if the topic does not exist.

    :param conf: librdkafka settings that reach the broker.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka.admin import OffsetSpec

    (answers,) = offsets(conf, topic, OffsetSpec.latest())
    return {partition: answer.offset for partition, answer in sorted((answers or {}).items())}


def offsets(conf: Mapping[str, Any], topic: str, *specs: Any) -> list[dict[int, Any] | None]:
    """For each spec: partition -> the broker's answer; None if the topic does not exist.

    :param conf: librdkafka settings that reach the broker.
    :param specs: confluent-kafka's ``OffsetSpec``.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka import KafkaException, TopicPartition

    client = KafkaClient(conf)
    metadata = client.topics(_SECONDS).get(topic)
    if metadata is None:
        return [None for _ in specs]
    results: list[dict[int, Any] | None] = []
    try:
        for spec in specs:
            wanted = {TopicPartition(topic, partition): spec for partition in metadata.partitions}
            answers = client.admin.list_offsets(wanted, request_timeout=_SECONDS)
            results.append({place.partition: answer.result() for place, answer in answers.items()})
    except KafkaException as error:
        raise KafkaError(f"Kafka at {client.servers} does not tell offsets: {error.args[0].str()}") from error
    return results


def partition_histories(conf: Mapping[str, Any], topic: str, since: int, until: int) -> list[PartitionHistory]:
    """For each partition, by number: what it still holds, and where the records of a time begin and end.

    The first record to read is the first one stamped ``since`` or later, so none of them is missed however the stamps
    are ordered; reading ends before the first one stamped ``until`` or later, or where the partition ends now.

    :param conf: librdkafka settings that reach the broker.
    :param since: Kafka timestamp, milliseconds since the epoch.
    :param until: the same.
    :raises ConfigurationError: there is no such topic.
    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka.admin import OffsetSpec

    from hopsworks_flink.pipeline.recompute import PartitionHistory

    answers = offsets(
        conf,
        topic,
        OffsetSpec.earliest(),
        OffsetSpec.latest(),
        *(OffsetSpec.for_timestamp(stamp) for stamp in (0, since, until)),
    )
    if answers[0] is None:
        raise ConfigurationError(f"There is no Kafka topic {topic!r}, so there is no history to recompute.")
    histories = []
    for number in sorted(answers[0]):
        low, high, oldest, first, beyond = (answer[number] for answer in answers if answer)
        # Below zero: no record is that young.
        end = beyond.offset if beyond.offset >= 0 else high.offset
        begin = min(first.offset, end) if first.offset >= 0 else end
        stamp = oldest.timestamp if oldest.offset >= 0 else None
        histories.append(PartitionHistory(number, low.offset, begin, end, stamp))
    return histories


def kept_since(conf: Mapping[str, Any], topic: str) -> int | None:
    """Kafka timestamp since which a topic keeps every record; None where its settings do not say.

    :raises KafkaError: the broker does not answer, or refuses the connection.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource, ResourceType

    client = KafkaClient(conf)
    client.topics(_SECONDS)
    try:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        settings = client.admin.describe_configs([resource], request_timeout=_SECONDS)[resource].result(_SECONDS)
    except KafkaException as error:
        raise KafkaError(f"Kafka at {client.servers} does not tell settings: {error.args[0].str()}") from error
    values = {name: entry.value for name, entry in settings.items()}
    retention = int(values.get("retention.ms") or -1)
    by_time_only = values.get("cleanup.policy") == "delete" and int(values.get("retention.bytes") or -1) < 0
    return int(time.time() * 1000) - retention if by_time_only and retention >= 0 else None
