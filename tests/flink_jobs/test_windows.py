"""Windows without SQL: the two operators of flink_jobs/java in Flink's own harnesses, against a computation by hand."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests.flink_jobs.window_harness import Harness, Windows, expected

MINUTE = 60_000
FOREVER = 2**63 - 1
COLUMNS = {
    "card": "BIGINT",
    "shop": "STRING",
    "time": "TIMESTAMP_LTZ(3)",
    "amount": "DOUBLE",
    "wild": "DOUBLE",
    "units": "BIGINT",
    "price": "DECIMAL(10, 2)",
    "huge": "DECIMAL(28, 4)",
    "text": "STRING",
    "level": "FLOAT",
    "tiny": "TINYINT",
    "day": "DATE",
}
MOMENTS = ("SUM", "AVG", "STDDEV_SAMP", "STDDEV_POP", "VAR_SAMP", "VAR_POP")
AGGREGATES: list[tuple[str, str | None]] = [
    ("COUNT", None),
    ("COUNT", "amount"),
    *((function, column) for column in ("amount", "wild") for function in MOMENTS),
    *(("SUM", column) for column in ("units", "price", "huge")),
    *((f, c) for c in ("amount", "units", "price", "huge", "text", "level", "tiny", "day") for f in ("MIN", "MAX")),
]
SHAPES = [
    Windows(MINUTE, 10),
    Windows(MINUTE, 1),
    Windows(MINUTE, 5, "STEP"),
    Windows(7_000, 1),
    Windows(1_000, 60),
    Windows(3_600_000, 24, "STEP"),
    Windows(1, 30_001, "EVENT"),
    Windows(1, 101, "EVENT"),
]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    found = Harness(tmp_path_factory.mktemp("classes"))
    yield found
    found.close()


def request(windows: Windows, actions: list[Any], **others: Any) -> dict[str, Any]:
    return {
        "columns": list(COLUMNS.items()),
        "keys": 2,
        "pane": windows.pane,
        "panes": windows.panes,
        "emit": windows.emit,
        "aggregates": AGGREGATES,
        "rocksdb": False,
        "goes_on": False,
        "actions": [{key: _plain(value) for key, value in action.items()} for action in actions],
        **others,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    # Java writes Infinity.
    return str(value).replace("inf", "Infinity") if isinstance(value, (float, Decimal)) else value


def random_event(chance: random.Random, time: int) -> list[Any]:
    def maybe(value: Any) -> Any:
        return None if chance.random() < 0.2 else value

    wild = chance.choice([1e149, -1e149, 5e-324, 1e16, 2.0**61, 2.0**62, 0.0, 1 / 3, 1e-9 / 3, 1e-8])
    return [
        chance.randrange(3),
        chance.choice(["a", "Zürich"]),
        time,
        maybe(round(chance.uniform(-100, 1000), chance.choice([0, 2, 16]))),
        maybe(wild if chance.random() < 0.3 else chance.gauss(1e9, 1)),
        maybe(chance.choice([chance.randrange(-(2**53), 2**53), -1, 0])),
        maybe(Decimal(chance.randrange(-(10**10) + 1, 10**10)).scaleb(-2)),
        maybe(Decimal(chance.randrange(-(10**28) + 1, 10**28)).scaleb(-4)),
        maybe(chance.choice(["", "b", "B", "ß", "日本", "x" * 40])),
        maybe(chance.choice([0.5, -1.25, 2.0**20, float("inf"), float("-inf")])),
        maybe(chance.randrange(-128, 128)),
        maybe(chance.randrange(20_000)),
    ]


def random_actions(chance: random.Random, windows: Windows, events: int = 400) -> list[Any]:
    """Events in disorder, a watermark now and then, gaps, and events that come too late for some or all windows."""
    size = windows.pane * windows.panes
    # Between two events, most of the time.
    pace = max(windows.pane, size // 60)
    now, watermark, actions = 50 * size, 0, []
    for _ in range(events):
        now += chance.randrange(max(2, pace // 5))
        if chance.random() < 0.01:
            now += 2 * size
        behind = chance.choice([0, 0, pace // 3, size // 2, 2 * size])
        event = random_event(chance, now - chance.randrange(behind + 1))
        # Now and then two at once.
        actions += [{"event": event}] * chance.choice([1] * 9 + [2])
        if chance.random() < 0.2:
            watermark = max(watermark, now - chance.randrange(pace) - 1)
            actions.append({"watermark": watermark})
        if chance.random() < 0.02:
            actions.append({"savepoint": chance.choice([1, 2, 3])})
    return [*actions, {"watermark": FOREVER}]


def found(answer: dict[str, Any], times: Counter[tuple[Any, ...]] | None = None) -> dict[tuple[Any, ...], list[Any]]:
    """Values by key, start and end.

    :param times: is given how often each was emitted; None: once.
    """
    assert "error" not in answer, answer["error"]
    rows = {tuple(row[:4]): row[4:] for row in answer["rows"]}
    emitted = Counter(tuple(row[:4]) for row in answer["rows"])
    if times is None:
        assert set(emitted.values()) <= {1}, "a window was emitted twice"
    else:
        times.update(emitted)
    return rows


def same(function: str, one: Any, other: Any) -> bool:
    if isinstance(other, float) and one is not None:
        # A sum is the double nearest to the exact one.
        slack = 0 if function in ("SUM", "MIN", "MAX") else 1e-15
        return math.isclose(float(one), other, rel_tol=slack)
    if isinstance(other, (Decimal, Fraction)) and one is not None:
        return Fraction(one) == other
    return type(one) is type(other) and bool(one == other)


def assert_values(aggregates: list[Any], rows: dict[Any, list[Any]], wanted: dict[Any, list[Any]]) -> None:
    """The same windows, and in each of them the same values."""
    assert rows.keys() == wanted.keys()
    differences = [
        (window, aggregate, one, other)
        for window, values in wanted.items()
        for aggregate, one, other in zip(aggregates, rows[window], values, strict=True)
        if not same(aggregate[0], one, other)
    ]
    assert not differences, differences[:5]


@pytest.mark.parametrize("rocksdb", [False, True], ids=["hashmap", "rocksdb"])
@pytest.mark.parametrize("windows", SHAPES, ids=str)
def test_windows_are_those_of_a_computation_by_hand(harness: Harness, windows: Windows, rocksdb: bool) -> None:
    chance = random.Random(f"{windows} {rocksdb}")
    actions = random_actions(chance, windows)
    answer = harness.ask(request(windows, actions, rocksdb=rocksdb))
    times: Counter[tuple[Any, ...]] | None = Counter() if windows.emit == "EVENT" else None
    rows, (wanted, dropped) = found(answer, times), expected(windows, 2, list(COLUMNS), AGGREGATES, actions)
    assert answer["dropped"] == dropped > 0
    assert_values(AGGREGATES, rows, wanted)
    if times is not None:
        events = Counter((*(event := action["event"])[:2], event[2]) for action in actions if "event" in action)
        assert times.total() == events.total() - dropped > len(times)


@pytest.mark.parametrize("rocksdb", [False, True], ids=["hashmap", "rocksdb"])
@pytest.mark.parametrize(
    ("rows", "lengths"),
    [(60, (60, 30, 10, 1)), (11, (10,)), (2, (1,)), (25, (24, 6)), (5, (3, 2))],
    ids=[
        "several",
        "an empty row",
        "one that tumbles, an empty row",
        "several, an empty row",
        "rows of a longer window",
    ],
)
def test_aggregates_look_back_by_several_lengths(
    harness: Harness, rows: int, lengths: tuple[int, ...], rocksdb: bool
) -> None:
    """All are made of the same panes. Where one has no event, its counts are 0, and its other values null."""
    chance, windows = random.Random(f"{rows} {lengths} {rocksdb}"), Windows(MINUTE, rows)
    aggregates = [("COUNT", None, length) for length in lengths]
    aggregates += [(*aggregate, chance.choice(lengths)) for aggregate in AGGREGATES]
    chance.shuffle(aggregates)
    actions = random_actions(chance, windows, 250)
    answer = harness.ask(request(windows, actions, rocksdb=rocksdb, aggregates=aggregates))
    values, (wanted, dropped) = found(answer), expected(windows, 2, list(COLUMNS), aggregates, actions)
    assert answer["dropped"] == dropped > 0
    assert_values(aggregates, values, wanted)
    counts = [at for at, (function, *_) in enumerate(aggregates) if function == "COUNT"]
    assert any(row[at] == 0 for row in wanted.values() for at in counts), "each length has an event in each row"


def test_no_bit_depends_on_the_order_of_events_or_on_how_they_were_combined(harness: Harness) -> None:
    chance, windows = random.Random(1), Windows(MINUTE, 10)
    events = [{"event": random_event(chance, chance.randrange(10 * MINUTE))} for _ in range(500)]
    first = found(harness.ask(request(windows, [*events, {"watermark": FOREVER}])))
    for _ in range(3):
        chance.shuffle(events)
        pieces = [*events]
        for _ in range(chance.randrange(40)):
            pieces.insert(chance.randrange(len(pieces)), {"savepoint": chance.choice([1, 2])})
        assert found(harness.ask(request(windows, [*pieces, {"watermark": FOREVER}]))) == first


def test_equal_numbers_have_no_deviation(harness: Harness) -> None:
    for number in (0.1, 1e9 / 3, -1e-9 / 7, 1e15 + 0.125, 1e100):
        event = [1, "a", MINUTE, number, *[None] * 8]
        deviations = [(function, "amount") for function in MOMENTS[2:]]
        actions = [*[{"event": event}] * 7, {"watermark": FOREVER}]
        answer = harness.ask(request(Windows(MINUTE, 1), actions, aggregates=deviations))
        assert list(found(answer).values()) == [["0.0"] * 4]


def test_the_combiner_sends_one_row_for_a_key_and_steps_aside_where_keys_do_not_repeat(harness: Harness) -> None:
    def sent(keys: list[int], panes: int = 1) -> int:
        events = [{"event": [key, "a", MINUTE * (at % panes), *[None] * 9]} for at, key in enumerate(keys)]
        answer = harness.ask(request(Windows(MINUTE, 1), [*events, {"watermark": FOREVER}]))
        assert sum(row[4] for row in answer["rows"]) == len(keys)
        return int(answer["sent"])

    assert sent([n % 1000 for n in range(5000)]) == 1000
    # After the first ten thousand keys, each once, it lets the others pass, also those that repeat.
    assert sent([*range(10_000), *[5] * 3000]) == 13_000
    # Far ahead of the watermark a few keys have as many panes, which still are one row each.
    assert sent([n % 2 for n in range(20_002)], panes=20_002) == 2 + 2 + 2


def test_an_event_that_is_late_after_a_restore_makes_no_window_again(harness: Harness) -> None:
    windows = Windows(MINUTE, 1)
    event = {"event": [1, "a", 30_000, *[None] * 9]}
    before = harness.ask(request(windows, [event, {"watermark": MINUTE}]))
    assert len(before["rows"]) == 1
    after = harness.ask(request(windows, [event, {"watermark": FOREVER}], goes_on=True))
    assert (after["rows"], after["dropped"]) == ([], 1)


@pytest.mark.parametrize(
    ("windows", "rocksdb"),
    [
        (Windows(MINUTE, 10), True),
        (Windows(MINUTE, 10), False),
        (Windows(MINUTE, 5, "STEP"), False),
        (Windows(1, 30_001, "EVENT"), False),
    ],
    ids=str,
)
def test_another_job_goes_on_with_what_it_finds(harness: Harness, windows: Windows, rocksdb: bool) -> None:
    """Aggregates that both have go on; a new one has no value in windows with panes from before, and is right later."""
    goes_on(harness, windows, rocksdb, [])


@pytest.mark.parametrize("rocksdb", [False, True], ids=["hashmap", "rocksdb"])
def test_another_job_goes_on_with_each_length(harness: Harness, rocksdb: bool) -> None:
    """Whichever length looked back at a column before, each one finds it."""
    goes_on(harness, Windows(MINUTE, 20), rocksdb, [20, 10, 3])


def goes_on(harness: Harness, windows: Windows, rocksdb: bool, lengths: list[int]) -> None:
    chance = random.Random(f"{windows} {rocksdb}")
    first, second = [random_actions(chance, windows, 250) for _ in range(2)]
    first.pop()
    shift = 1 + max(one["event"][2] for one in first if "event" in one) - 50 * windows.pane * windows.panes
    for one in second[:-1]:
        # The second job's events follow those of the first.
        if "event" in one:
            one["event"] = [*one["event"][:2], one["event"][2] + shift, *one["event"][3:]]
        elif "watermark" in one:
            one["watermark"] += shift
    old = [a for a in AGGREGATES if a[0] not in ("STDDEV_SAMP", "STDDEV_POP", "VAR_SAMP", "VAR_POP")][::-1]
    gone = [("MIN", "text"), ("SUM", "huge"), ("MAX", "tiny")]
    kept = [a for a in old if a not in gone]
    fresh = [("STDDEV_POP", "amount"), ("COUNT", "level"), ("VAR_SAMP", "wild"), ("MIN", "shop")]
    chance.shuffle(both := [*kept, *fresh])
    if lengths:
        # Each column is looked back at by another length than before.
        old = [(*one, lengths[at % len(lengths)]) for at, one in enumerate(old)]
        both = [(*one, lengths[(at + 1) % len(lengths)]) for at, one in enumerate(both)]
        fresh = [one for one in both if one[:2] in fresh]
    before = harness.ask(request(windows, first, rocksdb=rocksdb, aggregates=[*old]))
    after = harness.ask(request(windows, second, rocksdb=rocksdb, aggregates=both, goes_on=True))
    wanted, _ = expected(windows, 2, list(COLUMNS), both, [*first, *second])
    emitted, again = found(before, Counter()), found(after, Counter())
    assert emitted.keys() | again.keys() == wanted.keys()
    last = max(one["event"][2] for one in first if "event" in one)
    known = unknown = 0
    for window, row in again.items():
        for aggregate, one, other in zip(both, row, wanted[window], strict=True):
            if aggregate in fresh and window[2] <= last and one is None and other is not None:
                unknown += 1
            else:
                assert same(aggregate[0], one, other), (window, aggregate, one, other)
                known += aggregate in fresh and other is not None
    assert unknown > 3
    assert known > 20


def test_conditions_may_be_as_long_as_they_are_compiled(harness: Harness) -> None:
    """What a savepoint says of an aggregate is its SQL, and Java writes no text of more than 65,535 bytes so."""
    columns = [("card", "BIGINT"), ("shop", "STRING"), ("time", "TIMESTAMP_LTZ(3)")]
    columns += [(letter * 99_000, "BIGINT") for letter in "xy"]
    aggregates = [("SUM", "x" * 99_000), ("SUM", "y" * 99_000)]
    first = [{"event": [1, "a", 30_000, 2, 30]}, {"savepoint": 2}, {"event": [1, "a", 40_000, 3, 40]}]
    kept = request(Windows(MINUTE, 1), first, columns=columns, aggregates=aggregates)
    assert "error" not in harness.ask(kept)
    goes_on = request(Windows(MINUTE, 1), [{"watermark": FOREVER}], columns=columns, aggregates=aggregates[::-1])
    assert list(found(harness.ask({**goes_on, "goes_on": True})).values()) == [[70, 5]]


@pytest.mark.parametrize("rocksdb", [False, True], ids=["hashmap", "rocksdb"])
def test_state_of_other_windows_is_refused_in_words(harness: Harness, rocksdb: bool) -> None:
    event = {"event": [1, "a", 30_000, 1.5, *[None] * 8]}
    kept = request(Windows(MINUTE, 10), [event], rocksdb=rocksdb, aggregates=[("AVG", "amount")])
    assert "error" not in harness.ask(kept)
    other = request(Windows(MINUTE, 5), [], rocksdb=rocksdb, goes_on=True, aggregates=[("STDDEV_POP", "amount")])
    assert harness.ask(other)["error"] == (
        "The state does not fit: it holds windows of 10 x 60000 ms with events, sum of DOUBLE: amount, and the job has "
        "windows of 5 x 60000 ms with events, sum of DOUBLE: amount, squares of DOUBLE: amount. Begin without state."
    )


def test_types_without_an_aggregate_are_refused(harness: Harness) -> None:
    for function, column, said in (
        ("SUM", "tiny", "no SUM of TINYINT: cast it to DOUBLE or BIGINT"),
        ("MAX", "time", "no least or greatest value of TIMESTAMP_LTZ(3)"),
    ):
        assert harness.ask(request(Windows(MINUTE, 1), [], aggregates=[(function, column)]))["error"] == said


def test_numbers_that_are_not_finite_are_refused(harness: Harness) -> None:
    event = {"event": [1, "a", 30_000, float("inf"), *[None] * 8]}
    answer = harness.ask(request(Windows(MINUTE, 1), [event]))
    assert answer["error"] == "Only finite numbers are summed up, not Infinity"
