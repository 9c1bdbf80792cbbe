"""A task that waits in the triggerer, step by step: defer, trigger, resume, as Airflow does it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from hopsworks_flink._compat import BaseOperator
from tests.support.fixtures import StateStore, task_context


def context_of(store: StateStore | None = None, try_number: int = 1, **kwargs: Any) -> dict[str, Any]:
    context = task_context(**kwargs)
    context["ti"].try_number = try_number
    return {**context, "task_state_store": store} if store else context


def defer(operator: BaseOperator, context: dict[str, Any]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context)
    assert caught.value.timeout is None
    json.dumps(caught.value.kwargs)
    return caught.value


def event_of(deferred: TaskDeferred) -> Any:
    """What the trigger reports, rebuilt from what is stored as in a triggerer."""
    _, arguments = deferred.trigger.serialize()
    trigger = type(deferred.trigger)(**json.loads(json.dumps(arguments)))

    async def first() -> Any:
        (event,) = [event.payload async for event in trigger.run()]
        return event

    return asyncio.run(first())


def resume(operator: BaseOperator, deferred: TaskDeferred, event: Any, context: dict[str, Any] | None = None) -> Any:
    """Airflow calls a new object of the operator, in a new process."""
    method = getattr(operator, deferred.method_name)
    return method(context or task_context(), event=event, **(deferred.kwargs or {}))
