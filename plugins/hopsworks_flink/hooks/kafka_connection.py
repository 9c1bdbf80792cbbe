"""Questions to a Kafka broker, through confluent-kafka's admin client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hopsworks_flink.clients.kafka.client import KafkaClient
from hopsworks_flink.exceptions import ConfigurationError, KafkaError

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
    """For each of the questions: partition -> what the broker answers; None if the topic does not exist.

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
