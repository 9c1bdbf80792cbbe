"""Topics as Hopsworks knows them, with their schemas, and as their broker has them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.hopsworks.errors import translated
from hopsworks_flink.clients.hopsworks.shapes import same_schema
from hopsworks_flink.exceptions import HopsworksConflictError, HopsworksConnectionError

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession

_TOPIC_EXISTS = 190002
_TOPIC_ONLY_IN_KAFKA = 190003
# Brokers tell each other of a new topic within moments.
_LOOKS, _PAUSE_SECONDS = 3, 1.0


def create_topic(
    session: HopsworksSession,
    topic: str,
    schema: Mapping[str, Any],
    *,
    partitions: int,
    replication: int,
    subject: str | None,
) -> dict[str, Any]:
    """As `HopsworksSession.create_topic` says."""
    from hopsworks.client.exceptions import RestAPIError

    subject = subject or topic
    with translated(f"create topic {topic!r}"):
        kafka = session.project.get_kafka_api()
        known = _latest_schema(kafka, subject)
        if known is not None and not same_schema(known.schema, schema):
            raise HopsworksConflictError(
                f"Schema {subject!r} exists (version {known.version}) and is another one: it is "
                f"{_compact(known.schema)}, wanted {_compact(schema)}. Choose another topic or subject."
            )
        registered = known or kafka.create_schema(subject, dict(schema))
        existing, created = kafka.get_topic(topic), False
        as_wanted = existing is not None and int(existing._num_of_partitions) == partitions
        if as_wanted and not _is_on_broker(session, topic):
            # Deleted on the broker, behind the platform's back: both have to forget it before it is made anew.
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
            "say the number it has, or choose another topic."
        )
    return {
        "topic": topic,
        "subject": subject,
        "schema_id": registered.id,
        "schema_version": registered.version,
        "created": created,
    }


def topic_differences(
    session: HopsworksSession, topic: str, schema: Mapping[str, Any], *, partitions: int
) -> list[str] | None:
    """As `HopsworksSession.topic_differences` says."""
    with translated(f"look at topic {topic!r}"):
        kafka = session.project.get_kafka_api()
        known, existing = _latest_schema(kafka, topic), kafka.get_topic(topic)
    if existing is None:
        return None
    found = []
    if known is None or not same_schema(known.schema, schema):
        has = f"it is {_compact(known.schema)}" if known else "there is none"
        found.append(f"its schema is another one: {has}, wanted {_compact(schema)}")
    if int(existing._num_of_partitions) != partitions:
        found.append(f"it has {existing._num_of_partitions} partition(s), wanted {partitions}")
    try:
        return found if found or _is_on_broker(session, topic) else None
    except HopsworksConnectionError:
        # Who only looks need not be able to reach the broker.
        return found


def _is_on_broker(session: HopsworksSession, topic: str) -> bool:
    """Whether the broker has a topic. It is asked several times before the answer is no."""
    for look in range(_LOOKS):
        if look:
            time.sleep(_PAUSE_SECONDS)
        if session.topic_end_offsets(topic):
            return True
    return False


def _latest_schema(kafka: Any, subject: str) -> Any:
    from hopsworks.client.exceptions import RestAPIError

    try:
        return max(kafka.get_schemas(subject), key=lambda schema: schema.version, default=None)
    except RestAPIError as error:
        if error.response.status_code == 404:
            return None
        raise


def _compact(schema: str | Mapping[str, Any]) -> str:
    text = schema if isinstance(schema, str) else json.dumps(schema, separators=(",", ":"))
    return text if len(text) < 500 else text[:500] + "…"
