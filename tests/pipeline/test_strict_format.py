"""The format that the jobs read with, and the decoder in Python: both after one table, and held against each other."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import available_timezones

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hopsworks_flink.pipeline.decoding import UndecodableError, decoder
from hopsworks_flink.pipeline.resources import source_avro_schema
from hopsworks_flink.pipeline.spec.source.writing import check_zone
from tests.pipeline.strict_format import CASES, JavaFormat, row_of, texts, value_of
from tests.support.pipelines import pipeline

ALL = [pytest.param(encoding, case, id=case["what"]) for encoding in ("avro", "json") for case in CASES[encoding]]
FLAT = sorted({*CASES["schemas"]} - {"nested"})
TYPES = CASES["schemas"]["types"]
relaxed = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def judged(encoding: str, schema: dict[str, Any], value: bytes, appended: int = 0) -> dict[str, Any]:
    """What the decoder in Python says, in the words of the Java one."""
    try:
        return {"row": texts(decoder(pipeline(encoding, schema, appended).source)(value), schema)}
    except UndecodableError as problem:
        return {"reason": str(problem)}


@pytest.fixture(scope="module")
def flink() -> Iterator[JavaFormat]:
    format_ = JavaFormat()
    yield format_
    format_.close()


@pytest.mark.parametrize(("encoding", "case"), ALL)
def test_the_decoder_in_python_follows_the_table(encoding: str, case: dict[str, Any]) -> None:
    schema = CASES["schemas"][case["schema"]]
    wanted = {"row": texts(row_of(case, schema), schema)} if "row" in case else {"reason": case["reason"]}
    assert judged(encoding, schema, value_of(case), case.get("appended", 0)) == wanted


@pytest.mark.parametrize(("encoding", "case"), ALL)
def test_the_format_of_the_jobs_follows_the_table(flink: JavaFormat, encoding: str, case: dict[str, Any]) -> None:
    schema = CASES["schemas"][case["schema"]]
    wanted = {"row": texts(row_of(case, schema), schema)} if "row" in case else {"reason": case["reason"]}
    assert flink.decode(encoding, schema, [value_of(case)], case.get("appended", 0)) == [wanted]


def test_a_zone_that_a_file_may_name_is_one_of_java(flink: JavaFormat) -> None:
    """New regions come with the tz database of each machine; the names without one are what Java may leave out."""
    names = {name for name in available_timezones() if "/" not in name or name.startswith("Etc/")}
    zones = {"Europe/Stockholm", "America/Panama"}
    for name in {*names, "EST", "localtime", "posixrules", "right/UTC", "posix/UTC"}:
        with suppress(ValueError):
            check_zone(name)
            zones.add(name)
    assert {"UTC", "Etc/GMT+5", "CET", "EST5EDT"} < zones
    schema = {name: {"type": "timestamp", "zone": name} for name in sorted(zones)}
    value = json.dumps(dict.fromkeys(schema, "2025-03-01T12:00:00")).encode()
    (found,) = flink.decode("json", schema, [value])
    assert None not in found["row"].values()


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    return st.integers(-most, most).map(lambda unscaled: Decimal(f"{unscaled}E-{scale}"))


EVENTS = st.fixed_dictionaries(
    {
        name: st.none() | values
        for name, values in {
            "yes": st.booleans(),
            "tiny": integers(8),
            "short": integers(16),
            "whole": integers(32),
            "big": integers(64),
            "ratio": st.floats(width=32),
            "amount": st.floats(),
            "price": decimals(6, 2),
            "huge": decimals(38, 10),
            "small": decimals(2, 2),
            "note": st.text(),
            "raw": st.binary(),
            "day": st.dates(),
            "at": st.datetimes(),
        }.items()
    }
)
assert set(TYPES) == {"yes", "tiny", "short", "whole", "big", "ratio", "amount", "price", "huge", "small"} | {
    "note",
    "raw",
    "day",
    "at",
}


def encoded(event: dict[str, Any], lacking: int = 0) -> bytes:
    """The record as a library writes it that knows nothing of ours, nor of so many of the last columns."""
    older = dict(list(TYPES.items())[: len(TYPES) - lacking])
    schema = fastavro.parse_schema(source_avro_schema(pipeline("avro", older)))
    # fastavro takes a time without zone for the machine's.
    at = event["at"]
    micros = None if at is None else (at - datetime(1970, 1, 1)) // datetime.resolution
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, {**event, "at": micros})
    return buffer.getvalue()


@relaxed
@given(st.lists(EVENTS, min_size=1, max_size=10))
def test_what_a_library_encodes_is_decoded_equally(flink: JavaFormat, events: list[dict[str, Any]]) -> None:
    values = [encoded(event) for event in events]
    wanted = [{"row": texts(event, TYPES)} for event in events]
    assert flink.decode("avro", TYPES, values) == wanted
    assert [judged("avro", TYPES, value) for value in values] == wanted


@relaxed
@given(st.integers(1, len(TYPES) - 5), st.integers(0, len(TYPES) - 5), EVENTS)
def test_records_of_older_schemas_are_decoded_if_they_are_announced(
    flink: JavaFormat, appended: int, lacking: int, event: dict[str, Any]
) -> None:
    value, missing = encoded(event, lacking), list(TYPES)[len(TYPES) - lacking :]
    answer = judged("avro", TYPES, value, appended)
    assert flink.decode("avro", TYPES, [value], appended) == [answer]
    if lacking <= appended:
        assert answer == {"row": texts({**event, **dict.fromkeys(missing)}, TYPES)}
    else:
        assert answer["reason"].startswith(f"the record ends in column {missing[0]}")


def damaged(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes with a change: one replaced, some cut out, some put in."""

    @st.composite
    def change(draw: Any) -> bytes:
        value = draw(values)
        begin = draw(st.integers(0, len(value)))
        end = min(len(value), begin + draw(st.integers(0, 2)))
        return bytes(value[:begin] + draw(st.binary(max_size=3)) + value[end:])

    return change()


BYTES = damaged(EVENTS.map(encoded)) | st.binary(max_size=40)


@relaxed
@given(
    st.sampled_from(sorted({*CASES["schemas"]} - {"nested"})),
    st.integers(0, 2),
    st.lists(BYTES, min_size=1, max_size=20),
)
def test_both_judge_damaged_avro_alike(flink: JavaFormat, name: str, appended: int, values: list[bytes]) -> None:
    schema = CASES["schemas"][name]
    appended = min(appended, len(schema) - 1)
    wanted = [judged("avro", schema, value, appended) for value in values]
    assert flink.decode("avro", schema, values, appended) == wanted


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**33), 2**33)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.dates().map(date.isoformat)
    | st.datetimes().map(lambda at: at.isoformat() + "Z")
    | st.timezones().flatmap(lambda zone: st.datetimes(timezones=st.just(zone))).map(datetime.isoformat)
    | st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
OBJECTS = st.dictionaries(st.sampled_from([*TYPES, "other"]), JSON_VALUES, max_size=6).map(
    lambda event: json.dumps(event).encode()
)


NESTED = CASES["schemas"]["nested"]
TREES = st.recursive(
    JSON_VALUES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["payload", "customer", "id", "e-mail.main", "items", "price", "n", "grid", "@timestamp"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@relaxed
@given(st.lists(TREES.map(lambda event: json.dumps(event).encode()), min_size=1, max_size=20))
def test_both_judge_nested_json_alike(flink: JavaFormat, values: list[bytes]) -> None:
    assert flink.decode("json", NESTED, values) == [judged("json", NESTED, value) for value in values]


@relaxed
@given(st.lists(OBJECTS | damaged(OBJECTS), min_size=1, max_size=20))
def test_both_judge_json_alike(flink: JavaFormat, values: list[bytes]) -> None:
    assert flink.decode("json", TYPES, values) == [judged("json", TYPES, value) for value in values]
