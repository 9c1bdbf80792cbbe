"""Why a job fails, as Kafka knows it: for error texts and verdicts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.flink.failures import stack_trace
from hopsworks_flink.exceptions import FlinkError, HopsworksFlinkError

if TYPE_CHECKING:
    from hopsworks_flink.hooks.flink import FlinkHook
    from hopsworks_flink.pipeline.spec import Pipeline
    from hopsworks_flink.pipeline.spec.source import Records

Broker = Callable[[], Mapping[str, Any]]
_TOPIC_GONE = "UnknownTopicOrPartition"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cause:
    """What a failing job follows from.

    :param kind: ``topic`` (one was deleted) or ``poison`` (a record cannot be decoded).
    :param text: sentences, with the remedy.
    :param redeploy: whether a deployment of the same file mends it.
    """

    kind: str
    text: str
    redeploy: bool


def cause_of(hook: FlinkHook, job_id: str, pipeline: Pipeline, source: Broker, store: Broker) -> Cause | None:
    """The cause that Kafka tells; None if the job fails for another reason. Never raises: a failure is being reported.

    :param source: returns librdkafka settings of the source topic's broker, ``store`` those of the feature store's;
        both are called only when needed.
    """
    try:
        stack = stack_trace(hook.client.exceptions(job_id))
    except FlinkError as error:
        log.warning("The job's exceptions cannot be read: %s", error)
        return None
    if _TOPIC_GONE in stack and (gone := _topics_gone(pipeline, source, store)):
        text = f"Kafka topic {' and '.join(gone)} does not exist any more; what it held and was not read is lost."
        own = not {join.topic for join in pipeline.source.join.values()}.intersection(gone)
        return Cause("topic", f"{text} {'Deploying again creates it' if own else 'Make it again, and deploy'}.", own)
    poison = _poison(stack, pipeline, source)
    # Every job that reads such a record fails at it.
    return Cause("poison", poison, False) if poison else None


def _topics_gone(pipeline: Pipeline, source: Broker, store: Broker) -> list[str]:
    """Topics that somebody has deleted, of those that the job reads, or writes beside the features; none if a broker
    does not tell: the job's own cause is told all the same.
    """
    from hopsworks_flink.clients.kafka.client import KafkaClient

    there = pipeline.source.topics_on("source")
    beside = [topic for topic in (pipeline.late_topic, pipeline.quarantine_topic) if topic]
    here = [*pipeline.source.topics_on("feature_store"), *beside]
    gone = []
    try:
        for broker, topics in ((source, there), (store, here)):
            known = KafkaClient(broker()).topics() if topics else {}
            gone += [topic for topic in topics if topic not in known]
    except HopsworksFlinkError:
        return []
    return gone


def _poison(stack: str, pipeline: Pipeline, kafka: Broker) -> str | None:
    """The records that the job cannot decode, and the remedy; None if the job fails for another reason.

    Problems of the search become a sentence.
    """
    from hopsworks_flink.clients.kafka.poison import find_poison, is_decoding_failure

    if not is_decoding_failure(stack):
        return None
    from hopsworks_flink.hooks.registry_connection import schemas_of
    from hopsworks_flink.pipeline.decoding import value_check

    topic, read = _read(pipeline, stack)
    if read is None:
        return f"The job cannot decode a record of topic {topic}. {remedy(pipeline, topic)}"
    try:
        found = find_poison(kafka(), topic, pipeline.consumer_group, value_check(read, schemas_of(read)))
    except HopsworksFlinkError as error:
        return f"The job cannot decode a record of topic {topic}, which could not be looked for: {error}"
    if not found.records:
        searched = "" if found.complete else " in the time given"
        return (
            f"The job cannot decode a record of topic {topic}, but none was found among {found.examined} records"
            f"{searched}: it may have been deleted, or only Flink rejects it."
        )
    named = "; ".join(str(record) for record in found.records)
    return f"The job cannot decode {named}. {remedy(pipeline, topic)}"


def _read(pipeline: Pipeline, stack: str) -> tuple[str, Records | None]:
    """The topic that the stack trace tells of, and its records; None: its broker is another."""
    for join in pipeline.source.join.values():
        if f"topic {join.topic}, partition" in stack:
            return join.topic, join if join.broker == "source" else None
    return pipeline.source.topic, pipeline.source


def remedy(pipeline: Pipeline, topic: str | None = None) -> str:
    """The remedy for records that do not match the pipeline's schema.

    :param topic: that holds them; None: the source's.
    """
    for name, join in pipeline.source.join.items():
        if topic == join.topic:
            return (
                "It fails there again and again. If the topic's records have changed, correct "
                f"source.join.{name}.schema; if it is a stray record, write the versions into another topic, name that "
                "there, and deploy."
            )
    # Otherwise the job gets another shape, for which its state is not.
    state = "" if pipeline.quarantine_topic else " with state='rewarm'"
    return (
        "It fails there again and again. If the topic's events have changed, correct source.schema; if it is a stray "
        f"record, set source.on_decode_error: quarantine and deploy{state}: the job goes on, and such records go to "
        f"the topic {pipeline.source.topic}_quarantine."
    )
