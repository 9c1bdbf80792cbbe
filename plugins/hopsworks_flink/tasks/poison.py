"""Finds the record that a failing job cannot decode, for logs and error texts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.flink.failures import stack_trace
from hopsworks_flink.exceptions import FlinkError, HopsworksFlinkError

if TYPE_CHECKING:
    from hopsworks_flink.hooks.flink import FlinkHook
    from hopsworks_flink.pipeline.spec import Pipeline

log = logging.getLogger(__name__)


def explain_poison(
    hook: FlinkHook, job_id: str, pipeline: Pipeline, kafka: Callable[[], Mapping[str, Any]]
) -> str | None:
    """The records that the job cannot decode, and the remedy; None if the job fails for another reason.

    It adds to a failure that is being reported, so it never raises: problems of the search become a sentence.

    :param kafka: returns librdkafka settings of the source topic's broker; called only when needed.
    """
    from hopsworks_flink.clients.kafka.poison import find_poison, is_decoding_failure

    try:
        stack = stack_trace(hook.client.exceptions(job_id))
    except FlinkError as error:
        log.warning("The job's exceptions cannot be read: %s", error)
        return None
    if not is_decoding_failure(stack):
        return None
    from hopsworks_flink.hooks.registry_connection import source_schemas
    from hopsworks_flink.pipeline.decoding import value_check

    topic, read = _read(pipeline, stack)
    if read is None:
        return f"The job cannot decode a record of topic {topic}. {remedy(pipeline, topic)}"
    try:
        found = find_poison(kafka(), topic, pipeline.consumer_group, value_check(read, source_schemas(read)))
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


def _read(pipeline: Pipeline, stack: str) -> tuple[str, Pipeline | None]:
    """The topic that the stack trace tells of, and the pipeline as if that were its source; None: its broker is
    another.
    """
    from hopsworks_flink.pipeline.spec.source import versions

    for join in pipeline.source.join.values():
        if f"topic {join.topic}, partition" in stack:
            read = pipeline.model_copy(update={"source": versions(join)})
            return join.topic, read if join.broker == "source" else None
    return pipeline.source.topic, pipeline


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
