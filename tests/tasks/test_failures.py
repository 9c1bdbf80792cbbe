"""Which topic's record a job cannot decode, and what to do about it."""

from __future__ import annotations

import copy

import pytest

from hopsworks_flink.exceptions import KafkaError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.tasks.failures import cause_of
from tests.support.flink_stub import FlinkStub
from tests.support.pipelines import MINIMAL

STACK = (
    "java.io.IOException: Failed to deserialize consumer record ConsumerRecord(…).\n"
    "Caused by: java.io.IOException: topic {}, partition 0, offset 7: column most is no number; value 01 (1 bytes)"
)


@pytest.mark.parametrize("broker", ["source", "feature_store"])
def test_a_record_of_a_joined_topic(flink: FlinkStub, broker: str) -> None:
    spec = copy.deepcopy(MINIMAL)
    limits = {"topic": "limits", "schema": {"cc_num": "bigint", "most": "double"}, "by": "cc_num", "broker": broker}
    spec["source"]["join"] = {"limits": limits}
    pipeline = Pipeline.parse(spec)

    def explained(topic: str) -> str:
        job = flink.add(exception=STACK.format(topic))

        def kafka() -> None:
            raise KafkaError("the broker is away")

        cause = cause_of(FlinkHook(), job.job_id, pipeline, kafka, kafka)
        assert cause is not None
        assert (cause.kind, cause.redeploy) == ("poison", False)
        return cause.text

    assert "record of topic transactions, which could not be looked for: the broker is away" in explained(
        "transactions"
    )
    found = explained("limits")
    if broker == "source":
        assert found == (
            "The job cannot decode a record of topic limits, which could not be looked for: the broker is away"
        )
    else:
        # Its broker is none that is known here; Flink's own words have the place.
        assert found.startswith("The job cannot decode a record of topic limits. It fails there again and again.")
        assert "correct source.join.limits.schema" in found
