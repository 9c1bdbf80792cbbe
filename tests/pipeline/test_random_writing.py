"""Records of random sources, as `make sameness` draws them: both decoders give the events that were written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hopsworks_flink.pipeline.decoding import decoder
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.testing.events import typed_columns
from tests.pipeline.strict_format import JavaFormat, texts
from tests.support.live.random_pipelines import random_case
from tests.support.live.random_writing import encoder


@pytest.fixture(scope="module")
def flink() -> Iterator[JavaFormat]:
    format_ = JavaFormat()
    yield format_
    format_.close()


@pytest.mark.parametrize("seed", range(12))
def test_both_give_what_was_written(flink: JavaFormat, seed: int) -> None:
    case = random_case(seed, groups=1, events=60)
    pipeline = Pipeline.parse(case.spec)
    source, encode = pipeline.source, encoder(pipeline)
    values = [encode(event).value for event in case.events]
    columns, declared = typed_columns(source, case.events), case.spec["source"]["schema"]
    schema = {name: declared[name] for name in source.value_columns}
    events = [{name: columns[name][number] for name in schema} for number in range(len(values))]
    wanted = [texts(event, schema) for event in events]
    decode = decoder(source)
    assert [texts(decode(value) or {}, schema) for value in values] == wanted
    framing = {"framed": source.framing is not None, "ids": source.schema_ids, "unwrap": source.unwrap}
    framing["message"] = source.protobuf_message.options() if source.protobuf_message else None
    found = flink.decode(source.format, schema, values, written=source.avro_schema, **framing)
    assert found == [{"row": row} for row in wanted]
