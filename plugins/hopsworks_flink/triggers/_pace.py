"""A trigger's event may not come before the scheduler has seen its task defer."""

from __future__ import annotations

import asyncio
import time

#: Seconds from a trigger's start to its event, at least; less where it looks more often.
LEAST = 5.0


async def not_at_once(begun: float, poll_interval: float) -> None:
    """Wait until an event may come.

    The worker of a task that defers ends, and its executor reports so. A scheduler that reads this report after the
    event has queued the task again takes the task for killed, and fails or retries it: Airflow's issues 66374, 67287
    and 72716.

    :param begun: ``time.monotonic()`` when the trigger began.
    :param poll_interval: seconds between two looks of this trigger.
    """
    await asyncio.sleep(max(0.0, begun + min(poll_interval, LEAST) - time.monotonic()))
