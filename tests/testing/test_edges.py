"""Aggregates at the edges of their types: one rule, whatever the order of the events."""

import itertools
import math
from datetime import datetime, timezone
from decimal import Decimal

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.testing import evaluate

INF, NAN = math.inf, math.nan
NOON = 1_740_830_400_000


def values(kind, numbers, emit="on_window", **aggregates):
    spec = {
        "name": "edges",
        "source": {"topic": "t", "schema": {"k": "int", "at": "bigint", "x": kind}, "event_time": {"column": "at"}},
        "feature_groups": [
            {"name": "g", "key": ["k"], "emit": emit, "window": {"size": "10m"}, "aggregates": aggregates}
        ],
    }
    events = [{"k": 1, "at": NOON + number, "x": x} for number, x in enumerate(numbers)]
    row = evaluate(spec, events)["g_1"][-1]
    return {name: row[name] for name in aggregates}


ALL = {
    name: {name: "x"}
    for name in ("count", "count_distinct", "min", "max", "sum", "avg", "stddev_samp", "var_pop", "stddev_pop")
}


@pytest.mark.parametrize("emit", ["on_window", "on_event"])
@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("order", list(itertools.permutations([NAN, 1.0, 5.0])))
def test_nan_is_left_out_as_null_is(kind, emit, order):
    found = values(kind, order, emit, **ALL, first={"first_value": "x"}, last={"last_value": "x"})
    without = [number for number in order if number == number]
    assert found == {
        **{
            "count": 2,
            "count_distinct": 2,
            "min": 1.0,
            "max": 5.0,
            "sum": 6.0,
            "avg": 3.0,
            "stddev_samp": math.sqrt(8),
        },
        **{"var_pop": 4.0, "stddev_pop": 2.0, "first": without[0], "last": without[-1]},
    }


def test_of_nan_alone_nothing_is_left():
    assert values("double", [NAN, NAN], **ALL) == {**dict.fromkeys(ALL), "count": 0, "count_distinct": 0}


@pytest.mark.parametrize("large", [INF, -INF, 1e150, -1.7e308])
@pytest.mark.parametrize("emit", ["on_window", "on_event"])
def test_what_doubles_cannot_sum_up_is_null(large, emit):
    for order in itertools.permutations([large, 1.0, -large]):
        found = values("double", order, emit, **ALL)
        assert (found["min"], found["max"], found["count_distinct"]) == (-abs(large), abs(large), 3)
        assert all(found[name] is None for name in ("sum", "avg", "stddev_samp", "var_pop", "stddev_pop"))


def test_sums_on_each_event_are_exact_or_null():
    assert values("double", [9e12, 0.1], "on_event", s={"sum": "x"}) == {"s": 9_000_000_000_000.1}
    assert values("double", [1e13, 0.1], "on_event", s={"sum": "x"}) == {"s": None}
    assert values("double", [1e13, 0.5], "on_window", s={"sum": "x"}) == {"s": 1e13 + 0.5}
    assert values("bigint", [10**16 - 1, 0], "on_event", s={"avg": "x"}) == {"s": (10**16 - 1) / 2}
    assert values("bigint", [10**16, 0], "on_event", s={"avg": "x"}) == {"s": None}


@pytest.mark.parametrize("emit", ["on_window", "on_event"])
def test_a_sum_of_integers_that_bigint_does_not_hold_is_null(emit):
    largest = 2**63 - 1
    assert values("bigint", [largest, 1], emit, s={"sum": "x"}) == {"s": None}
    assert values("bigint", [largest, 1, -1], emit, s={"sum": "x"}) == {"s": largest}
    assert values("bigint", [-largest - 1, -1], emit, s={"sum": "x"}) == {"s": None}
    assert values("bigint", [largest, 1], emit, s={"sum": "x", "default": 7}) == {"s": 7}


@pytest.mark.parametrize("emit", ["on_window", "on_event"])
def test_a_sum_of_decimals_holds_numbers_of_28_digits(emit):
    for kind, point in (("decimal(38,0)", 28), ("decimal(38,18)", 10)):
        # As texts: Python's own arithmetic rounds to 28 digits.
        fraction = f".{'9' * (28 - point)}" if point < 28 else ""
        held, more = f"{'9' * point}{fraction}", f"1{'0' * point}"
        assert values(kind, [held, held], emit, s={"sum": "x"}) == {"s": Decimal(f"1{held[:-1]}8")}
        assert values(kind, [more, f"-{held}"], emit, s={"sum": "x"}) == {"s": None}
        assert values(kind, [f"-{'9' * (point + 10)}{fraction}"] * 3, emit, s={"sum": "x"}) == {"s": None}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-03-01T12:00:00+00:00", datetime(2025, 3, 1, 12)),
        ("2025-03-01T12:00:00.1Z", datetime(2025, 3, 1, 12, 0, 0, 100_000)),
        ("2025-03-01T12:00:00.123456789-0130", datetime(2025, 3, 1, 13, 30, 0, 123_456)),
        ("2025-03-01T12:00Z", datetime(2025, 3, 1, 12)),
    ],
)
def test_timestamps_as_producers_write_them(text, moment):
    assert values("timestamp", [text], m={"max": "x"}) == {"m": moment.replace(tzinfo=timezone.utc)}


@pytest.mark.parametrize(
    "text", ["2025-13-01T12:00:00Z", "12:00", "2025-03-01T12:00:00 UTC", "noon", "1", "2025-03-01T12:00"]
)
def test_other_texts_are_no_timestamps(text):
    with pytest.raises(PipelineError, match=r"events\[0\]\.x: "):
        values("timestamp", [text], m={"max": "x"})


def test_json_has_neither_nan_nor_infinity():
    spec = {
        "name": "edges",
        "source": {
            "topic": "t",
            "format": "json",
            "schema": {"k": "int", "at": "bigint", "x": "double"},
            "event_time": {"column": "at"},
        },
        "feature_groups": [{"name": "g", "key": ["k"], "window": {"size": "10m"}, "aggregates": {"n": "count"}}],
    }
    for number in (NAN, INF):
        with pytest.raises(PipelineError, match=r"events\[0\]\.x: "):
            evaluate(spec, [{"k": 1, "at": NOON, "x": number}])


def test_a_float_holds_what_its_type_holds():
    assert values("float", [3.4e38, INF], m={"max": "x"}, n={"min": "x"}) == {"m": INF, "n": pytest.approx(3.4e38)}
    with pytest.raises(PipelineError, match=r"events\[0\]\.x: is out of the range of float"):
        values("float", [1e39], m={"max": "x"})


def test_the_readme_s_cents_of_what_are_no_amounts():
    spec = {
        "name": "edges",
        "source": {
            "topic": "t",
            "schema": {"k": "int", "at": "bigint", "amount": "double"},
            "event_time": {"column": "at"},
            "derive": {"cents": {"expression": "ROUND(amount * 100)", "type": "bigint"}},
        },
        "feature_groups": [
            {
                "name": "g",
                "key": ["k"],
                "window": {"size": "10m"},
                "aggregates": {"n": "count", "known": {"count": "cents"}, "total": {"sum": "cents"}},
            }
        ],
    }
    amounts = [1e307, NAN, INF, *([12.34] * 100)]
    events = [{"k": 1, "at": NOON + number, "amount": amount} for number, amount in enumerate(amounts)]
    (row,) = evaluate(spec, events)["g_1"]
    assert row == {"k": 1, "n": 103, "known": 100, "total": 123_400}


DECADE = 3650 * 86_400_000


@pytest.mark.parametrize(
    ("setting", "behind", "counted"),
    [
        ({}, DECADE, True),
        ({}, DECADE + 1, False),
        ({"max_past": "1d"}, 86_400_000, True),
        ({"max_past": "1d"}, 86_400_001, False),
        ({"max_past": None}, NOON - 1, True),
    ],
)
def test_events_of_another_age_do_not_count(setting, behind, counted):
    spec = {
        "name": "ages",
        "source": {"topic": "t", "schema": {"k": "int", "at": "bigint"}, "event_time": {"column": "at"}, **setting},
        "feature_groups": [{"name": "g", "key": ["k"], "window": {"size": "10m"}, "aggregates": {"n": "count"}}],
    }
    event = {"k": 1, "at": NOON - behind}
    assert len(evaluate(spec, [{**event, "__kafka_timestamp": NOON}])["g_1"]) == counted
    # Without a Kafka timestamp there is nothing to compare with.
    assert len(evaluate(spec, [event])["g_1"]) == 1


@pytest.mark.parametrize("at", [NOON // 1000, NOON // 1_000_000])
def test_a_wrong_unit_is_no_event_of_1970(at):
    spec = {
        "name": "ages",
        "source": {"topic": "t", "schema": {"k": "int", "at": "bigint"}, "event_time": {"column": "at"}},
        "feature_groups": [{"name": "g", "key": ["k"], "window": {"size": "10m"}, "aggregates": {"n": "count"}}],
    }
    assert evaluate(spec, [{"k": 1, "at": at, "__kafka_timestamp": NOON}]) == {"g_1": []}
