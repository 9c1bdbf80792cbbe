"""Times that people write: one parser for arguments, pipeline files and events, and forms that take the same texts."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pendulum
import pytest

from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.pipeline.times import ISO_TIME, ZONED_TIME, as_epoch_milliseconds, as_time, parse_time

NOON = datetime(2025, 3, 1, 12, tzinfo=timezone.utc)
TEXTS = {
    "2025-03-01": datetime(2025, 3, 1),
    "2025-03-01 12:00": datetime(2025, 3, 1, 12),
    "2025-03-01T12:00:30": datetime(2025, 3, 1, 12, 0, 30),
    "2025-03-01T12:00:00.5": datetime(2025, 3, 1, 12, 0, 0, 500_000),
    "2025-03-01T12:00:00.123456789": datetime(2025, 3, 1, 12, 0, 0, 123_456),
    "2025-03-01T12:00Z": NOON,
    "2025-03-01T13:00:00+0100": NOON,
    "2025-03-01T06:30:00-05:30": NOON,
}
NOT_TIMES = [
    "",
    "noon",
    "2025-3-1",
    "20250301",
    "2025-W09-6",
    "2025-03-01T12",
    "2025-02-30",
    "2025-03-01T25:00",
    "202\u0665-03-01",
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts(text: str) -> None:
    assert parse_time(text) == TEXTS[text]
    assert re.search(ISO_TIME, text)
    assert bool(re.search(ZONED_TIME, text)) is (TEXTS[text].tzinfo is not None)


@pytest.mark.parametrize("text", NOT_TIMES)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time|out of range|must be in"):
        parse_time(text)


@pytest.mark.parametrize(
    "value", [NOON, NOON.replace(tzinfo=None), pendulum.instance(NOON), "2025-03-01 12:00", NOON.isoformat()]
)
def test_arguments_are_in_utc_unless_they_say_otherwise(value: Any) -> None:
    time = as_time(value, "start")
    assert time == NOON
    assert type(time) is datetime
    assert type(time - NOON) is timedelta


def test_a_date_is_its_midnight() -> None:
    assert as_time(date(2025, 3, 1), "start") == as_time("2025-03-01", "start") == NOON - timedelta(hours=12)


@pytest.mark.parametrize("value", [None, "", " ", "None", "null"])
def test_nothing(value: Any) -> None:
    assert as_time(value, "start") is None
    assert as_epoch_milliseconds(value, "rewarm_from") is None


@pytest.mark.parametrize("value", [1_740_830_400_000, "1740830400000", "2025-03-01T12:00:00Z", NOON])
def test_epoch_milliseconds(value: Any) -> None:
    assert as_epoch_milliseconds(value, "rewarm_from") == 1_740_830_400_000


def test_epoch_seconds_are_not_taken_for_milliseconds() -> None:
    with pytest.raises(
        ConfigurationError, match=r"rewarm_from: 1740830400 has ten digits.*milliseconds, 1740830400000"
    ):
        as_epoch_milliseconds("1740830400", "rewarm_from")


@pytest.mark.parametrize("value", ["2025-03-01T12:00:00", "yesterday", "-5", "1.5"])
def test_other_arguments_are_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"rewarm_from must be epoch milliseconds or an ISO time with zone"):
        as_epoch_milliseconds(value, "rewarm_from")
    if value != "2025-03-01T12:00:00":
        with pytest.raises(ConfigurationError, match="start must be a time in ISO 8601"):
            as_time(value, "start")
