"""Triggers of Flink as the tests make them, and what comes of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from airflow.triggers.base import BaseTrigger

from hopsworks_flink.triggers.flink import FlinkHealthTrigger, FlinkJobTrigger

JOB = "ab" * 16


def common(**kwargs: Any) -> dict[str, Any]:
    return {"flink_conn_id": "flink_default", "deadline": time.time() + 20, "poll_interval": 0.02, **kwargs}


def job_trigger(job_id: str, **kwargs: Any) -> FlinkJobTrigger:
    return FlinkJobTrigger(job_id=job_id, **common(**kwargs))


def health_trigger(**kwargs: Any) -> FlinkHealthTrigger:
    own = {"job_name": None, "job_id": None, "max_checkpoint_age": None, "max_restarts": None, "restart_window": 60.0}
    return FlinkHealthTrigger(**{**own, **common(**kwargs)})


async def only_event(trigger: BaseTrigger) -> dict[str, Any]:
    """What the trigger yields; exactly one event."""
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    return json.loads(json.dumps(events[0]))


def fire(trigger: BaseTrigger) -> dict[str, Any]:
    return asyncio.run(only_event(trigger))


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.01)
