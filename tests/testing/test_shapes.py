"""Windows of other shapes than one length, worked out by hand."""

from datetime import datetime, timedelta, timezone

from hopsworks_flink.testing import evaluate

MIDNIGHT = datetime(2025, 3, 1, tzinfo=timezone.utc)


def rows(events, aggregates, **group):
    """Rows of card 1 by the minute of their window's end, without key and time. Events are (seconds, settings)."""
    spec = {
        "name": "cards",
        "source": {
            "topic": "transactions",
            "schema": {"at": "timestamp", "card": "bigint", "shop": "string", "amount": "double", "ok": "boolean"},
            "event_time": {"column": "at"},
        },
        "feature_groups": [
            {"name": "cards", "key": ["card"], "event_time": "window_end", **group, "aggregates": aggregates}
        ],
    }
    given = [{"card": 1, "at": MIDNIGHT + timedelta(seconds=at), **event} for at, event in events]
    (found,) = evaluate(spec, given).values()
    return {
        (row.pop("window_end") - MIDNIGHT) / timedelta(minutes=1): {k: v for k, v in row.items() if k != "card"}
        for row in found
    }


SLIDING = {"window": {"size": "3m", "slide": "1m"}}
LENGTHS = {
    "n": "count",
    "n_1m": {"count": "*", "window": "1m"},
    "mean_2m": {"avg": "amount", "window": "2m"},
    "last_1m": {"last_value": "shop", "window": "1m", "default": "none"},
}


def test_one_row_has_windows_of_several_lengths():
    events = [(0, {"amount": 4, "shop": "a"}), (59.999, {"amount": 8, "shop": "b"}), (60, {"amount": 3, "shop": "c"})]
    assert rows(events, LENGTHS, **SLIDING) == {
        1: {"n": 2, "n_1m": 2, "mean_2m": 6.0, "last_1m": "b"},
        2: {"n": 3, "n_1m": 1, "mean_2m": 5.0, "last_1m": "c"},
        3: {"n": 3, "n_1m": 0, "mean_2m": 3.0, "last_1m": "none"},
        4: {"n": 1, "n_1m": 0, "mean_2m": None, "last_1m": "none"},
    }


EVENTS = [(0, {"amount": 4, "shop": "a"}), (400, {"amount": 5, "shop": "b"}), (500, {"amount": 6, "shop": "b"})]
OF_ALL = {"n": "count", "mean": {"avg": "amount"}, "last": {"last_value": "shop"}, "total": {"sum": "amount"}}
NOTHING = {"n": 0, "mean": None, "last": None, "total": None}


def test_one_more_row_when_a_window_has_emptied():
    found = rows(EVENTS, OF_ALL, on_empty="null", **SLIDING)
    assert list(found) == [1, 2, 3, 4, *range(7, 13)]
    assert (found.pop(4), found.pop(12)) == (NOTHING, NOTHING)
    assert found == rows(EVENTS, OF_ALL, **SLIDING)


def test_numbers_of_an_empty_window_may_be_zero():
    aggregates = {**OF_ALL, "total": {"sum": "amount", "default": -1}, "mean_1m": {"avg": "amount", "window": "1m"}}
    found = rows(EVENTS, aggregates, on_empty="zero", **SLIDING)
    assert found[12] == {"n": 0, "mean": 0.0, "last": None, "total": -1.0, "mean_1m": 0.0}
    # A length that is empty while the window is not.
    assert found[11] == {"n": 1, "mean": 6.0, "last": "b", "total": 6.0, "mean_1m": None}


def test_a_tumbling_window_is_followed_by_an_empty_one():
    assert rows(EVENTS, {"n": "count"}, on_empty="zero", window={"size": "5m"}) == {
        5: {"n": 1},
        10: {"n": 2},
        15: {"n": 0},
    }


def test_sessions_end_with_a_silence():
    events = [(0, {"shop": "a"}), (30, {"shop": "b"}), (90, {"shop": "c"}), (150.001, {"shop": "d"}), (400, {})]
    pages = {"n": "count", "last": {"last_n": "shop", "n": 2}}
    # A silence of just the gap is in the session still.
    assert rows(events[::-1], pages, window={"gap": "1m"}) == {
        2.5: {"n": 3, "last": ["b", "c"]},
        210_001 / 60_000: {"n": 1, "last": ["d"]},
        460 / 60: {"n": 1, "last": None},
    }


def test_a_session_starts_with_its_first_event():
    found = rows([(30, {}), (0, {}), (400, {})], {"n": "count"}, window={"gap": "1m"}, window_start=True)
    starts = {end: (row["window_start"] - MIDNIGHT).total_seconds() for end, row in found.items()}
    assert starts == {1.5: 0, 460 / 60: 400}


def test_a_session_that_is_too_long_has_no_row():
    events = [(at, {}) for at in (0, 50, 100, 400, 450)]
    assert rows(events, {"n": "count"}, window={"gap": "1m", "size": "160s"}) == {
        160 / 60: {"n": 3},
        510 / 60: {"n": 2},
    }
    assert rows(events, {"n": "count"}, window={"gap": "1m", "size": "159s"}) == {510 / 60: {"n": 2}}
