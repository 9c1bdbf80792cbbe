"""The versions of a pipeline's joined topics, as `evaluate` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.kafka.span import read_span
from hopsworks_flink.exceptions import KafkaError
from hopsworks_flink.pipeline.decoding import UndecodableError, decoder
from hopsworks_flink.pipeline.spec.source import versions
from hopsworks_flink.tasks.source_events import beside
from hopsworks_flink.testing.events import KAFKA_TIMESTAMP
from hopsworks_flink.testing.queries import TOMBSTONE

if TYPE_CHECKING:
    from hopsworks_flink.pipeline.spec import Pipeline

Versions = Mapping[str, list[dict[str, Any]]]


def read_versions(
    pipeline: Pipeline, source_conf: Mapping[str, Any], store_conf: Mapping[str, Any], seconds: float | None = None
) -> Versions:
    """All that the joined topics hold, by the name of the join.

    :param source_conf: librdkafka settings of the source topic's broker; ``store_conf``: of the feature store's.
    :param seconds: how long the reading of one topic may take; None: a minute.
    :raises ConfigurationError: there is no such topic.
    :raises KafkaError: a broker does not answer, or not in time.
    """
    found = {}
    for name, join in pipeline.source.join.items():
        records = versions(join)
        decode, read = decoder(records), list[tuple[int, int, dict[str, Any]]]()

        def take(record: Any, decode: Any = decode, records: Any = records, read: Any = read) -> None:
            values: dict[str, Any] = {TOMBSTONE: True}
            if record.value() is not None:
                try:
                    values = decode(record.value())
                except UndecodableError:
                    return  # it has failed the job
            at = {KAFKA_TIMESTAMP: record.timestamp()[1]}
            read.append((record.partition(), record.offset(), {**values, **beside(records, record), **at}))

        conf = store_conf if join.broker == "feature_store" else source_conf
        if not read_span(conf, join.topic, 0, None, take, seconds=seconds).complete:
            raise KafkaError(f"Topic {join.topic} could not be read to its end in the time given.")
        found[name] = [row for _, _, row in sorted(read, key=lambda one: one[:2])]
    return found
