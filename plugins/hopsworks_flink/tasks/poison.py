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

    topic = pipeline.source.topic
    try:
        found = find_poison(kafka(), topic, pipeline.consumer_group, value_check(pipeline, source_schemas(pipeline)))
    except HopsworksFlinkError as error:
        return f"The job cannot decode a record of topic {topic}, which could not be looked for: {error}"
    if not found.records:
        searched = "" if found.complete else " in the time given"
        return (
            f"The job cannot decode a record of topic {topic}, but none was found among {found.examined} records"
            f"{searched}: it may have been deleted, or only Flink rejects it."
        )
    named = "; ".join(str(record) for record in found.records)
    return f"The job cannot decode {named}. {remedy(pipeline)}"


def remedy(pipeline: Pipeline) -> str:
    """The remedy for records that do not match the pipeline's schema."""
    # Otherwise the job gets another shape, for which its state is not.
    state = "" if pipeline.quarantine_topic else " with state='rewarm'"
    return (
        "It fails there again and again. If the topic's events have changed, correct source.schema; if it is a stray "
        f"record, set source.on_decode_error: quarantine and deploy{state}: the job goes on, and such records go to "
        f"the topic {pipeline.source.topic}_quarantine."
    )
