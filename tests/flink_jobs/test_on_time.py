"""What tells late events from others, in Flink's own harness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.flink_jobs.window_harness import Harness


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    found = Harness(tmp_path_factory.mktemp("classes"), "hopsworksflink.window.OnTimeHarness")
    yield found
    found.close()


def going_on(harness: Harness, *actions: dict[str, Any]) -> list[int | None]:
    found: list[int | None] = harness.ask({"actions": actions})["events"]
    return found


def late(harness: Harness, *actions: dict[str, Any]) -> list[int]:
    """Events that are late, less the watermark that they were behind."""
    found: list[int] = harness.ask({"late": True, "actions": actions})["events"]
    return found


def event(at: int | None, task: int = 0) -> dict[str, Any]:
    return {"event": [task, at]}


def watermark(at: int, task: int = 0) -> dict[str, Any]:
    return {"watermark": [task, at]}


def idle(task: int) -> dict[str, Any]:
    return {"idle": [task]}


def test_an_event_is_late_when_the_watermark_has_reached_it(harness: Harness) -> None:
    assert going_on(harness, event(7), watermark(10), event(9), event(10), event(11)) == [7, 11]


def test_refused_events_are_never_late(harness: Harness) -> None:
    assert going_on(harness, watermark(10), event(None), event(0)) == [None, 0]


def test_what_was_late_is_late_after_a_restart(harness: Harness) -> None:
    assert going_on(harness, watermark(10), {"savepoint": 1}, event(10), event(11)) == [11]
    # The least watermark of all tasks holds: what one of them took for late, another one might have taken.
    two = ({"savepoint": 2}, watermark(30, 0), watermark(20, 1))
    assert going_on(harness, *two, {"savepoint": 1}, event(20), event(21)) == [21]
    assert going_on(harness, *two, {"savepoint": 3}, event(20, 2), event(21, 2)) == [21]
    # One that has seen none yet.
    assert going_on(harness, {"savepoint": 2}, watermark(30, 0), {"savepoint": 1}, event(20)) == [20]


def test_an_idle_task_does_not_make_late_events_early_by_a_restart(harness: Harness) -> None:
    """One without a partition, or with a silent one, has an old watermark, or none at all."""
    two = ({"savepoint": 2}, watermark(30, 0))
    assert going_on(harness, *two, idle(1), {"savepoint": 2}, event(30), event(31)) == [31]
    assert going_on(harness, *two, watermark(20, 1), idle(1), {"savepoint": 2}, event(30), event(31)) == [31]
    # Where all were, the newest is what the others have seen of them.
    assert going_on(harness, *two, idle(0), idle(1), {"savepoint": 1}, event(30), event(31)) == [31]
    # But not one that is awake and has seen none yet.
    assert going_on(harness, *two, idle(0), {"savepoint": 1}, event(30)) == [30]


def test_late_events_are_told_with_their_watermark_after_a_restart_too(harness: Harness) -> None:
    seen = (event(7), watermark(10), event(9), event(10), event(11), event(None), event(0))
    assert late(harness, *seen) == [-1, 0]
    assert late(harness, *seen, {"savepoint": 1}, event(4), event(11), watermark(20), event(11)) == [-1, 0, -6, -9]
