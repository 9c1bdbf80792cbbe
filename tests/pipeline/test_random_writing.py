"""Records of random sources, as `make sameness` draws them: both decoders give the events that were written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hopsworks_flink.pipeline.decoding import decoder
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.testing.events import typed_columns
from hopsworks_flink.testing.queries import TOMBSTONE
from tests.pipeline.strict_format import JavaFormat, texts
from tests.support.live.random_pipelines import random_case
from tests.support.live.random_versions import JOIN, with_join
from tests.support.live.random_writing import SCHEMA_ID, encoder


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


def test_versions_that_are_joined_are_written_in_every_way() -> None:
    """And read as they were meant."""
    ways = set()
    for seed in range(40):
        case = with_join(random_case(seed, groups=1, events=1))
        pipeline = Pipeline.parse(case.spec)
        join = pipeline.source.join[JOIN]
        ways.add((join.format, join.framing is not None, join.registry is not None))
        encode = encoder(pipeline.model_copy(update={"source": join}), case.schemas.get(SCHEMA_ID))
        decode = decoder(join, case.schemas.get)
        for version in (one for one in case.versions[JOIN] if TOMBSTONE not in one):
            assert decode(encode(version).value) == {name: version[name] for name in join.value_columns}
    assert ways == {
        ("json", False, False),
        *(("protobuf", framed, False) for framed in (False, True)),
        *(("avro", framed, False) for framed in (False, True)),
        ("avro", True, True),
    }
