"""What both stores serve of card transactions, held against what the events come to."""

from __future__ import annotations

import math
from datetime import datetime, timezone

from tests.support.live import events as simulated
from tests.support.live.platform import offline_rows

GROUP = "card_transactions_10m_agg"


def same(actual, expected):
    """Whether two feature values are equal: null is null, floats to 1e-9."""
    if actual is None or expected is None or (isinstance(actual, float) and math.isnan(actual)):
        missing = actual is None or (isinstance(actual, float) and math.isnan(actual))
        return missing and expected is None
    return math.isclose(actual, expected, rel_tol=1e-9, abs_tol=1e-9)


def assert_row(row, window):
    assert row["num_trans_per_10m"] == window["n"], (row, window)
    assert same(row["avg_amt_per_10m"], window["mean"]), (row, window)
    assert same(row["stdev_amt_per_10m"], window["sd"]), (row, window)


def milliseconds(stamp):
    return round(stamp.replace(tzinfo=stamp.tzinfo or timezone.utc).timestamp() * 1000)


def assert_online(store, expected, group=GROUP):
    """Both versions hold the newest window of every card, and nothing else."""
    for version in (1, 2):
        frame = store.get_feature_group(group, version=version).read(online=True)
        rows = {row["cc_num"]: row for row in frame.to_dict("records") if row["cc_num"] != simulated.FLUSH_CARD}
        assert set(rows) == set(expected), f"version {version}"
        for card, window in expected.items():
            if version == 2:
                stamp = rows[card]["window_end"]
                stamp = datetime.fromisoformat(stamp) if isinstance(stamp, str) else stamp.to_pydatetime()
                assert milliseconds(stamp) == window["window_end"], (card, window)
            assert_row(rows[card], window)


def assert_offline(store, windows, group=GROUP):
    """Version 2 holds every window of every card exactly once, version 1 the newest."""
    history = {}
    for row in offline_rows(store.get_feature_group(group, version=2)):
        if row["cc_num"] != simulated.FLUSH_CARD:
            key = (row["cc_num"], milliseconds(row["window_end"]))
            assert key not in history, f"{key} stands twice"
            history[key] = row
    expected = {(window["cc_num"], window["window_end"]): window for window in windows}
    assert set(history) == set(expected)
    for key, window in expected.items():
        assert_row(history[key], window)
    newest = simulated.newest_by_card(windows)
    rows = [r for r in offline_rows(store.get_feature_group(group, version=1)) if r["cc_num"] != simulated.FLUSH_CARD]
    assert sorted(row["cc_num"] for row in rows) == sorted(newest)
    for row in rows:
        assert_row(row, newest[row["cc_num"]])


def iso(stamp):
    return datetime.fromtimestamp(stamp / 1000, timezone.utc).isoformat()
