"""A recompute around its job: until when it waits. The job itself: tests/integration/airflow/test_recompute.py."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from hopsworks_flink.operators.flink import FlinkRecomputeFeaturesOperator
from tests.support.deferral import context_of, defer

pytestmark = pytest.mark.airflow

GROUP = {
    "name": "spent",
    "key": ["card"],
    "event_time": "window_end",
    "window": {"size": "10m"},
    "aggregates": {"n": "count"},
}
SPEC: dict[str, Any] = {
    "name": "cards",
    "source": {
        "topic": "payments",
        "schema": {"card": "bigint", "at": "bigint"},
        "event_time": {"column": "at"},
        "max_disorder": "2h",
    },
    "feature_groups": [GROUP],
}


def operator(**arguments: Any) -> FlinkRecomputeFeaturesOperator:
    return FlinkRecomputeFeaturesOperator(task_id="recompute", pipeline=SPEC, deferrable=True, **arguments)


def test_it_waits_as_long_as_the_stream_counts_events() -> None:
    end = datetime.now(timezone.utc) - timedelta(minutes=90)
    deferred = defer(operator(start=end - timedelta(days=1), end=end, arrival_margin="1h"), context_of())
    assert deferred.method_name == "execute_after_wait"
    assert deferred.trigger.moment == end + timedelta(hours=3)
