"""Which records Flink cannot decode, judged without Flink; tests/integration/test_poison.py asks the real one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from hopsworks_flink.clients.kafka.poison import PoisonedRecord, is_decoding_failure
from hopsworks_flink.pipeline.decoding import value_check
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.undecodable import AVRO, JSON, SCHEMA


def pipeline(format_: str, schema: Mapping[str, str] = SCHEMA) -> Pipeline:
    return Pipeline.parse(
        {
            "name": "p",
            "source": {
                "topic": "t",
                "format": format_,
                "schema": dict(schema),
                "event_time": {"column": "at"},
            },
            "feature_groups": [{"name": "g", "key": ["card"], "window": {"size": "1m"}, "aggregates": {"n": "count"}}],
        }
    )


@pytest.mark.parametrize(("value", "problem"), AVRO.values(), ids=AVRO)
def test_avro(value: bytes | None, problem: str | None) -> None:
    judge(value_check(pipeline("avro"))(value), problem)


@pytest.mark.parametrize(("value", "problem"), JSON.values(), ids=JSON)
def test_json(value: bytes | None, problem: str | None) -> None:
    judge(value_check(pipeline("json"))(value), problem)


def judge(found: str | None, problem: str | None) -> None:
    if problem is None:
        assert found is None
    else:
        assert found is not None
        assert problem in found


def test_long_values_are_cut() -> None:
    found = value_check(pipeline("json"))(json.dumps({"at": "x" * 500}).encode())
    assert found is not None
    assert len(found) < 140
    assert found.endswith("…")


def test_a_record_is_shown_with_its_place_and_bytes() -> None:
    record: Any = PoisonedRecord("t", 3, 17, None, b"ab\x00" + b"z" * 100, "it is no JSON")
    text = str(record)
    assert text.startswith("topic t, partition 3, offset 17: it is no JSON; value 61 62 00 7a")
    assert "(103 bytes)" in text
    assert "'ab.zzz" in text
    assert len(text) < 400
    assert "value (empty) (0 bytes)" in str(PoisonedRecord("t", 0, 0, None, b"", "x"))


def test_what_counts_as_a_decoding_failure() -> None:
    assert is_decoding_failure("java.io.IOException: Failed to deserialize consumer record due to\n\tat x")
    assert not is_decoding_failure("java.io.IOException: Failed to commit consumer offsets")
