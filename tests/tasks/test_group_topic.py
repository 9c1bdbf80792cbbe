"""What is read of the topics that a job writes."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from confluent_kafka import Message

from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.late import late_avro_schema
from hopsworks_flink.tasks import group_topic
from tests.support.pipelines import MINIMAL


def pipeline(**more: str) -> Pipeline:
    source = {**MINIMAL["source"], "late": "topic", "schema": {**MINIMAL["source"]["schema"], **more}}
    return Pipeline.parse({**MINIMAL, "source": source})


def late(of: Pipeline, offset: int, **event: Any) -> bytes:
    buffer = io.BytesIO()
    place = {"lateness_ms": 5, "kafka_partition": 1, "kafka_offset": offset, "kafka_timestamp": 1_780_056_000_000_000}
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(late_avro_schema(of)), {**event, **place})
    return buffer.getvalue()


@pytest.mark.parametrize("appended", ["boolean", "string", "double", "decimal(10,2)", "date", "timestamp", "bigint"])
def test_late_events_of_a_file_with_other_columns(monkeypatch: pytest.MonkeyPatch, appended: str) -> None:
    before, now = pipeline(), pipeline(shop=appended)
    event = {"tid": "ü", "datetime": 2**40, "cc_num": 7, "amount": 0.5, "ok": True}
    values = [late(before, 1, **event), late(now, 2, **event, shop=None), late(pipeline(x="int", y="int"), 3), None]

    def read_span(conf: Any, topic: str, since: int, until: Any, take: Any) -> None:
        for value in values:
            take(Message(topic=topic, partition=0, offset=0, value=value))

    monkeypatch.setattr(group_topic, "read_span", read_span)
    assert group_topic.late_events(now, {}, 0) == {(1, 1): 5, (1, 2): 5}, "of one that lacked the last column too"
    assert group_topic.late_events(before, {}, 0) == {(1, 1): 5}
