"""Writes single records, for canaries: the provider's bulk goes through Flink."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hopsworks_flink.exceptions import KafkaError

_SECONDS = 30.0


def produce(conf: Mapping[str, Any], topic: str, partition: int, value: bytes, timestamp: int) -> int:
    """Write one record and wait until the broker has it.

    :param conf: librdkafka settings that reach the broker.
    :param timestamp: Kafka's, milliseconds since the epoch.
    :return: its offset.
    :raises KafkaError: the broker did not take it in time.
    """
    from confluent_kafka import Producer

    answers: list[tuple[Any, Any]] = []
    settings = {key: value for key, value in conf.items() if key not in ("group.id", "auto.offset.reset")}
    producer = Producer({"log_level": 0, **settings, "acks": "all", "message.timeout.ms": int(_SECONDS * 1000)})
    producer.produce(
        topic,
        value,
        partition=partition,
        timestamp=timestamp,
        on_delivery=lambda error, record: answers.append((error, record)),
    )
    producer.flush(_SECONDS + 1)
    if not answers:
        raise KafkaError(f"Kafka at {conf.get('bootstrap.servers')} did not take a record for topic {topic} in time.")
    error, record = answers[0]
    if error is not None:
        raise KafkaError(f"Kafka at {conf.get('bootstrap.servers')} refused a record for topic {topic}: {error.str()}")
    return int(record.offset())
