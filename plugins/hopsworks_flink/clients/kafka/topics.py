"""Kafka topics: how an existing one differs from a wanted one (pure), and the calls that read, create and alter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from hopsworks_flink.clients.kafka.client import KafkaClient
from hopsworks_flink.exceptions import KafkaConflictError, KafkaError


@dataclass(frozen=True)
class Topic:
    """A topic.

    :param replication: copies of each partition; None: not said (the broker's default for a new topic).
    :param config: topic settings; of a wanted topic only those that matter.
    """

    name: str
    partitions: int
    replication: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicChanges:
    """The changes that turn an existing topic into the wanted one.

    :param partitions: new number of partitions; None: it has them.
    :param config: settings to alter.
    :param impossible: sentence parts about what Kafka cannot change.
    :param differences: every difference, sentence parts.
    """

    partitions: int | None
    config: Mapping[str, str]
    impossible: tuple[str, ...]
    differences: tuple[str, ...]


def compare(wanted: Topic, existing: Topic) -> TopicChanges:
    """The changes needed; pure. Only settings that are wanted explicitly count."""
    impossible, differences, grown = [], [], None
    if wanted.partitions != existing.partitions:
        text = f"it has {existing.partitions} partition(s), wanted {wanted.partitions}"
        differences.append(text)
        if wanted.partitions < existing.partitions:
            impossible.append(f"{text}, and partitions cannot be taken away")
        else:
            grown = wanted.partitions
    if wanted.replication is not None and wanted.replication != existing.replication:
        text = f"its replication is {existing.replication}, wanted {wanted.replication}"
        differences.append(text)
        impossible.append(f"{text}, which takes a reassignment of its partitions")
    config = {key: value for key, value in wanted.config.items() if _plain(existing.config.get(key)) != _plain(value)}
    for key, value in sorted(config.items()):
        differences.append(f"{key} is {existing.config.get(key)!r}, wanted {value!r}")
    return TopicChanges(grown, config, tuple(impossible), tuple(differences))


def _plain(value: str | None) -> list[Any]:
    """A setting's value in one spelling: a broker shows what it has understood, not what it was given."""

    def part(text: str) -> Any:
        try:
            return Decimal(text)
        except InvalidOperation:
            return text.lower()

    return sorted((part(text.strip()) for text in (value or "").split(",")), key=str)


class KafkaTopics:
    """Reads, creates and alters topics of one cluster.

    :param conf: librdkafka settings that reach the broker.
    """

    #: How long the broker may take for an answer.
    answer_seconds = 30.0

    def __init__(self, conf: Mapping[str, Any]) -> None:
        self._client = KafkaClient(conf)
        self.servers, self._admin = self._client.servers, self._client.admin

    def find(self, name: str) -> Topic | None:
        """The existing topic with all its settings; None if there is none."""
        from confluent_kafka.admin import ConfigResource, ResourceType

        metadata = self._client.topics(self.answer_seconds).get(name)
        if metadata is None:
            return None
        with self._errors(f"look at topic {name!r}"):
            resource = ConfigResource(ResourceType.TOPIC, name)
            entries = self._admin.describe_configs([resource], request_timeout=self.answer_seconds)[resource].result()
        replication = min((len(p.replicas) for p in metadata.partitions.values()), default=0)
        config = {key: entry.value for key, entry in entries.items() if entry.value is not None}
        return Topic(name, len(metadata.partitions), replication, config)

    def create(self, topic: Topic) -> bool:
        """Create a topic; False if it exists meanwhile."""
        from confluent_kafka import KafkaError as Code
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import NewTopic

        new = NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=topic.replication or -1,
            config=dict(topic.config),
        )
        with self._errors(f"create topic {topic.name!r}"):
            try:
                self._admin.create_topics([new], request_timeout=self.answer_seconds)[topic.name].result()
            except KafkaException as error:
                if error.args[0].code() != Code.TOPIC_ALREADY_EXISTS:
                    raise
                return False
        return True

    def alter(self, name: str, changes: TopicChanges) -> None:
        """Add partitions and change settings; settings that are not named keep their values."""
        from confluent_kafka.admin import (
            AlterConfigOpType,
            ConfigEntry,
            ConfigResource,
            NewPartitions,
            ResourceType,
        )

        with self._errors(f"alter topic {name!r}"):
            if changes.config:
                entries = [
                    ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                    for key, value in changes.config.items()
                ]
                resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
                altered = self._admin.incremental_alter_configs([resource], request_timeout=self.answer_seconds)
                altered[resource].result()
            if changes.partitions:
                new = NewPartitions(name, changes.partitions)
                self._admin.create_partitions([new], request_timeout=self.answer_seconds)[name].result()

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        from confluent_kafka import KafkaError as Code
        from confluent_kafka import KafkaException

        refused = (
            Code.INVALID_CONFIG,
            Code.INVALID_PARTITIONS,
            Code.INVALID_REPLICATION_FACTOR,
            Code.TOPIC_EXCEPTION,
            Code.TOPIC_AUTHORIZATION_FAILED,
            Code.CLUSTER_AUTHORIZATION_FAILED,
            Code._INVALID_ARG,
        )
        try:
            yield
        except KafkaException as error:
            inner = error.args[0]
            text = f"Could not {what} at {self.servers}: {inner.str()}"
            if inner.code() in refused:
                raise KafkaConflictError(text) from error
            raise KafkaError(text) from error
