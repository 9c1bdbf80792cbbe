"""What every trigger here has in common: one event, not too soon, and remote work that ends with a killed task."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

#: Since 3.3 Airflow calls a trigger's on_kill when a user marks or clears the deferred task.
TRIGGERS_HAVE_ON_KILL = hasattr(BaseTrigger, "on_kill")
#: Seconds for an ``on_kill``: Airflow gives it 30.
KILL_SECONDS = 25.0
# An event comes no sooner than this many looks after the trigger's start, but not later than so many seconds.
_LOOKS, _SECONDS = 5, 10.0
_STATE_SECONDS = 10.0


class WaitingTrigger(BaseTrigger):
    """Waits for remote work, and reports once.

    The event comes no sooner than five looks after the start, ten seconds at most. The worker of a task that defers
    ends, and its executor reports so: a scheduler that reads this report after the event has queued the task again
    takes the task for killed, and fails or retries it (Airflow's issues 66374, 67287 and 72716).

    :param poll_interval: seconds between two looks; default: 5.
    :param max_errors: transport errors in a row that are tolerated, with growing pauses; default: 10.
    """

    def __init__(self, poll_interval: float = 5.0, max_errors: int = 10) -> None:
        super().__init__()
        self.poll_interval = poll_interval
        self.max_errors = max_errors

    @abstractmethod
    async def report(self) -> dict[str, Any] | None:
        """Wait; only looks, because after a failover of the triggerer it may run twice at once.

        :return: the event's content, JSON.
        """

    @property
    @abstractmethod
    def ends_with_task(self) -> bool:
        """Whether a kill of the deferred task ends the remote work as well."""

    async def on_kill(self) -> None:
        """End the remote work, if it is this task's own: a user marked or cleared the deferred task."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait and report once."""
        begun = time.monotonic()
        try:
            event = await self.report()
            await asyncio.sleep(max(0.0, begun + min(_LOOKS * self.poll_interval, _SECONDS) - time.monotonic()))
        except asyncio.CancelledError:
            if not TRIGGERS_HAVE_ON_KILL and self.ends_with_task and await self._task_was_killed():
                await self.on_kill()
            raise
        yield TriggerEvent(event)

    async def _task_was_killed(self) -> bool:
        """Whether the task of this cancelled trigger is no longer deferred; before Airflow 3.3.

        A triggerer that restarts or hands its triggers on cancels them too, and then the remote work must go on: where
        the state cannot be learned, the answer is no.
        """
        instance = self.task_instance
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
            return not await asyncio.wait_for(sync_to_async(deferred, thread_sensitive=False)(), _STATE_SECONDS)
        except Exception as error:  # whatever goes wrong while Airflow shuts down, no job may be cancelled for it
            self.log.warning("The state of the task is not known (%r): its remote work goes on.", error)
            return False
