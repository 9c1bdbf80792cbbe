"""Which events count nowhere: the rules of the job, in Python (integration/test_poison.py holds both together)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hopsworks_flink.health.refusal import Refused, refused_of
from hopsworks_flink.pipeline.spec import Pipeline

NOW = 1_780_000_000_000
HOUR, YEAR = 3_600_000, 365 * 86_400_000


def pipeline(unit: str = "milliseconds", keys: tuple[tuple[str, ...], ...] = (("card",),), **source: Any) -> Pipeline:
    kind = "timestamp" if unit == "timestamp" else "bigint"
    time = {"column": "at"} if unit == "timestamp" else {"column": "at", "unit": unit}
    return Pipeline.parse(
        {
            "name": "cards",
            "source": {
                "topic": "cards",
                "format": "json",
                "schema": {"card": "string", "shop": "string", "at": kind},
                "event_time": time,
                **source,
            },
            "feature_groups": [
                {"name": f"by_{number}", "key": list(key), "window": {"size": "1m"}, "aggregates": {"n": "count"}}
                for number, key in enumerate(keys)
            ],
        }
    )


def why(pipe: Pipeline, at: Any, arrived: int = NOW, **event: Any) -> str | None:
    value = json.dumps({"card": "c", "shop": "s", "at": at, **event}).encode()
    return next(iter(refused_of(pipe, [(value, arrived)]).reasons), None)


AHEAD = "at is further ahead of the Kafka timestamp than max_future"
OLD = "at is further behind the Kafka timestamp than max_past"
EARLY = "at is not after 1970"


@pytest.mark.parametrize(
    ("unit", "at", "reason"),
    [
        ("milliseconds", NOW, None),
        ("milliseconds", NOW + HOUR, None),
        ("milliseconds", NOW + HOUR + 1, AHEAD),
        ("milliseconds", NOW - 10 * YEAR, None),
        ("milliseconds", NOW - 10 * YEAR - 1, OLD),
        ("milliseconds", NOW // 1000, OLD),
        ("milliseconds", NOW * 1000, AHEAD),
        ("milliseconds", 0, EARLY),
        ("milliseconds", -5, EARLY),
        ("milliseconds", None, "at is null"),
        ("seconds", NOW // 1000, None),
        ("seconds", NOW, AHEAD),
        ("microseconds", NOW * 1000, None),
        ("microseconds", NOW, OLD),
        ("timestamp", "2026-05-28T20:26:40Z", None),
        ("timestamp", "2026-05-28T21:26:40.001Z", AHEAD),
        ("timestamp", "2010-01-01T00:00:00Z", OLD),
        ("timestamp", "1969-12-31T23:59:59Z", EARLY),
    ],
)
def test_event_times(unit: str, at: Any, reason: str | None) -> None:
    assert why(pipeline(unit), at) == reason


def test_without_a_bound_behind_everything_after_1970_counts() -> None:
    assert why(pipeline(max_past=None), 1) is None


def test_keys() -> None:
    assert why(pipeline(), NOW, card=None) == "card is null"
    assert why(pipeline(keys=(("card", "shop"),)), NOW, shop=None) == "shop is null"
    # It counts in the other group.
    assert why(pipeline(keys=(("card",), ("shop",))), NOW, card=None) is None


def test_kafka_s_own_timestamp() -> None:
    pipe = pipeline(event_time="kafka_timestamp")
    assert why(pipe, None) is None
    assert why(pipe, None, arrived=-1) == "no Kafka timestamp"


def test_a_sample() -> None:
    good = json.dumps({"card": "c", "at": NOW}).encode()
    seconds = json.dumps({"card": "c", "at": NOW // 1000}).encode()
    records = [(good, NOW)] * 2 + [(seconds, NOW)] * 2 + [(b"no JSON", NOW), (None, NOW)]
    found = refused_of(pipeline(), records)
    assert found == Refused(5, {OLD: 2, "undecodable": 1})
    assert found.most
    assert str(found) == f"3 of the topic's newest 5 events count nowhere: {OLD} (2); undecodable (1)"
    assert not refused_of(pipeline(), records[:4]).most
    assert refused_of(pipeline(), []).count == 0
