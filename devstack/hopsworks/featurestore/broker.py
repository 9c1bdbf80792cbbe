"""The Kafka broker behind the server: topics are made and removed for real."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from devstack.hopsworks.home.errors import (
    ILLEGAL_ARGUMENT,
    KAFKA_UNAVAILABLE,
    REPLICATION_TOO_HIGH,
    TOPIC_CREATION_FAILED,
    HopsworksError,
)
from devstack.hopsworks.home.log import get_logger

TIMEOUT_SECONDS = 10.0
# Somebody waits for a page.
LOOK_SECONDS = 3.0
_UNAVAILABLE = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NOT_CONTROLLER,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
    }
)
log = get_logger("broker")


class Broker:
    """Topic administration; every failure is a refusal with Hopsworks' code.

    :param settings: librdkafka settings that reach the broker.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = dict(settings)
        self._admin: AdminClient | None = None

    @property
    def admin(self) -> AdminClient:
        # Made on first use: librdkafka starts threads and dials at once.
        if self._admin is None:
            self._admin = AdminClient({**self.settings, "log_level": 3})
        return self._admin

    def topic_names(self) -> set[str]:
        try:
            return set(self.admin.list_topics(timeout=TIMEOUT_SECONDS).topics)
        except KafkaException as error:
            raise _translate(error, "list of topics") from error

    def create_topic(self, name: str, partitions: int, replicas: int) -> bool:
        """Create a topic and wait until the broker has it; False when it was there already."""
        future = self.admin.create_topics(
            [NewTopic(name, num_partitions=partitions, replication_factor=replicas)],
            operation_timeout=TIMEOUT_SECONDS,
            request_timeout=TIMEOUT_SECONDS,
        )[name]
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise _translate(error, f"topic {name!r}") from error
        log.info("topic %s made: %d partitions, %d replicas", name, partitions, replicas)
        return True

    def end_offsets(self, name: str, partitions: int) -> dict[int, int]:
        """The offset behind the last record of each partition."""
        wanted = {TopicPartition(name, partition): OffsetSpec.latest() for partition in range(partitions)}
        try:
            found = self.admin.list_offsets(wanted, request_timeout=LOOK_SECONDS)
            return {place.partition: future.result().offset for place, future in found.items()}
        except KafkaException as error:
            raise _translate(error, f"topic {name!r}") from error

    def delete_topic(self, name: str) -> None:
        """Delete a topic; one that is gone already is fine."""
        future = self.admin.delete_topics([name], operation_timeout=TIMEOUT_SECONDS, request_timeout=TIMEOUT_SECONDS)[
            name
        ]
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise _translate(error, f"topic {name!r}") from error
        log.info("topic %s deleted", name)


def _translate(error: KafkaException, subject: str) -> HopsworksError:
    cause: KafkaError = error.args[0]
    if cause.code() in _UNAVAILABLE:
        return KAFKA_UNAVAILABLE(f"{subject}: {cause.str()}")
    if cause.code() == KafkaError.INVALID_REPLICATION_FACTOR:
        return REPLICATION_TOO_HIGH(f"{subject}: {cause.str()}")
    if cause.code() in (KafkaError.TOPIC_EXCEPTION, KafkaError.INVALID_PARTITIONS, KafkaError._INVALID_ARG):
        return ILLEGAL_ARGUMENT(f"{subject}: {cause.str()}")
    return TOPIC_CREATION_FAILED(f"{subject}: {cause.str()}")
