"""Triggers that wait for Flink: tasks give their worker slot back and the triggerer watches many jobs in one loop."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from hopsworks_flink.clients.flink.http import is_transient
from hopsworks_flink.clients.flink.jobs import ENDING_STATES, TERMINAL_STATES
from hopsworks_flink.clients.retry import Patience
from hopsworks_flink.exceptions import (
    FlinkApiError,
    FlinkError,
    FlinkSavepointError,
    HopsworksFlinkError,
)
from hopsworks_flink.health.wait import ERROR, SAVEPOINT_FAILED, TIMEOUT, HealthBounds, JobWatch, away
from hopsworks_flink.hooks.flink_async import AsyncFlinkHook
from hopsworks_flink.triggers._kill import TRIGGERS_HAVE_ON_KILL, task_was_killed

T = TypeVar("T")
# Airflow gives on_kill 30 s.
_KILL_SECONDS = 25.0


class FlinkTrigger(BaseTrigger):
    """Base of the triggers that watch one Flink cluster; not for use in DAGs.

    A subclass names its arguments in ``serialize`` and waits in :meth:`watch`. Whatever happens, one event comes:
    what ``watch`` returns, or ``status`` = ``timeout`` (Flink was away when the deadline passed) or ``error`` (with
    ``message`` and ``permanent``).

    :param flink_conn_id: Airflow connection of type ``flink``.
    :param deadline: epoch seconds, the same on whatever host the trigger runs.
    :param poll_interval: seconds between two looks; default: 5.
    :param max_errors: so many transport errors in a row are borne, with growing pauses; default: 10.
    :param kill_job_id: the job to cancel when a user marks or clears the deferred task; None: none.
    """

    def __init__(
        self,
        *,
        flink_conn_id: str,
        deadline: float,
        poll_interval: float = 5.0,
        max_errors: int = 10,
        kill_job_id: str | None = None,
    ) -> None:
        super().__init__()
        self.flink_conn_id = flink_conn_id
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.max_errors = max_errors
        self.kill_job_id = kill_job_id
        self._patience = Patience(max_errors)

    def arguments(self) -> dict[str, Any]:
        """The arguments of this class, for a subclass's ``serialize``."""
        return {
            "flink_conn_id": self.flink_conn_id,
            "deadline": self.deadline,
            "poll_interval": self.poll_interval,
            "max_errors": self.max_errors,
            "kill_job_id": self.kill_job_id,
        }

    @abstractmethod
    async def watch(self, flink: AsyncFlinkHook) -> dict[str, Any]:
        """Wait; only looks, because after a failover of the triggerer it may run twice at once.

        :return: the event's content, JSON.
        """

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait and report once."""
        try:
            async with AsyncFlinkHook(self.flink_conn_id) as flink:
                event = await self.watch(flink)
        except asyncio.CancelledError:
            if not TRIGGERS_HAVE_ON_KILL and self.kill_job_id and await task_was_killed(self):
                await self.on_kill()
            raise
        except HopsworksFlinkError as error:
            away = isinstance(error, FlinkError) and is_transient(error) and time.time() >= self.deadline
            event = {"status": TIMEOUT if away else ERROR, "message": str(error), "permanent": error.permanent}
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Cancel the job, by id: a user marked or cleared the deferred task (Airflow calls it since 3.3)."""
        job_id = self.kill_job_id
        if job_id is None:
            return
        self.log.info("The task was killed: cancelling Flink job %s.", job_id)
        async with AsyncFlinkHook(self.flink_conn_id) as flink:
            await Patience(first_pause=0.5, longest_pause=4.0).ask(
                lambda: flink.cancel(job_id), time.time() + _KILL_SECONDS
            )

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question, asked again while Flink is away."""
        return await self._patience.ask(question, self.deadline)

    async def pause(self) -> None:
        """Wait until the next look, but not beyond the deadline."""
        await asyncio.sleep(max(0.0, min(self.poll_interval, self.deadline - time.time())))


class FlinkJobTrigger(FlinkTrigger):
    """Waits for the end of one job.

    Event: ``status`` is ``FINISHED``, ``CANCELED``, ``FAILED``, ``NOT_FOUND`` (Flink does not know the job),
    ``timeout`` or ``error``; with ``job_id``, ``state`` (the last one seen), ``duration_seconds``.

    :param job_id: 32 hex digits.
    :param kwargs: arguments of :class:`FlinkTrigger`.
    """

    def __init__(self, *, job_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "hopsworks_flink.triggers.flink.FlinkJobTrigger", {"job_id": self.job_id, **self.arguments()}

    async def watch(self, flink: AsyncFlinkHook) -> dict[str, Any]:
        """Look until the job has ended."""
        watch = JobWatch(self.job_id, self.deadline)
        while True:
            event = watch.observe(await self.ask(lambda: flink.find_job(self.job_id)), time.time())
            if watch.changed:
                self.log.info("Job %s is %s.", self.job_id, watch.state)
            if event:
                return event
            await self.pause()


class FlinkSavepointTrigger(FlinkJobTrigger):
    """Waits until a stop with savepoint is complete and the job has ended.

    Event: as :class:`FlinkJobTrigger`, with ``savepoint_path`` (None if Flink does not say); ``status`` is
    ``savepoint_failed`` (with ``message``) if none could be taken: the job may go on running.

    :param job_id: 32 hex digits.
    :param request_id: what ``POST /jobs/{id}/stop`` answered.
    :param kwargs: arguments of :class:`FlinkTrigger`.
    """

    def __init__(self, *, job_id: str, request_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=job_id, **kwargs)
        self.request_id = request_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return (
            "hopsworks_flink.triggers.flink.FlinkSavepointTrigger",
            {"job_id": self.job_id, "request_id": self.request_id, **self.arguments()},
        )

    async def watch(self, flink: AsyncFlinkHook) -> dict[str, Any]:
        """Look until the savepoint is written, then until the job has ended."""
        path = None
        while path is None:
            try:
                path = await self.ask(lambda: flink.client.savepoint(self.job_id, self.request_id))
            except FlinkSavepointError as error:
                state = await self.ask(lambda: flink.job_state(self.job_id))
                return {"status": SAVEPOINT_FAILED, "job_id": self.job_id, "state": state, "message": str(error)}
            except FlinkApiError as error:
                if error.status_code != 404:
                    raise
                # The JobManager has forgotten the request; then the job itself shows how it went.
                state = await self.ask(lambda: flink.job_state(self.job_id))
                if state is not None and state not in TERMINAL_STATES | ENDING_STATES:
                    message = f"Flink has forgotten the request to stop job {self.job_id}, which is {state}"
                    return {"status": SAVEPOINT_FAILED, "job_id": self.job_id, "state": state, "message": message}
                break
            if path is None:
                if time.time() >= self.deadline:
                    return {**JobWatch(self.job_id, self.deadline).event(TIMEOUT), "savepoint_path": None}
                await self.pause()
        if path:
            self.log.info("The state of job %s is in %s.", self.job_id, path)
        return {**await super().watch(flink), "savepoint_path": path}


class FlinkHealthTrigger(FlinkTrigger):
    """Waits until a job is healthy.

    Event: ``status`` is ``healthy``, ``hopeless`` (this job id has ended), ``timeout`` or ``error``; with ``reason``
    and ``facts``.

    :param job_name: the one job of this name that has not ended; or
    :param job_id: this job.
    :param max_checkpoint_age: seconds; None: checkpoints do not matter.
    :param max_restarts: within the window; None: they do not matter.
    :param restart_window: seconds.
    :param kwargs: arguments of :class:`FlinkTrigger`.
    """

    def __init__(
        self,
        *,
        job_name: str | None,
        job_id: str | None,
        max_checkpoint_age: float | None,
        max_restarts: int | None,
        restart_window: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.job_id = job_id
        self.max_checkpoint_age = max_checkpoint_age
        self.max_restarts = max_restarts
        self.restart_window = restart_window

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return (
            "hopsworks_flink.triggers.flink.FlinkHealthTrigger",
            {
                "job_name": self.job_name,
                "job_id": self.job_id,
                "max_checkpoint_age": self.max_checkpoint_age,
                "max_restarts": self.max_restarts,
                "restart_window": self.restart_window,
                **self.arguments(),
            },
        )

    async def watch(self, flink: AsyncFlinkHook) -> dict[str, Any]:
        """Look until the verdict is final."""
        bounds = HealthBounds(self.max_checkpoint_age, self.max_restarts, self.restart_window)
        kind = None
        while True:
            try:
                finding = await flink.examine(self.job_name, self.job_id, bounds)
            except FlinkError as error:
                finding = away(error)
            if finding.kind != kind:
                self.log.info("%s%s.", finding.reason[:1].upper(), finding.reason[1:])
            kind = finding.kind
            status = "healthy" if finding.healthy else "hopeless" if finding.hopeless else None
            if status is None and time.time() >= self.deadline:
                status = TIMEOUT
            if status:
                return {"status": status, "reason": finding.reason, "facts": dict(finding.facts)}
            await self.pause()
