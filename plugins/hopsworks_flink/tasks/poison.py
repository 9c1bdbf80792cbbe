"""Names the record that made a pipeline's job fail, for logs and errors."""

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
    """Which records the job cannot decode, and what to do about them; None if that is not why it fails.

    A help for a failure that is being reported, never a reason for another one: what goes wrong here is a sentence.

    :param kafka: gives librdkafka settings that reach the source topic's broker; called only if they are needed.
    """
    from hopsworks_flink.clients.kafka.poison import find_poison, is_decoding_failure

    try:
        stack = stack_trace(hook.client.exceptions(job_id))
    except FlinkError as error:
        log.warning("The job's exceptions cannot be read: %s", error)
        return None
    if not is_decoding_failure(stack):
        return None
    from hopsworks_flink.pipeline.decoding import value_check

    topic = pipeline.source.topic
    try:
        found = find_poison(kafka(), topic, pipeline.consumer_group, value_check(pipeline))
    except HopsworksFlinkError as error:
        return f"The job cannot decode a record of topic {topic}, which could not be looked for: {error}"
    if not found.records:
        searched = "" if found.complete else " in the time given"
        return (
            f"The job cannot decode a record of topic {topic}, but none was found among {found.examined} records"
            f"{searched}: it may have been deleted, or only Flink takes offence at it."
        )
    named = "; ".join(str(record) for record in found.records)
    return f"The job cannot decode {named}. {remedy(pipeline)}"


def remedy(pipeline: Pipeline) -> str:
    """What to do about records that the pipeline's schema does not fit."""
    # Otherwise the job gets another shape, for which its state is not.
    state = "" if pipeline.quarantine_topic else " with state='rewarm'"
    return (
        "It fails there again and again. If the topic's events have changed, correct source.schema; if it is a stray "
        f"record, set source.on_decode_error: quarantine and deploy{state}: the job goes on, and such records go to "
        f"the topic {pipeline.source.topic}_quarantine."
    )
