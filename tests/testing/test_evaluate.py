"""The evaluation against plain Python with exact fractions."""

import math
import statistics
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hopsworks_flink.exceptions import ConfigurationError, PipelineError
from hopsworks_flink.testing import evaluate
from tests.support import REPOSITORY

REFERENCE = REPOSITORY / "dags" / "pipelines" / "card_transactions.yaml"
MINUTE = 60_000
MIDNIGHT = 1_700_006_400_000  # milliseconds
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment(milliseconds):
    return EPOCH + timedelta(milliseconds=milliseconds)


def pipeline(aggregates, window=None, **source):
    return {
        "name": "cards",
        "source": {
            "topic": "transactions",
            "schema": {"at": "bigint", "card": "bigint", "shop": "string", "amount": "double", "units": "int"},
            "event_time": {"column": "at"},
            **source,
        },
        "feature_groups": [
            {
                "name": "cards",
                "key": ["card"],
                "event_time": "window_end",
                "window": window or {"size": "10m", "slide": "1m"},
                "aggregates": aggregates,
            }
        ],
    }


def rows(spec, events):
    (found,) = evaluate(spec, events).values()
    return found


def by_window(events, size, slide):
    """(card, end of the window) → events of every window that has some."""
    windows = defaultdict(list)
    for event in events:
        end = (event["at"] // slide + 1) * slide
        while end - size <= event["at"]:
            windows[event["card"], moment(end)].append(event)
            end += slide
    return windows


EXACT = {
    "n": ("count", lambda values: len(values)),
    "total": ("sum", lambda values: sum(values) if values else None),
    "mean": ("avg", lambda values: sum(values) / len(values) if values else None),
    "low": ("min", lambda values: min(values, default=None)),
    "high": ("max", lambda values: max(values, default=None)),
    "samp": ("stddev_samp", lambda values: statistics.variance(values) if len(values) > 1 else None),
    "pop": ("stddev_pop", lambda values: statistics.pvariance(values) if values else None),
}

amounts = st.one_of(
    st.none(),
    st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 2)),
    st.sampled_from([0.0, 10.0, 1e-6, -5.25]),
    # Naive arithmetic loses the deviation of such values altogether.
    st.integers(0, 9).map(lambda digit: 1e9 + digit / 8),
)
an_event = st.fixed_dictionaries(
    {
        "at": st.one_of(
            st.integers(MIDNIGHT, MIDNIGHT + 25 * MINUTE), st.integers(0, 25).map(lambda n: MIDNIGHT + n * MINUTE)
        ),
        "card": st.integers(0, 2),
        "amount": amounts,
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(an_event, max_size=40), st.sampled_from([("10m", None), ("10m", "1m"), ("7m", "7m"), ("90s", "30s")]))
def test_every_function_agrees_with_exact_arithmetic(events, shape):
    size, slide = shape
    window = {"size": size, **({"slide": slide} if slide else {})}
    length = {"10m": 10 * MINUTE, "7m": 7 * MINUTE, "90s": 90_000}[size]
    step = {None: length, "1m": MINUTE, "7m": 7 * MINUTE, "30s": 30_000}[slide]
    found = rows(pipeline({name: {function: "amount"} for name, (function, _) in EXACT.items()}, window), events)
    windows = by_window(events, length, step)
    assert {(row["card"], row["window_end"]) for row in found} == set(windows)
    assert len(found) == len(windows)
    for row in found:
        values = [
            Fraction(event["amount"])
            for event in windows[row["card"], row["window_end"]]
            if event["amount"] is not None
        ]
        largest = max((abs(value) for value in values), default=0)
        for name, (function, exact) in EXACT.items():
            wanted = exact(values)
            if wanted is None or function == "count":
                assert row[name] == wanted, (name, row)
                continue
            wanted = math.sqrt(wanted) if function.startswith("stddev") else float(wanted)
            # A sum of large values of both signs keeps the last digits of the large ones.
            assert math.isclose(row[name], wanted, rel_tol=1e-12, abs_tol=float(largest) * 1e-15), (name, row, wanted)


def test_events_that_must_not_count():
    good = {"at": MIDNIGHT, "card": 1, "amount": 1.0, "__kafka_timestamp": MIDNIGHT}
    refused = [
        {"at": None},
        {"at": 0},
        {"at": -5},
        {"at": 10**17},
        {"card": None},
        {"at": MIDNIGHT + 60 * MINUTE + 1},
        {"at": MIDNIGHT + 60 * MINUTE + 1000, "__kafka_timestamp": MIDNIGHT + 999},
        {"at": 10**17, "__kafka_timestamp": None},
    ]
    counted = [
        {"at": MIDNIGHT + 60 * MINUTE},
        {"at": MIDNIGHT + 60 * MINUTE + 999, "__kafka_timestamp": MIDNIGHT + 999},
        {"at": MIDNIGHT + 90 * MINUTE, "__kafka_timestamp": None},
    ]
    events = [{**good, **change} for change in [{}, *refused, *counted]]
    found = rows(pipeline({"n": "count"}, {"size": "1d"}), events)
    assert found == [{"card": 1, "n": 4, "window_end": moment(MIDNIGHT // 86_400_000 * 86_400_000 + 86_400_000)}]


@pytest.mark.parametrize(("unit", "scale"), [("seconds", 0.001), ("milliseconds", 1), ("microseconds", 1000)])
def test_units_of_time(unit, scale):
    spec = pipeline({"n": "count"}, {"size": "1s"}, event_time={"column": "at", "unit": unit})
    events = [{"at": int((MIDNIGHT + shift) * scale), "card": 1} for shift in (0, 999, 1000)]
    counts = [(row["n"], row["window_end"]) for row in rows(spec, events)]
    assert counts == [(2, moment(MIDNIGHT + 1000)), (1, moment(MIDNIGHT + 2000))]


def test_less_than_a_millisecond_after_the_epoch_is_the_epoch():
    spec = pipeline({"n": "count"}, {"size": "1s"}, event_time={"column": "at", "unit": "microseconds"}, max_past=None)
    found = rows(spec, [{"at": at, "card": 1, "__kafka_timestamp": MIDNIGHT} for at in (999, 1000)])
    assert [row["n"] for row in found] == [1]


def test_rows_are_in_the_order_of_windows_and_keys():
    events = [{"at": MIDNIGHT + shift, "card": card} for shift in (MINUTE, 0) for card in (2, 1)]
    found = rows(pipeline({"n": "count"}, {"size": "1m"}), events)
    assert [(row["window_end"], row["card"]) for row in found] == sorted((r["window_end"], r["card"]) for r in found)


def test_a_group_without_event_time_has_a_row_for_each_window():
    spec = pipeline({"n": "count"}, {"size": "1m"})
    del spec["feature_groups"][0]["event_time"]
    assert rows(spec, [{"at": MIDNIGHT, "card": 1}, {"at": MIDNIGHT + MINUTE, "card": 1}]) == [{"card": 1, "n": 1}] * 2


def test_the_reference_pipeline():
    events = [{"tid": str(n), "datetime": MIDNIGHT + n * 1000, "cc_num": 7, "amount": float(n)} for n in range(3)]
    found = evaluate(REFERENCE, events)
    assert list(found) == ["card_transactions_10m_agg_1", "card_transactions_10m_agg_2"]
    first = found["card_transactions_10m_agg_2"][0]
    assert first == {
        "cc_num": 7,
        "num_trans_per_10m": 3,
        "avg_amt_per_10m": 1.0,
        "stdev_amt_per_10m": 1.0,
        "window_end": moment(MIDNIGHT + MINUTE),
    }
    assert len(found["card_transactions_10m_agg_1"]) == len(found["card_transactions_10m_agg_2"]) == 10


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"at": "soon"}, r"events\[1\]\.at: must be a whole number, as the column is bigint \(found: 'soon'\)"),
        ({"units": 2**31}, r"events\[1\]\.units: is out of the range of int"),
        ({"shop": 5}, r"events\[1\]\.shop: must be a text"),
        ({"amuont": 1.0}, r"events\[1\] has 'amuont', which is not a column of the source: at, card, shop"),
        ([], r"events\[1\] must be a mapping"),
    ],
)
def test_a_wrong_event_is_named(event, message):
    with pytest.raises(PipelineError, match=message):
        evaluate(pipeline({"n": "count"}), [{"at": MIDNIGHT, "card": 1}, event])


def test_columns_that_duckdb_cannot_tell_apart_are_refused():
    spec = pipeline({"n": "count"})
    spec["source"]["schema"]["Card"] = "string"
    with pytest.raises(PipelineError, match=r"'card' and 'Card', which DuckDB does not tell apart"):
        evaluate(spec, [])


def test_columns_of_a_join_that_duckdb_cannot_tell_apart_are_refused():
    spec = pipeline({"n": "count"})
    schema = {"card": "bigint", "Most": "double", "most": "double"}
    join = {"topic": "limits", "schema": schema, "by": "card", "columns": {"upper": "Most", "lower": "most"}}
    spec["source"]["join"] = {"limits": join}
    with pytest.raises(
        PipelineError, match=r"source.join.limits.schema has the columns 'Most' and 'most', which DuckDB"
    ):
        evaluate(spec, [])


def test_without_duckdb_the_remedy_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigurationError, match=r"pip install duckdb\."):
        evaluate(pipeline({"n": "count"}), [])
