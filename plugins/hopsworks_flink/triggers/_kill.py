"""What Airflow before 3.3 lacks: telling a trigger that a user killed its task from one whose triggerer stops."""

from __future__ import annotations

import asyncio
import logging

from airflow.triggers.base import BaseTrigger

#: Since 3.3 Airflow calls a trigger's on_kill when a user marks or clears the deferred task.
TRIGGERS_HAVE_ON_KILL = hasattr(BaseTrigger, "on_kill")
_SECONDS = 10.0
log = logging.getLogger(__name__)


async def task_was_killed(trigger: BaseTrigger) -> bool:
    """Whether the task of a cancelled trigger is no longer deferred.

    A triggerer that restarts or hands its triggers on cancels them too, and then the remote work must go on: where the
    state cannot be learned, the answer is no.
    """
    instance = trigger.task_instance
    if instance is None:
        return False
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from asgiref.sync import sync_to_async

    def deferred() -> bool:
        states = RuntimeTaskInstance.get_task_states(
            dag_id=instance.dag_id,
            task_ids=[instance.task_id],
            run_ids=[instance.run_id],
            map_index=instance.map_index,
        )
        found = states[instance.run_id]
        # The one of a mapped task is named with its index. A task that was just cleared has the state None.
        names = (instance.task_id, f"{instance.task_id}_{instance.map_index}")
        return next(found[name] for name in names if name in found) == "deferred"

    try:
        # Not asyncio.to_thread: Airflow's call needs the way back into this event loop that asgiref lays.
        return not await asyncio.wait_for(sync_to_async(deferred, thread_sensitive=False)(), _SECONDS)
    except Exception as error:  # whatever goes wrong while Airflow shuts down, no job may be cancelled for it
        log.warning("The state of the task is not known (%r): its remote work goes on.", error)
        return False
