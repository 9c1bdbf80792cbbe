"""Kafka topics of a Hopsworks project: their registered schemas, and whether the broker has them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from hopsworks_flink.clients.hopsworks.errors import translated
from hopsworks_flink.clients.hopsworks.shapes import appended_fields, same_schema, with_null_defaults
from hopsworks_flink.exceptions import HopsworksConflictError, HopsworksConnectionError

_TOPIC_EXISTS = 190002
_TOPIC_ONLY_IN_KAFKA = 190003
# Brokers tell each other of a new topic within moments.
_LOOKS, _PAUSE_SECONDS = 3, 1.0


class HopsworksTopics:
    """Made by :attr:`HopsworksSession.topics`.

    :param project: the SDK's project.
    :param end_offsets: asks the broker for a topic: partition -> offset after the last record; empty without the topic.
    """

    def __init__(self, project: Any, end_offsets: Callable[[str], Mapping[int, int]]) -> None:
        self._project = project
        self._end_offsets = end_offsets

    def create(
        self,
        topic: str,
        schema: Mapping[str, Any],
        *,
        partitions: int,
        replication: int,
        subject: str | None = None,
        append: bool = False,
    ) -> dict[str, Any]:
        """Make sure that a topic exists with this schema, for Hopsworks and on its broker.

        :param schema: Avro schema.
        :param subject: name of the schema; default: the topic's.
        :param append: whether a schema that has more fields at its end becomes a new version of the one there is.
        :return: ``topic``, ``subject``, ``schema_id``, ``schema_version`` and ``created``.
        :raises HopsworksConflictError: topic or schema exist and differ.
        """
        from hopsworks.client.exceptions import RestAPIError

        subject = subject or topic
        with translated(f"create topic {topic!r}"):
            kafka = self._project.get_kafka_api()
            known = _latest_schema(kafka, subject)
            more = appended_fields(known.schema, schema) if known is not None and append else []
            if known is not None and not more and not same_schema(known.schema, schema):
                raise HopsworksConflictError(
                    f"Schema {subject!r} exists (version {known.version}) and differs: it is "
                    f"{_compact(known.schema)}, wanted {_compact(schema)}. Choose another topic or subject; "
                    "or, if its records are not needed any more, delete it: the form of __undeploy does, for those of "
                    "a pipeline."
                )
            if more:
                kafka.create_schema(subject, with_null_defaults(schema, more))
                known = _latest_schema(kafka, subject)
            registered = known or kafka.create_schema(subject, dict(schema))
            existing, created = kafka.get_topic(topic), False
            as_wanted = existing is not None and int(existing._num_of_partitions) == partitions
            if as_wanted and not self._is_on_broker(topic):
                # Deleted on the broker only: it has to be deleted in Hopsworks too before it can be created again.
                existing.delete()
                existing = None
            if existing is None:
                try:
                    kafka.create_topic(topic, subject, registered.version, replicas=replication, partitions=partitions)
                    created = True
                except RestAPIError as error:
                    if error.error_code == _TOPIC_ONLY_IN_KAFKA:
                        raise HopsworksConflictError(
                            f"Topic {topic!r} exists on the broker, but Hopsworks does not know it: "
                            "choose another name, or delete it there."
                        ) from error
                    if error.error_code != _TOPIC_EXISTS:
                        raise
                    existing = kafka.get_topic(topic)
        if existing is not None and int(existing._num_of_partitions) != partitions:
            raise HopsworksConflictError(
                f"Topic {topic!r} exists with {existing._num_of_partitions} partition(s), wanted {partitions}: "
                "use that number, or choose another topic."
            )
        return {
            "topic": topic,
            "subject": subject,
            "schema_id": registered.id,
            "schema_version": registered.version,
            "created": created,
        }

    def schema(self, topic: str) -> str | None:
        """The newest Avro schema that is registered under a topic's name; None if there is none."""
        with translated(f"read the schema of topic {topic!r}"):
            known = _latest_schema(self._project.get_kafka_api(), topic)
        if known is None:
            return None
        return known.schema if isinstance(known.schema, str) else json.dumps(known.schema)

    def differences(
        self, topic: str, schema: Mapping[str, Any], *, partitions: int, append: bool = False
    ) -> tuple[list[str], list[str]] | None:
        """How an existing topic differs from what is asked for, one sentence part each. Only looks.

        :return: what creating it with these arguments would change, and what it would refuse. None if the topic
            does not exist: Hopsworks does not know it, or its broker has lost it.
        """
        with translated(f"look at topic {topic!r}"):
            kafka = self._project.get_kafka_api()
            known, existing = _latest_schema(kafka, topic), kafka.get_topic(topic)
        if existing is None:
            return None
        changes, refused = [], []
        if known is not None and append and (more := appended_fields(known.schema, schema)):
            changes.append(f"its schema gets {', '.join(more)} at its end")
        elif known is None or not same_schema(known.schema, schema):
            has = f"it is {_compact(known.schema)}" if known else "there is none"
            refused.append(f"its schema differs: {has}, wanted {_compact(schema)}")
        if int(existing._num_of_partitions) != partitions:
            refused.append(f"it has {existing._num_of_partitions} partition(s), wanted {partitions}")
        try:
            return (changes, refused) if changes or refused or self._is_on_broker(topic) else None
        except HopsworksConnectionError:
            # A comparison works without access to the broker.
            return changes, refused

    def exists(self, topic: str) -> bool:
        """Whether Hopsworks knows a topic, or a schema of the same name."""
        with translated(f"look at topic {topic!r}"):
            kafka = self._project.get_kafka_api()
            return kafka.get_topic(topic) is not None or bool(_schemas(kafka, topic))

    def delete(self, topic: str) -> bool:
        """Delete a topic with its records, and the schema of the same name.

        :return: whether there was either.
        :raises HopsworksError: Hopsworks refused.
        """
        with translated(f"delete topic {topic!r}"):
            kafka = self._project.get_kafka_api()
            existing, schemas = kafka.get_topic(topic), _schemas(kafka, topic)
            if existing is not None:
                existing.delete()
            for schema in schemas:
                schema.delete()
        return existing is not None or bool(schemas)

    def _is_on_broker(self, topic: str) -> bool:
        """Whether the broker has a topic; asked several times before the answer is no."""
        for look in range(_LOOKS):
            if look:
                time.sleep(_PAUSE_SECONDS)
            if self._end_offsets(topic):
                return True
        return False


def _latest_schema(kafka: Any, subject: str) -> Any:
    return max(_schemas(kafka, subject), key=lambda schema: schema.version, default=None)


def _schemas(kafka: Any, subject: str) -> list[Any]:
    from hopsworks.client.exceptions import RestAPIError

    try:
        return list(kafka.get_schemas(subject))
    except RestAPIError as error:
        if error.response.status_code == 404:
            return []
        raise


def _compact(schema: str | Mapping[str, Any]) -> str:
    text = schema if isinstance(schema, str) else json.dumps(schema, separators=(",", ":"))
    return text if len(text) < 500 else text[:500] + "…"
