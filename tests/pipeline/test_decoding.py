"""How a record that cannot be decoded is judged and shown; test_strict_format.py has the records."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink.clients.kafka.poison import PoisonedRecord, is_decoding_failure
from hopsworks_flink.pipeline.decoding import value_check
from tests.support.pipelines import pipeline
from tests.support.undecodable import EVENT, SCHEMA, avro


@pytest.mark.parametrize("encoding", ["avro", "json"])
def test_a_tombstone_is_no_event_and_no_failure(encoding: str) -> None:
    assert value_check(pipeline(encoding, SCHEMA).source)(None) is None


def test_an_event_of_the_schema() -> None:
    check = value_check(pipeline("avro", SCHEMA).source)
    assert check(avro(EVENT)) is None
    assert check(avro(EVENT) + b"\0") == "1 byte is left after the record; the producer's schema is longer"


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
