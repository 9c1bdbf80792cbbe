"""Records of the source topic on their way to an explanation: whose they are, and what became of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import Message

from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.pipeline.expressions.terms import Term, cast, clean
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.types import STRING
from hopsworks_flink.tasks import source_events
from hopsworks_flink.tasks.source_events import Reading, Seen, seen_of, wanted_of
from hopsworks_flink.testing import evaluation, queries

NOON = 1_780_056_000_000
MINUTE = 60_000


def pipeline(key: str = "card", group: dict[str, Any] | None = None, **source: Any) -> Pipeline:
    return Pipeline.parse(
        {
            "name": "cards",
            "source": {
                "topic": "cards",
                "format": "json",
                "schema": {"id": "string", "card": "bigint", "at": "bigint", "amount": "double"},
                "event_time": {"column": "at"},
                "max_disorder": "5s",
                **source,
            },
            "feature_groups": [
                {"name": "cards", "key": [key], "window": {"size": "1m"}, "aggregates": {"n": "count"}, **(group or {})}
            ],
        }
    )


def record(
    offset: int, values: dict[str, Any] | bytes | None, partition: int = 0, arrived: int | None = None, **beside: Any
) -> Message:
    value = json.dumps(values).encode() if isinstance(values, dict) else values
    stamp = arrived if arrived is not None else NOON + offset * 1000
    return Message(topic="cards", partition=partition, offset=offset, value=value, timestamp=(1, stamp), **beside)


def event(after: int, card: int | None = 1, **more: Any) -> dict[str, Any]:
    return {"id": f"e{after}", "card": card, "at": NOON + after, "amount": 1.0, **more}


def read(pipe: Pipeline, records: list[Message], keys: set[tuple[Any, ...]]) -> tuple[Reading, list[Seen]]:
    (group,) = pipe.feature_groups
    reading = Reading(pipe, wanted_of(pipe, group, keys), None)
    for one in records:
        reading.take(one)
    return reading, seen_of(pipe, group, reading, keys)


def outcomes(seen: list[Seen]) -> dict[int, str]:
    return {one.event.offset: one.event.outcome for one in seen}


def test_events_of_the_key_and_what_is_refused() -> None:
    records = [
        record(0, event(0)),
        record(1, event(0, card=2)),
        record(2, event(0, at=None)),
        record(3, event(0, at=NOON + 120 * MINUTE)),
        record(4, event(0, at=0)),
        record(5, b"{"),
        record(6, None),
        record(7, event(0, card=None)),
    ]
    reading, seen = read(pipeline(), records, {(1,)})
    assert outcomes(seen) == {
        0: "counted",
        2: "at is null",
        3: "at is further ahead of the Kafka timestamp than max_future",
        4: "at is not after 1970",
    }
    assert [one.event.time for one in seen] == [NOON, None, None, None]
    assert reading.undecodable == 1
    assert len(reading.held) == 4, "what is another key's is not held"


def test_duplicates_and_what_a_condition_leaves_out() -> None:
    pipe = pipeline(where="amount > 0", deduplicate={"by": "id", "within": "1h"})
    records = [record(0, event(0)), record(1, event(0)), record(2, event(5, amount=-1.0)), record(3, event(6, card=2))]
    _, seen = read(pipe, records, {(1,)})
    assert outcomes(seen) == {0: "counted", 1: "duplicate", 2: "left out by where"}


def test_a_derived_key() -> None:
    pipe = pipeline("bucket", derive={"bucket": {"expression": "MOD(card, 10)", "type": "bigint"}})
    _, seen = read(pipe, [record(0, event(0, card=13)), record(1, event(0, card=14))], {(3,)})
    assert outcomes(seen) == {0: "counted"}
    assert seen[0].key == (3,)


def test_columns_of_keys_and_headers() -> None:
    schema = {
        "card": {"type": "bigint", "key": True},
        "shop": {"type": "string", "header": "shop"},
        "at": "bigint",
    }
    pipe = pipeline(schema=schema)
    records = [
        record(0, {"at": NOON}, key=b"1", headers=[("shop", b"s")]),
        record(1, {"at": NOON}, key=b"no number"),
        record(2, {"at": NOON}),
    ]
    _, seen = read(pipe, records, {(1,)})
    assert outcomes(seen) == {0: "counted"}
    assert seen[0].values["shop"] == "s"


TEXTS = [
    *(
        "",
        " ",
        "a",
        "7",
        " 7 ",
        "+7",
        "-0",
        "7\n",
        "7\t",
        "\u00a07",
        "1_000",
        "\u0663",
        "\uff17",
        "0x7",
        "7d",
        "1 2",
        "\0007",
    ),
    *("127", "128", "-128", "-129", "32767", "70000", "-70000", "2147483648", "9223372036854775807"),
    *("9223372036854775808", "-9223372036854775808", "-9223372036854775809", "0" * 299 + "7", "0" * 301 + "7"),
    *(".5", "5.", ".", "-.5", "12.345", "12.335", "-12.345", "0.005", "-0.004", "99999999.994", "99999999.995"),
    *("9" * 38, "9" * 38 + ".4", "9" * 38 + ".5", "0." + "9" * 38, "1" + "0" * 37 + ".25"),
    *("NaN", "nan", "Infinity", "-inf", "1e2", "1E+2", "1e-2", "1e", "1e0002", "1e39", "1e-50", "1e400", "-1e400"),
    *("0.1", "16777217", "3.4028235e38", "3.4028236e38", "1.7976931348623159e308", "5e-324"),
    *("true", " true ", "TRUE", "False", "\ttrue", "\u00a0true\u3000", "yes", "1", "tru\u0435", "t r u e"),
]
TYPES = [
    *("tinyint", "smallint", "int", "bigint", "float", "double", "boolean", "string"),
    *("decimal(10,2)", "decimal(3,0)", "decimal(38,0)", "decimal(38,10)", "decimal(38,38)"),
]


@pytest.mark.parametrize("kind", TYPES)
def test_a_header_is_what_the_sql_of_the_job_makes_of_it(kind: str) -> None:
    pipe = pipeline(schema={"card": "bigint", "at": "bigint", "q": {"type": kind, "header": "q"}})
    records = [
        record(number, {"at": NOON, "card": 1}, headers=[("q", text.encode())]) for number, text in enumerate(TEXTS)
    ]
    _, seen = read(pipe, records, {(1,)})
    text = Term(STRING, "text", "text")
    expression = clean(cast(text, pipe.source.columns["q"])).duckdb
    with evaluation.connect() as connection:
        evaluation.load(connection, pipe, [one.values for one in seen])
        found = connection.execute(f"SELECT q FROM {queries.RAW}").fetchall()
        wanted = [connection.execute(f"SELECT {expression} FROM (SELECT ? AS text)", [one]).fetchone() for one in TEXTS]
    assert list(zip(TEXTS, found, strict=True)) == list(zip(TEXTS, wanted, strict=True))


def test_a_key_that_is_no_text_is_nobodys() -> None:
    pipe = pipeline(schema={"card": {"type": "string", "key": True}, "at": "bigint"})
    keys = [b"\0\x80", b"\0\x81", "\0\ufffd".encode(), b"\xed\xa0\xbd"]
    _, seen = read(pipe, [record(number, {"at": NOON}, key=key) for number, key in enumerate(keys)], {("\0\ufffd",)})
    assert outcomes(seen) == {2: "counted"}


def test_a_key_that_is_no_number_is_nobodys() -> None:
    pipe = pipeline(schema={"card": {"type": "smallint", "key": True}, "at": "bigint"})
    keys = [b"10", b" 10 ", b"1_0", "\u0661\u0660".encode(), b"70000", b"10.0", b"1e1"]
    reading, seen = read(pipe, [record(number, {"at": NOON}, key=key) for number, key in enumerate(keys)], {(10,)})
    assert outcomes(seen) == {0: "counted", 1: "counted"}
    assert len(reading.held) == 2


def test_what_came_behind_the_watermark() -> None:
    """By its own partition that is certain; by others it is possible, in the order in which they arrived."""
    records = [
        record(0, event(0)),
        record(1, event(10_000)),
        record(1, event(90_000, card=2), partition=1, arrived=NOON + 1500),
        record(2, event(20_000), arrived=NOON + 2000),
        record(3, event(90_000, card=2), arrived=NOON + 3000),
        record(4, event(30_000), arrived=NOON + 4000),
    ]
    _, seen = read(pipeline(), records, {(1,)})
    late = {
        one.event.offset: [one.is_late_for(NOON + MINUTE, 5000, certain=certain) for certain in (True, False)]
        for one in seen
    }
    assert late == {0: [False, False], 1: [False, True], 2: [False, True], 4: [True, True]}
    assert not any(one.is_late_for(NOON + 2 * MINUTE, 5000, certain=False) for one in seen)


def test_arrival_orders_the_partitions() -> None:
    records = [record(0, event(0), arrived=NOON + 9), record(0, event(1), partition=1, arrived=NOON + 3)]
    _, seen = read(pipeline(), records, {(1,)})
    assert [one.event.partition for one in seen] == [1, 0]


@pytest.mark.parametrize(
    ("unit", "value", "milliseconds"),
    [("seconds", NOON // 1000, NOON), ("microseconds", NOON * 1000 + 7, NOON), ("milliseconds", None, None)],
)
def test_event_times(unit: str, value: int | None, milliseconds: int | None) -> None:
    pipe = pipeline(event_time={"column": "at", "unit": unit})
    assert source_events.event_milliseconds(pipe, {"at": value}, NOON) == milliseconds


def test_event_times_of_records_and_expressions() -> None:
    assert source_events.event_milliseconds(pipeline(event_time="kafka_timestamp"), {}, NOON) == NOON
    assert source_events.event_milliseconds(pipeline(event_time={"expression": "at + 1"}), {"at": NOON}, NOON) is None


def test_no_more_is_held_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_events, "MOST", 1)
    with pytest.raises(ConfigurationError, match="shorter --margin"):
        read(pipeline(), [record(0, event(0)), record(1, event(0))], {(1,)})
