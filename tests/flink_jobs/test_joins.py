"""Versions joined to events: the operators of flink_jobs/java in Flink's own harnesses, against the words' meaning."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.flink_jobs.window_harness import Harness

KEEP = 1_000
FOREVER = 2**63 - 1
#: What a versions' topic without records says at once.
NOTHING: dict[str, int] = {}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    found = Harness(tmp_path_factory.mktemp("classes"), "hopsworksflink.join.JoinHarness")
    yield found
    found.close()


def ask(harness: Harness, *actions: dict[str, Any], ends: dict[str, int] = NOTHING, **others: Any) -> dict[str, Any]:
    answer = harness.ask({"keep": KEEP, "rocksdb": False, "ends": ends, "actions": actions, **others})
    assert "error" not in answer, answer
    return answer


def event(card: str | None, at: int, number: int = 0) -> dict[str, Any]:
    return {"event": [card, at, number]}


def version(
    card: str | None, limit: int | None, since: int | None, *, gone: bool = False, partition: int = 0, offset: int = 0
) -> dict[str, Any]:
    return {"version": [card, limit, since, gone, partition, offset]}


def watermark(at: int) -> dict[str, Any]:
    return {"watermark": at}


def limits(answer: dict[str, Any]) -> list[int | None]:
    return [limit for _, _, _, limit, _ in answer["rows"]]


def test_an_event_has_the_version_of_its_time(harness: Harness) -> None:
    answer = ask(
        harness,
        *(event("a", at, at) for at in (99, 100, 250, 299, 301, 500)),
        # Out of their order, and of other keys.
        *(version("a", limit, since) for limit, since in ((3, 300), (1, 100), (2, 200))),
        version("b", 7, 0),
        event("b", 100),
        event(None, 100),
        version("a", None, 400, gone=True),
        watermark(600),
    )
    by_event = {(card, at): (limit, told) for card, at, _, limit, told in answer["rows"]}
    assert by_event == {
        ("a", 99): (None, False),
        ("a", 100): (1, True),
        ("a", 250): (2, True),
        ("a", 299): (2, True),
        ("a", 301): (3, True),
        ("a", 500): (None, False),
        ("b", 100): (7, True),
        (None, 100): (None, False),
    }


def test_a_version_of_nulls_is_one(harness: Harness) -> None:
    answer = ask(harness, version("a", 1, 100), version("a", None, 200), event("a", 300), watermark(300))
    assert answer["rows"] == [["a", 300, 0, None, True]]


def test_of_versions_of_one_time_the_last_counts_and_one_without_key_or_time_does_not(harness: Harness) -> None:
    answer = ask(
        harness,
        version("a", 1, 100),
        version("a", 2, 100, offset=1),
        version("a", 9, None, offset=2),
        version(None, 9, 200, offset=3),
        event("a", 300),
        watermark(300),
    )
    assert answer["rows"] == [["a", 300, 0, 2, True]]


def test_events_go_on_with_their_own_watermark_however_quiet_the_versions_are(harness: Harness) -> None:
    """What holds Flink's temporal join back: its watermark is the lesser one of two topics."""
    actions = [version("a", 1, 0)]
    actions += [one for at in range(1, 6) for one in (event("a", at * 100), watermark(at * 100))]
    answer = ask(harness, *actions)
    assert answer["shown"] == [[number, str(number * 100)] for number in range(1, 6)]
    assert limits(answer) == [1] * 5


def test_versions_move_no_watermark_not_even_while_events_are_idle(harness: Harness) -> None:
    """Else an event that comes after a pause would be late, or after a version that holds from tomorrow on."""
    answer = ask(
        harness,
        event("a", 100),
        watermark(100),
        {"idle": True},
        version("a", 5, 10**12),
        {"quiet": True},
        version("a", 1, 200),
        {"idle": False},
        event("a", 150),
        event("a", 250),
        watermark(300),
    )
    assert answer["shown"] == [[1, "100"], [1, "idle"], [1, "active"], [3, "300"]]
    assert limits(answer) == [None, None, 1]


def test_a_job_waits_until_it_has_read_the_versions_that_are_there(harness: Harness) -> None:
    ends = {"0": 4, "2": 0}
    answer = ask(
        harness,
        event("a", 100),
        watermark(200),
        {"quiet": True},
        {"idle": True},
        version("a", 1, 50, offset=3),
        version("b", 1, 50, partition=2),
        # Passed over, and yet it is the last one.
        version(None, 1, 50, offset=4),
        event("a", 150),
        ends=ends,
    )
    # Nothing, not even that the events are idle, before the last version of both partitions.
    assert answer["shown"] == [[1, "200"], [1, "idle"]]
    assert limits(answer) == [1, 1]


@pytest.mark.parametrize("rocksdb", [False, True], ids=["hashmap", "rocksdb"])
def test_a_job_that_begins_again_waits_for_what_was_written_meanwhile(harness: Harness, rocksdb: bool) -> None:
    answer = ask(
        harness,
        version("a", 1, 50, offset=6),
        event("a", 100, 1),
        event("b", 100, 2),
        event("a", 300, 3),
        # In between offsets 7 to 9 were written; partition 1 has nothing new.
        {"savepoint": 3, "ends": {"0": 9, "1": 6}},
        watermark(200),
        version("b", 2, 60, offset=8),
        version("a", 3, 250, offset=9),
        watermark(300),
        ends={"0": 6, "1": 6},
        rocksdb=rocksdb,
    )
    assert answer["rows"] == []  # Partition 1 was never read.
    answer = ask(
        harness,
        version("a", 1, 50, offset=6),
        event("a", 100, 1),
        event("b", 100, 2),
        event("a", 300, 3),
        {"savepoint": 3, "ends": {"0": 9}},
        watermark(200),
        version("b", 2, 60, offset=8),
        version("a", 3, 250, offset=9),
        watermark(300),
        rocksdb=rocksdb,
    )
    assert sorted(answer["rows"]) == [["a", 100, 1, 1, True], ["a", 300, 3, 3, True], ["b", 100, 2, 2, True]]


def test_a_late_event_waits_for_nothing_and_has_the_version_of_its_time(harness: Harness) -> None:
    late = [event("a", 150), event("a", 50)]
    answer = ask(harness, version("a", 1, 100), version("a", 2, 200), watermark(1_000), *late)
    assert limits(answer) == [1, None]
    # Of a version that was replaced longer ago nothing is known any more.
    answer = ask(harness, version("a", 1, 100), version("a", 2, 200), watermark(200 + KEEP), *late, event("a", 210))
    assert limits(answer) == [None, None, 2]


def test_a_late_version_counts_for_the_events_that_have_no_row_yet(harness: Harness) -> None:
    answer = ask(
        harness,
        version("a", 1, 100),
        event("a", 200),
        watermark(250),
        version("a", 2, 150),
        event("a", 300),
        watermark(300),
    )
    assert limits(answer) == [1, 2]


def test_a_key_keeps_what_may_be_asked_for_and_a_tombstone_goes(harness: Harness) -> None:
    answer = ask(harness, *(version("a", n, n, offset=n) for n in range(1, 50)), version("b", 1, 1), watermark(100))
    assert answer["keys"] == 2
    gone = [version("a", 1, 100), version("a", None, 200, gone=True), version("b", 1, 100)]
    assert ask(harness, *gone, watermark(199 + KEEP))["keys"] == 2
    assert ask(harness, *gone, watermark(200 + KEEP))["keys"] == 1
    # A tombstone from long ago leaves nothing.
    assert ask(harness, watermark(10 * KEEP), version("a", None, 200, gone=True))["keys"] == 0


@pytest.mark.parametrize("seed", range(6))
def test_random_events_and_versions(harness: Harness, seed: int) -> None:
    chance = random.Random(seed)
    versions: dict[tuple[str, int], int | None] = {}
    actions: list[dict[str, Any]] = []
    wanted: list[list[Any]] = []
    now, offset = 0, 0
    for _ in range(400):
        kind = chance.random()
        if kind < 0.3:
            # Ahead of the watermark: of the past it would be late.
            card, since, limit = chance.choice("abc"), now + chance.randrange(1, 300), chance.choice([None, offset])
            versions[card, since] = limit
            actions.append(version(card, limit, since, gone=limit is None, offset=offset))
            offset += 1
        elif kind < 0.8:
            at = now + chance.randrange(-200, 300)
            if at > 0:
                wanted.append([chance.choice("abcd"), at, len(wanted)])
                actions.append({"event": wanted[-1]})
        elif kind < 0.97:
            now += chance.randrange(40)
            actions.append(watermark(now))
        else:
            # Flink begins again without watermark: as a job that goes on, it gets what it had.
            actions += [{"savepoint": chance.randrange(1, 4), "ends": {}}, watermark(now)]
    actions.append(watermark(FOREVER))
    for row in wanted:
        known = [since for card, since in versions if card == row[0] and since <= row[1]]
        limit = versions[row[0], max(known)] if known else None
        row += [limit, limit is not None]
    for rocksdb in (False, True):
        found = ask(
            harness, *[{k: v[:3] if k == "event" else v for k, v in a.items()} for a in actions], rocksdb=rocksdb
        )
        assert sorted(found["rows"], key=lambda row: row[2]) == wanted
        times = [int(text) for _, text in found["shown"] if text not in ("idle", "active")]
        assert times[-1] == FOREVER
