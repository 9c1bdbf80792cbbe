"""Random events for a random pipeline, over a schema of every type.

Events are disordered, up to the pipeline's bound itself; they have ties, lie on the edges of windows to the
millisecond, leave slides and whole windows empty, hold nulls, negative, large and tiny numbers and large ones close
to each other (whose deviation naive arithmetic loses), NaN, Infinity and the extremes of their types, and some must not
count.
"""

from __future__ import annotations

import math
import random
import struct
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Saturday, 1 March 2025. Windows of a day and more lie around it; the last real one ends before HORIZON.
START = 1_740_787_200_000
HORIZON = START + 48 * HOUR
FLUSH = START + 60 * HOUR

COLUMNS = {
    "card": "bigint",
    "shop": "string",
    "flag": "boolean",
    "tiny": "tinyint",
    "short": "smallint",
    "whole": "int",
    "big": "bigint",
    "ratio": "float",
    "amount": "double",
    "level": "double",
    "price": "decimal(10,2)",
    "huge": "decimal(28,6)",
    "far": "double",
    "thin": "float",
    "vast": "decimal(38,9)",
    "day": "date",
    "seen": "timestamp",
    "raw": "binary",
    "digits": "string",
    # The same for equal event times: which of two events is the first does not matter.
    "tag": "string",
}
# Drawn now and then, so that windows with and without them lie beside each other. What is large and summed up none the
# less has columns of its own: it would hide the errors of the others.
DOUBLES = [math.nan, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, -1e307, 1e150]
FLOATS = [math.nan, math.nan, math.inf, -math.inf, -0.0, 2.0**-149]
LARGEST_FLOAT = 3.4028234663852886e38
BIGINTS = [-(2**63), 2**63 - 1, 2**62, 10**16, -(10**16) + 1]
VASTS = [Decimal(sign + text) for sign in ("", "-") for text in (f"{'9' * 29}.{'9' * 9}", f"1{'0' * 19}", "9" * 19)]
SHOPS = ["a", "ß", "A", "Zürich", "", "it's", "日本", " x ", "👍🏽ok", "100%_\\"]
DIGITS = [
    "1e999999999",
    "NaN",
    "12\n",
    "12",
    " 7 ",
    "-0.5",
    "+5",
    "1e3",
    "",
    "x",
    "99999999999999999999",
    "2.675",
    "TRUE",
    "false",
    "1_0",
    "0x1F",
]


@dataclass(frozen=True)
class Times:
    """What the pipeline says about its events' times.

    :param kind: ``seconds``, ``milliseconds`` or ``microseconds`` of an integer, a ``timestamp``, or ``kafka``.
    :param disorder: milliseconds.
    :param future: the same.
    """

    kind: str
    disorder: int
    future: int


def random_events(
    chance: random.Random, count: int, times: Times, partitions: int
) -> tuple[list[dict[str, Any]], list[int]]:
    """Events in the order of arrival, and the partition of each; the last ones close every window."""
    arrival, last = START + chance.randrange(HOUR), None
    newest: dict[int, int] = {}
    found, where = [], []
    for number in range(count):
        arrival += chance.choice([0, 0, 1, 500, 2_000, 5_000, 9_000])
        if number in (count // 3, count // 2):
            # Nothing for longer than most windows.
            arrival += 17 * MINUTE
        partition = chance.randrange(partitions)
        # What has come on the event's own partition is its bound: the other one can only be behind.
        bound = newest.get(partition, START) - times.disorder
        at = _random_time(chance, bound, arrival, times, last)
        last = at
        newest[partition] = max(newest.get(partition, 0), at)
        found.append(random_event(chance, times, at, arrival))
        if chance.random() < 0.05 and times.kind != "kafka":
            found.append(_refused(chance, times, arrival))
            where.append(partition)
        where.append(partition)
    found += [random_event(chance, times, FLUSH, FLUSH) for _ in range(partitions)]
    return found, [*where, *range(partitions)]


def _random_time(chance: random.Random, bound: int, arrival: int, times: Times, last: int | None) -> int:
    at = chance.randint(min(arrival, max(bound, arrival - times.disorder - MINUTE)), arrival)
    edge = at - at % chance.choice([SECOND, MINUTE, 5 * MINUTE]) + chance.choice([-1, 0, 0, 1])
    if chance.random() < 0.3:
        at = edge
    if chance.random() < 0.1 and last is not None:
        at = last
    if chance.random() < 0.1:
        # As late as an event may be.
        at = bound
    at = max(at, bound)
    return -(-at // SECOND) * SECOND if times.kind == "seconds" else at


def random_event(chance: random.Random, times: Times, at: int, arrival: int) -> dict[str, Any]:
    """An event of a time (epoch milliseconds), as `hopsworks_flink.testing.evaluate` takes it."""

    def maybe(value: Any) -> Any:
        return None if chance.random() < 0.1 else value

    def edge(value: Any, *edges: Any) -> Any:
        return chance.choice(edges) if chance.random() < 0.04 else value

    values = {
        "card": maybe(chance.randrange(4)),
        "shop": maybe(chance.choice(SHOPS)),
        "flag": maybe(chance.random() < 0.5),
        "tiny": maybe(chance.choice([-128, -1, 0, 127])),
        "short": maybe(chance.choice([-32_768, 32_767, chance.randint(-9, 9)])),
        "whole": maybe(chance.choice([0, 1, -(2**31), 2**31 - 1, chance.randrange(1000)])),
        "big": maybe(edge(chance.choice([chance.randint(-(10**15), 10**15), chance.randint(-3, 3)]), *BIGINTS)),
        "ratio": maybe(edge(struct.unpack("f", struct.pack("f", chance.uniform(-2, 2)))[0], *FLOATS)),
        "amount": maybe(
            edge(chance.choice([10.0, 0.0, -5.25, 1e-6, -3e11, round(chance.expovariate(0.02), 2)]), *DOUBLES)
        ),
        "level": maybe(1e8 + chance.randrange(8) / 8),
        "price": maybe(Decimal(chance.choice([0, 150, -275, 99_999_999, 1234, 1235])) / 100),
        "huge": maybe(Decimal(chance.randint(-(10**26), 10**26)).scaleb(-6)),
        "far": maybe(edge(chance.uniform(-1e12, 1e12), 1e13, 9e12, math.nan)),
        "thin": maybe(edge(chance.uniform(0, 2) // 2**-20 * 2**-20, LARGEST_FLOAT, math.inf)),
        "vast": maybe(edge(Decimal(chance.randint(-(10**27), 10**27)).scaleb(-9), *VASTS)),
        "day": maybe(date(2025, 3, 1) + timedelta(days=chance.randint(-1, 1) * 40_000)),
        "seen": maybe(EPOCH + timedelta(microseconds=at * 1_000 - chance.randrange(3 * 10**15))),
        "raw": maybe(chance.randbytes(2)),
        "digits": maybe(chance.choice(DIGITS)),
        "tag": f"at {at}",
    }
    # Less than a millisecond is cut off.
    micros = at * 1_000 + chance.choice([0, 1, 999])
    time = {"seconds": at // SECOND, "microseconds": micros, "timestamp": EPOCH + timedelta(microseconds=micros)}
    return {"at": time.get(times.kind, at), **values, "__kafka_timestamp": at if times.kind == "kafka" else arrival}


def _refused(chance: random.Random, times: Times, arrival: int) -> dict[str, Any]:
    """An event whose time is missing, absurd, too far ahead or too far behind."""
    last = arrival + times.future
    ahead = SECOND - last % SECOND if times.kind == "seconds" else 1
    event = random_event(chance, times, last + chance.choice([ahead, MINUTE, 24 * HOUR]), arrival)
    if chance.random() < 0.4:
        event["at"] = None
    elif chance.random() < 0.5:
        # One of a unit that is a thousand times as long, too.
        longer = START // SECOND // (1000 if times.kind == "seconds" else 1)
        absurd = chance.choice([1, longer, 0, -5, 10**17, -(10**17), 2**63 - 1, -(2**63)])
        event["at"] = EPOCH - timedelta(days=1) if times.kind == "timestamp" else absurd
    return event
