"""Seeded card transactions, how they get into a topic, and what their features must be: computed without Flink."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import fastavro
from confluent_kafka import Producer

MINUTE = 60_000
MAX_FUTURE = 60 * MINUTE
# Card of the events that only wake a partition or push the watermark past everything before; left out of comparisons.
FLUSH_CARD = 9_999
WAKING_SECONDS = 3.0


@dataclass(frozen=True)
class Event:
    """One transaction, and the Kafka record that carries it."""

    tid: str
    datetime: int | None
    cc_num: int | None
    amount: float | None
    kafka_timestamp: int
    partition: int


def transactions(seed: int, start: int, minutes: int, cards: int, count: int, disorder: int = 4_500) -> list[Event]:
    """Events over ``minutes`` from ``start`` (epoch milliseconds) on two partitions.

    Out of order by less than ``disorder`` milliseconds within a partition, with ties, events exactly on the edges of
    windows, amounts that are missing, equal, tiny, large and negative; and, among them, events that must not count:
    without card, without time, with absurd times, and from the far future.
    """
    random_ = random.Random(seed)
    step = minutes * MINUTE / count
    events = []
    for number in range(count):
        arrival = start + int(number * step)
        card = random_.randrange(cards)
        time = arrival - random_.randrange(disorder)
        if number % 17 == 0:
            time -= time % MINUTE
            time = max(time, arrival - disorder)
        if number % 23 == 0 and events and events[-1].datetime and abs(events[-1].datetime - arrival) < disorder:
            time = events[-1].datetime
        amount = random_.choice([round(random_.expovariate(0.02), 2), 10.0, 5e4 + random_.random(), -5.25, 1e-6, None])
        events.append(_event(seed, number, time, card, amount, arrival))
    # One card with a single event: its sample deviation is null.
    events.insert(
        count // 2, _event(seed, count, events[count // 2].kafka_timestamp, cards, 42.0, start + int(count // 2 * step))
    )
    return _with_events_that_do_not_count(events, seed, count + 1)


def _with_events_that_do_not_count(events: list[Event], seed: int, number: int) -> list[Event]:
    bad_times: list[int | None] = [None, 0, -5, 10**17, -(10**17)]
    positions = [len(events) * n // 9 for n in range(1, 9)]
    for offset, position in enumerate(positions):
        at = events[position].kafka_timestamp
        far = at + MAX_FUTURE + 10 * MINUTE
        if offset < len(bad_times):
            bad = _event(seed, number + offset, bad_times[offset], 1, 7.0, at)
        elif offset == len(bad_times):
            bad = _event(seed, number + offset, at, None, 7.0, at)
        else:
            bad = _event(seed, number + offset, far, 1, 7.0, at)
        events.insert(position, bad)
    return events


def flush(seed: int, after: int) -> list[Event]:
    """One event for each partition, so much later that all windows of events up to ``after`` are complete."""
    at = after + 30 * MINUTE
    return [Event(f"flush-{seed}-{partition}", at, FLUSH_CARD, 1.0, at, partition) for partition in (0, 1)]


def _event(seed: int, number: int, time: int | None, card: int | None, amount: float | None, arrival: int) -> Event:
    return Event(f"{seed}-{number}", time, card, amount, arrival, (card or 0) % 2)


def produce(bootstrap: str | dict[str, str], topic: str, schema: dict[str, Any], events: Sequence[Event]) -> None:
    """Write the events as plain Avro, keyed by card, in order.

    ``bootstrap`` is the broker's address, or all settings that reach it.

    A partition that was silent for the source's idle timeout does not hold the watermark back: what it brings after
    that may be late against what another partition has brought a moment before. So every partition is woken first.
    """
    at = min(event.kafka_timestamp for event in events) - MINUTE
    _send(bootstrap, topic, schema, [Event("wake", at, FLUSH_CARD, 1.0, at, partition) for partition in (0, 1)])
    time.sleep(WAKING_SECONDS)
    _send(bootstrap, topic, schema, events)


def _send(bootstrap: str | dict[str, str], topic: str, schema: dict[str, Any], events: Iterable[Event]) -> None:
    parsed = fastavro.parse_schema(schema)
    settings = {"bootstrap.servers": bootstrap} if isinstance(bootstrap, str) else bootstrap
    producer = Producer({**settings, "linger.ms": 20, "enable.idempotence": True})
    refused: list[Any] = []
    for event in events:
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, parsed, asdict(event))
        producer.produce(
            topic,
            value=buffer.getvalue(),
            key=str(event.cc_num),
            partition=event.partition,
            timestamp=event.kafka_timestamp,
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )
    if producer.flush(60) or refused:
        raise AssertionError(f"the broker did not take all events: {refused[:1]}")


def expected_windows(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Features of every card and 10 minute window, every minute, that the events imply: DuckDB's arithmetic."""
    import pandas as pd

    frame = pd.DataFrame([asdict(event) for event in events])
    frame["datetime"] = frame["datetime"].astype("Int64")
    frame["cc_num"] = frame["cc_num"].astype("Int64")
    connection = duckdb.connect()
    connection.register("events", frame)
    rows = connection.execute(
        f"""
        WITH good AS (
            SELECT cc_num, datetime AS t, amount FROM events
            WHERE cc_num IS NOT NULL AND cc_num <> {FLUSH_CARD}
              AND datetime > 0 AND datetime <= kafka_timestamp + {MAX_FUTURE}
        ), placed AS (
            SELECT cc_num, amount, unnest(range(t // {MINUTE} + 1, t // {MINUTE} + 11)) * {MINUTE} AS window_end
            FROM good
        )
        SELECT cc_num, window_end, count(*) AS n, avg(amount) AS mean, stddev_samp(amount) AS sd,
               max(amount) AS most
        FROM placed GROUP BY ALL ORDER BY window_end, cc_num
        """
    ).fetchall()
    return [dict(zip(("cc_num", "window_end", "n", "mean", "sd", "most"), row, strict=True)) for row in rows]


def newest_by_card(windows: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The last window of each card."""
    return {window["cc_num"]: window for window in sorted(windows, key=lambda window: window["window_end"])}
