"""All that a pipeline file can say, against plain Python with exact fractions."""

import base64
import math
import statistics
from collections import defaultdict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.testing import evaluate

MINUTE = 60_000
MIDNIGHT = 1_700_006_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SCHEMA = {
    "at": "bigint",
    "card": "bigint",
    "shop": "string",
    "flag": "boolean",
    "tiny": "tinyint",
    "short": "smallint",
    "whole": "int",
    "ratio": "float",
    "amount": "double",
    "price": "decimal(10,2)",
    "huge": "decimal(38,6)",
    "day": "date",
    "seen": "timestamp",
    "raw": "binary",
}


def moment(milliseconds):
    return EPOCH + timedelta(milliseconds=milliseconds)


def pipeline(*groups, **source):
    return {
        "name": "cards",
        "source": {"topic": "events", "schema": SCHEMA, "event_time": {"column": "at"}, **source},
        "feature_groups": [{"name": f"group{n}", "key": ["card"], **group} for n, group in enumerate(groups)],
    }


def rows(spec, events):
    return list(evaluate(spec, events).values())


def hop(size, slide):
    return lambda at: [end for end in range(at // slide * slide + slide, at + size + 1, slide) if end - size <= at]


def grow(size, step):
    def ends(at):
        start = at // size * size
        return [end for end in range(start + step, start + size + 1, step) if at < end]

    return ends


SHAPES = {
    "tumble": ({"size": "5m"}, hop(5 * MINUTE, 5 * MINUTE)),
    "hop": ({"size": "6m", "slide": "90s"}, hop(6 * MINUTE, 90_000)),
    "cumulate": ({"size": "10m", "step": "2m"}, grow(10 * MINUTE, 2 * MINUTE)),
}


def exact(function, values):
    """A function of (event time, arrival, value) triples, as a Fraction or a plain value."""
    plain = [value for *_, value in values]
    if function == "count_distinct":
        return len(set(plain))
    if function == "count":
        return len(plain)
    if not plain:
        return None
    if function == "first_value":
        return min(values)[2]
    if function == "last_value":
        return max(values)[2]
    if function in ("min", "max"):
        return {"min": min, "max": max}[function](plain)
    if function.endswith("_samp") and len(plain) < 2:
        return None
    numbers = [Fraction(value) for value in plain]
    if function == "sum":
        # docs/pipeline-file.md, numbers at the edge: no sum of decimals with more than 28 digits.
        wide = any(isinstance(value, Decimal) and abs(value.scaleb(6)) >= 10**28 for value in plain)
        return None if wide else sum(numbers)
    if function == "avg":
        return sum(numbers) / len(numbers)
    variance = (statistics.variance if function.endswith("_samp") else statistics.pvariance)(numbers)
    return math.sqrt(variance) if function.startswith("stddev") else variance


FUNCTIONS = ["count", "count_distinct", "sum", "avg", "min", "max", "first_value", "last_value"]
FUNCTIONS += ["stddev_samp", "stddev_pop", "var_samp", "var_pop"]

times = st.one_of(
    st.integers(MIDNIGHT, MIDNIGHT + 15 * MINUTE),
    st.integers(0, 15).flatmap(lambda n: st.sampled_from([MIDNIGHT + n * MINUTE + shift for shift in (-1, 0, 1)])),
)
numbers = {
    "tiny": st.integers(-128, 127),
    "whole": st.integers(-(2**31), 2**31 - 1),
    "amount": st.one_of(st.integers(0, 9).map(lambda digit: 1e9 + digit / 8), st.floats(-1e3, 1e3)),
    "price": st.integers(-(10**9), 10**9).map(lambda number: Decimal(number) / 100),
    "huge": st.integers(1 - 10**30, 10**30 - 1).map(lambda number: Decimal(f"{number}e-6")),
}
an_event = st.fixed_dictionaries(
    {
        "at": times,
        "card": st.one_of(st.none(), st.integers(0, 1)),
        "flag": st.one_of(st.none(), st.booleans()),
        **{name: st.one_of(st.none(), values) for name, values in numbers.items()},
    }
)


def assert_equal(found, wanted, column, largest, where):
    if wanted is None or isinstance(found, (int, Decimal)):
        assert found == wanted, where
    else:
        wanted, slack = float(wanted), float(largest) * 1e-15
        if where[0].startswith("var"):
            slack *= 2 * math.sqrt(abs(wanted)) + float(largest) * 1e-15
        assert math.isclose(found, wanted, rel_tol=1e-11, abs_tol=slack), (where, found, wanted)


def check(found, expected, column, condition):
    """Rows of one group against (key, time) → triples of its events."""
    assert sorted((row["card"], row["time"]) for row in found) == sorted((key, time) for key, time, *_ in expected)
    for row, (_, _, events) in zip(found, expected, strict=True):
        values = [
            (e["at"], n, e[column]) for n, e in events if e[column] is not None and (not condition or e["flag"] is True)
        ]
        largest = max((abs(value) for *_, value in values), default=0)
        for function in FUNCTIONS:
            assert_equal(row[function], exact(function, values), column, largest, (function, row))


def aggregates(column, condition):
    only = {"where": "flag"} if condition else {}
    return {function: {function: column, **only} for function in FUNCTIONS}


@settings(max_examples=30, deadline=None)
@given(st.lists(an_event, max_size=25), st.sampled_from(list(SHAPES)), st.sampled_from(list(numbers)), st.booleans())
def test_windows_of_every_shape(events, shape, column, condition):
    window, ends = SHAPES[shape]
    group = {"window": window, "event_time": "window_end", "aggregates": aggregates(column, condition)}
    (found,) = rows(pipeline(group), events)
    placed = defaultdict(list)
    for number, event in enumerate(events):
        if event["card"] is not None:
            for end in ends(event["at"]):
                placed[end, event["card"]].append((number, event))
    expected = [(card, moment(end), placed[end, card]) for end, card in sorted(placed)]
    check([{**row, "time": row["window_end"]} for row in found], expected, column, condition)


@settings(max_examples=20, deadline=None)
@given(st.lists(an_event, max_size=20), st.sampled_from(list(numbers)), st.booleans())
def test_one_row_for_each_event(events, column, condition):
    group = {"emit": "on_event", "window": {"size": "3m"}, "event_time": "event"}
    (found,) = rows(pipeline({**group, "aggregates": aggregates(column, condition)}), events)
    known = [(n, e) for n, e in enumerate(events) if e["card"] is not None]
    expected = []
    for _, now in sorted(known, key=lambda pair: (pair[1]["at"], pair[1]["card"], pair[0])):
        seen = [(n, e) for n, e in known if e["card"] == now["card"] and now["at"] - 3 * MINUTE <= e["at"] <= now["at"]]
        expected.append((now["card"], moment(now["at"]), seen))
    check([{**row, "time": row["event_time"]} for row in found], expected, column, condition)


def one(spec, *events):
    ((row,),) = rows(spec, [{"at": MIDNIGHT, "card": 1, **event} for event in events])
    return row


def test_columns_of_every_type_are_carried():
    values = {
        "shop": "Zürich",
        "flag": True,
        "tiny": -1,
        "short": 300,
        "whole": 70_000,
        "ratio": 0.5,
        "amount": 1.25,
        "price": Decimal("12.50"),
        "huge": Decimal("12345678901234567890123456789012.345678"),
        "day": date(2025, 1, 31),
        "seen": datetime(2025, 1, 31, 12, 0, 0, 123456, tzinfo=timezone.utc),
    }
    group = {"window": {"size": "1d"}, "aggregates": {name: {"last_value": name} for name in values}}
    assert one(pipeline(group), values) == {"card": 1, **values}
    texts = {**values, "price": "12.50", "huge": str(values["huge"]), "day": "2025-01-31"}
    texts["seen"] = "2025-01-31T13:00:00.123456+01:00"
    assert one(pipeline(group), {**texts, "raw": base64.b64encode(b"\x00").decode()}) == {"card": 1, **values}
    naive = datetime(2025, 1, 31, 12, 0, 0, 123456)
    assert one(pipeline(group), {**texts, "seen": naive, "raw": b"\x00"}) == {"card": 1, **values}


def test_keys_of_several_columns():
    group = {"key": ["shop", "price", "day", "flag"], "window": {"size": "1d"}, "aggregates": {"n": "count"}}
    event = {"at": MIDNIGHT, "shop": "a", "price": "1.50", "day": "2025-01-31", "flag": False}
    incomplete = [{**event, name: None} for name in ("shop", "price", "day", "flag")]
    ((row,),) = rows(pipeline(group), [event, event, *incomplete])
    assert row == {"shop": "a", "price": Decimal("1.50"), "day": date(2025, 1, 31), "flag": False, "n": 2}


def test_derived_columns_and_conditions():
    group = {
        "window": {"size": "1d"},
        "aggregates": {
            "total": {"sum": "gross"},
            "shops": {"count_distinct": "place"},
            "big": {"count": "*", "where": "gross > 20"},
            "best": {"max": "gross", "where": "gross > 1000", "default": -1},
        },
    }
    derive = {
        "gross": {"expression": "amount * 2", "type": "double"},
        "place": {"expression": "UPPER(shop)", "type": "string"},
    }
    spec = pipeline(group, derive=derive, where="gross > 0 AND shop IS NOT NULL")
    events = [
        {"amount": 5.0, "shop": "a"},
        {"amount": 15.0, "shop": "A"},
        {"amount": -1.0, "shop": "b"},
        {"amount": 1.0},
        {"shop": "c"},
    ]
    assert one(spec, *events) == {"card": 1, "total": 40.0, "shops": 1, "big": 1, "best": -1.0}


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [
        ({"sum": "whole", "default": 0}, 0),
        ({"avg": "whole", "default": 1.5}, 1.5),
        ({"max": "price", "default": 0}, Decimal("0.00")),
        ({"last_value": "shop", "default": "it's"}, "it's"),
        ({"min": "day", "default": "2025-01-31"}, date(2025, 1, 31)),
        ({"min": "seen", "default": "2025-01-31 12:00:00"}, datetime(2025, 1, 31, 12, tzinfo=timezone.utc)),
        ({"first_value": "flag", "default": False}, False),
        ({"sum": "whole"}, None),
    ],
)
def test_defaults(aggregate, value):
    assert one(pipeline({"window": {"size": "1d"}, "aggregates": {"x": aggregate}}), {}) == {"card": 1, "x": value}


def test_kafkas_timestamp_as_event_time():
    group = {"window": {"size": "1m"}, "event_time": "window_end", "aggregates": {"n": "count"}}
    spec = pipeline(group, event_time="kafka_timestamp")
    (found,) = rows(spec, [{"card": 1, "__kafka_timestamp": at} for at in (MIDNIGHT, moment(MIDNIGHT + 1), 0)])
    assert found == [{"card": 1, "n": 2, "window_end": moment(MIDNIGHT + MINUTE)}]
    with pytest.raises(PipelineError, match=r"events\[0\] has no __kafka_timestamp, which is the event time"):
        rows(spec, [{"card": 1}])


def test_a_timestamp_as_event_time():
    group = {"window": {"size": "1m"}, "event_time": "window_end", "aggregates": {"n": "count"}}
    spec = pipeline(group, event_time={"column": "seen"})
    good = moment(MIDNIGHT) + timedelta(microseconds=59_999_999)
    far = moment(MIDNIGHT + 60 * MINUTE + 1)
    seen = [good, None, EPOCH, EPOCH - timedelta(days=1), far]
    (found,) = rows(spec, [{"card": 1, "seen": at, "__kafka_timestamp": MIDNIGHT} for at in seen])
    assert found == [{"card": 1, "n": 1, "window_end": moment(MIDNIGHT + MINUTE)}]


def test_a_sum_that_overflows_is_null():
    spec = pipeline({"window": {"size": "1d"}, "aggregates": {"x": {"sum": "big"}}})
    spec["source"]["schema"] = {**SCHEMA, "big": "bigint"}
    ((row,),) = rows(spec, [{"at": MIDNIGHT, "card": 1, "big": 2**63 - 1}] * 2)
    assert row["x"] is None


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"price": "1.234"}, r"price: does not fit into decimal\(10,2\)"),
        ({"price": "x"}, r"events\[0\]\.price: must be a decimal number \(found: 'x'\)"),
        ({"day": "2025-02-30"}, r"events\[0\]\.day"),
        ({"seen": 5}, r"seen: must be a timestamp"),
        ({"raw": "%%"}, r"events\[0\]\.raw"),
        ({"tiny": 128}, r"tiny: is out of the range of tinyint"),
        ({"flag": 1}, r"flag: must be true or false"),
    ],
)
def test_values_that_do_not_fit_are_named(event, message):
    with pytest.raises(PipelineError, match=message):
        rows(pipeline({"window": {"size": "1d"}, "aggregates": {"n": "count"}}), [event])
