"""Causes of differences: each situation a line of a table."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from hopsworks_flink.health.explanation import (
    BEHIND,
    COUNTED,
    DUPLICATE,
    EXPECTED,
    FOREIGN,
    GONE,
    JOB,
    LATE,
    OPEN,
    OTHER_FILE,
    RECOMPUTE,
    RECOMPUTED,
    REFUSED,
    REMEDIES,
    STALE,
    STRANGER,
    UNEXPLAINED,
    WAITING,
    Event,
    Explanation,
    Facts,
    Row,
    Store,
    Written,
    fails,
    findings,
    iso,
    same,
)
from hopsworks_flink.pipeline.types import FeatureType

AT = 1_780_000_020_000
TYPES = {name: FeatureType.parse(kind) for name, kind in {"card": "bigint", "n": "bigint", "mean": "double"}.items()}
MISSED = Event(0, 7, AT, AT - 5, COUNTED, behind=3000)
TOO_FAR = Event(1, 8, AT, None, "at is null")


def row(n: int, at: int | None = AT) -> Row:
    return Row(at, {"card": 1, "n": n, "mean": n / 3})


def written(offset: int, n: int, writer: str = JOB, **more: Any) -> Written:
    return Written(0, offset, AT + offset, writer, row(n, more.pop("at", AT)), **more)


def facts(**more: Any) -> Facts:
    """Three places with the same row, of a window that is closed; with something else."""
    same_everywhere = {
        "recomputed": row(3),
        "online": Store(row(3)),
        "offline": Store(row(3)),
        "watermark": AT,
        "job": "j",
        "written": [written(5, 3)],
        "materialized": {0: 6},
    }
    return Facts(AT, TYPES, **{**same_everywhere, **more})


BOTH = ("online", "offline")
OTHER, LACKING = Store(row(2)), Store(row(2), [MISSED])
SITUATIONS = {
    "all agree": ({}, {}),
    "neither events nor rows": ({"recomputed": None, "online": Store(), "offline": Store(), "written": []}, {}),
    "online has moved on": ({"online": Store(row(9, AT + 60_000))}, {}),
    "a store that is not asked": ({"online": None, "offline": None}, {}),
    "a refused event beside a right value": ({"refused": [TOO_FAR]}, {REFUSED: ("events",)}),
    # --- late ---
    "both lack a late event": (
        {"online": LACKING, "offline": LACKING, "written": [written(5, 2)]},
        {LATE: BOTH},
    ),
    "every event of the row was late": (
        {"online": Store(row(1, AT - 60_000), [MISSED]), "offline": Store(None, [MISSED]), "written": []},
        {LATE: BOTH},
    ),
    # --- stale, behind, open ---
    "the window is empty, an older row is served": (
        {"recomputed": None, "online": Store(row(3, AT - 60_000)), "offline": Store(), "written": []},
        {STALE: ("online",)},
    ),
    "a silent key without event time": (
        {
            "recomputed": None,
            "online": Store(row(3, None)),
            "offline": Store(row(3, None)),
            "has_time": False,
            "written": [],
        },
        {STALE: ("online",)},
    ),
    "the row is in the topic and not online": (
        {"online": Store(row(1, AT - 60_000))},
        {BEHIND: ("online",)},
    ),
    "an older record of the same row is served": (
        {"online": OTHER, "written": [written(4, 2), written(5, 3)]},
        {BEHIND: ("online",)},
    ),
    "the window is open": (
        {"online": Store(), "offline": Store(), "watermark": AT - 2, "written": []},
        {OPEN: BOTH},
    ),
    "at its end it is closed": (
        {"online": Store(), "offline": Store(), "watermark": AT - 1, "written": []},
        {UNEXPLAINED: BOTH},
    ),
    "no job runs": (
        {"online": Store(), "offline": Store(), "watermark": None, "job": None, "written": []},
        {OPEN: BOTH},
    ),
    "Flink does not say whether it is": (
        {"online": Store(), "offline": Store(), "watermark": None, "job": None, "asked_flink": False, "written": []},
        {UNEXPLAINED: BOTH},
    ),
    # --- offline ---
    "its offset is not reached": (
        {"offline": Store(), "materialized": {0: 5}},
        {WAITING: ("offline",)},
    ),
    "nothing was ever materialized": ({"offline": Store(), "materialized": {}}, {WAITING: ("offline",)}),
    "how far is not known": ({"offline": Store(), "materialized": None}, {WAITING: ("offline",)}),
    "the topic was not read, and it is online": ({"offline": Store(), "written": None}, {WAITING: ("offline",)}),
    "its offset was passed, and it is not there": ({"offline": Store()}, {UNEXPLAINED: ("offline",)}),
    "a newer record waits": (
        {"offline": OTHER, "written": [written(4, 2), written(5, 3)], "materialized": {0: 5}},
        {WAITING: ("offline",)},
    ),
    "recomputed since": (
        {
            "online": LACKING,
            "written": [written(4, 2), written(5, 3, RECOMPUTE, online=False)],
        },
        {LATE: ("online",), RECOMPUTED: ("offline",)},
    ),
    "recomputed since, and online has moved on": (
        {
            "online": Store(row(9, AT + 60_000)),
            "written": [written(4, 2), written(5, 3, RECOMPUTE, online=False)],
        },
        {RECOMPUTED: ("offline",)},
    ),
    "recomputed to the same": ({"written": [written(4, 3), written(5, 3, RECOMPUTE, online=False)]}, {}),
    # --- somebody else ---
    "a stranger's row is served": (
        {"online": OTHER, "written": [written(4, 3), written(5, 2, STRANGER, ingestion_id=9)]},
        {FOREIGN: ("online",)},
    ),
    "a stranger wrote the right value": ({"written": [written(5, 3, STRANGER)]}, {}),
    "a stranger's row is found though the file differs": (
        {"online": OTHER, "written": [written(5, 2, STRANGER)], "differences": ["the SQL differs"]},
        {FOREIGN: ("online",)},
    ),
    "written past the topic": ({"online": OTHER}, {FOREIGN: ("online",)}),
    # --- what was computed with ---
    "another file is deployed": (
        {"online": LACKING, "written": [written(5, 2)], "differences": ["the SQL differs"]},
        {OTHER_FILE: ("online",)},
    ),
    "another file, and no row of it": (
        {"online": Store(), "offline": Store(), "written": [], "job": None, "watermark": AT, "differences": ["x"]},
        {OTHER_FILE: BOTH},
    ),
    "events are gone": (
        {"recomputed": row(2), "written": [written(5, 3)], "gone": "they are gone"},
        {GONE: BOTH},
    ),
    "all of its events are gone": ({"recomputed": None, "gone": "they are gone"}, {GONE: BOTH}),
    "a late event is known by its value though others are gone": (
        {"online": LACKING, "written": [written(5, 2)], "gone": "they are gone"},
        {LATE: ("online",)},
    ),
    "nobody knows": ({"online": OTHER, "written": [written(5, 2)]}, {UNEXPLAINED: ("online",)}),
    "nobody could look": ({"online": OTHER, "written": None, "unread": "no time"}, {UNEXPLAINED: ("online",)}),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_causes(situation: str) -> None:
    more, wanted = SITUATIONS[situation]
    found = findings(facts(**more))
    assert {finding.cause: finding.where for finding in found} == wanted
    for finding in found:
        assert finding.remedy == REMEDIES[finding.cause]
        assert finding.text
        assert not finding.text.endswith(".")


def test_every_cause_is_made_by_the_table() -> None:
    assert {cause for _, wanted in SITUATIONS.values() for cause in wanted} == set(REMEDIES)


def test_figures_are_told() -> None:
    def text(cause: str, **more: Any) -> str:
        return next(finding.text for finding in findings(facts(**more)) if finding.cause == cause)

    assert "partition 0 offset 7" in text(LATE, online=LACKING, written=[written(5, 2)])
    assert "partition 1 offset 8 (at is null)" in text(REFUSED, refused=[TOO_FAR])
    assert "up to offset 3" in text(WAITING, offline=Store(), materialized={0: 3})
    assert "ingestion id 9" in text(FOREIGN, online=OTHER, written=[written(5, 2, STRANGER, ingestion_id=9)])
    assert iso(AT - 60_000) in text(STALE, recomputed=None, online=Store(row(3, AT - 60_000)), offline=None)
    assert "no time" in text(UNEXPLAINED, online=OTHER, written=None, unread="no time")
    many = [TOO_FAR] * 5
    assert text(REFUSED, refused=many).startswith("5 event(s)")
    assert text(REFUSED, refused=many).endswith("and 2 more")


@pytest.mark.parametrize(
    ("causes", "failed"),
    [
        ([], False),
        (sorted(EXPECTED), False),
        ([WAITING], True),
        ([LATE, FOREIGN], True),
        ([UNEXPLAINED], True),
        ([BEHIND], True),
    ],
)
def test_an_audit_fails_by_what_the_pipeline_does_not_mean(causes: list[str], failed: bool) -> None:
    assert fails(causes) is failed


NOON = datetime(2025, 3, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("kind", "one", "other", "equal"),
    [
        ("bigint", 3, 3, True),
        ("bigint", 3, 3.0, True),
        ("bigint", 3, 4, False),
        # As pandas has a large number of a column with nulls, and any decimal out of a database.
        ("bigint", 2**53 + 1, float(2**53), True),
        ("bigint", 2**53 + 1, 2**53, False),
        ("bigint", 2**53 + 4, float(2**53), False),
        ("bigint", None, 0, False),
        ("double", 0.1 + 0.2, 0.3, True),
        ("double", 1.0, 1.00000001, False),
        ("double", None, None, True),
        ("float", 1.0, 1.0000001, True),
        ("boolean", 1, True, True),
        ("string", "a", "b", False),
        ("decimal(6,2)", Decimal("1.50"), 1.5, True),
        ("decimal(6,2)", Decimal("1.50"), Decimal("1.51"), False),
        ("decimal(19,2)", Decimal("12345678901234567.89"), 12345678901234567.89, True),
        ("decimal(19,2)", Decimal("12345678901234567.89"), Decimal("12345678901234567.88"), False),
        ("decimal(19,2)", Decimal("12345678901234567.89"), 12345678901234570.0, False),
        ("timestamp", NOON, "2025-03-01T12:00:00Z", True),
        ("timestamp", NOON + timedelta(milliseconds=7), NOON.replace(tzinfo=None), True),
        ("timestamp", NOON, NOON + timedelta(seconds=1), False),
        ("date", date(2025, 3, 1), "2025-03-01", True),
        ("date", date(2025, 3, 1), "2025-03-02", False),
        ("array<double>", [1.0, 0.3], [1.0, 0.1 + 0.2], True),
        ("array<double>", [1.0], [1.0, 2.0], False),
        ("array<double>", "packed", [1.0], True),
        ("array<double>", b"packed", [1.0], False),
    ],
)
def test_same(kind: str, one: Any, other: Any, equal: bool) -> None:
    from hopsworks_flink.pipeline.types import array

    of = array(FeatureType.parse("double")) if kind.startswith("array") else FeatureType.parse(kind)
    assert same(one, other, of) is same(other, one, of) is equal


def test_an_explanation_as_data() -> None:
    known = facts(online=LACKING, written=[written(5, 2)])
    duplicate = Event(0, 8, AT, AT - 5, DUPLICATE)
    found = Explanation(
        "cards", "cards_1", {"card": 1}, known, [MISSED, duplicate], findings(known), ["a topic"], ["Flink"]
    ).to_dict()
    assert found["differs"] is True
    assert [finding["cause"] for finding in found["findings"]] == [LATE]
    assert found["values"]["online"] == {"time": iso(AT), "card": 1, "n": 2, "mean": 2 / 3}
    assert set(found["values"]) == {"online", "offline", "recomputed"}
    assert found["events"][0] == {
        "partition": 0,
        "offset": 7,
        "event_time": iso(AT - 5),
        "kafka_time": iso(AT),
        "outcome": "counted",
        "behind_ms": 3000,
    }
    assert found["events"][1]["outcome"] == "duplicate"
