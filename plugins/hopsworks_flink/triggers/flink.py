"""Triggers that wait for Flink: tasks give their worker slot back and the triggerer watches many jobs in one loop."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.flink.http import is_transient
from hopsworks_flink.clients.retry import ask
from hopsworks_flink.exceptions import HopsworksFlinkError
from hopsworks_flink.health.bounds import Bounds
from hopsworks_flink.health.wait import ERROR, TIMEOUT, Wait, until_ended, until_healthy, until_stopped
from hopsworks_flink.hooks.flink_async import AsyncFlinkHook
from hopsworks_flink.triggers._waiting import KILL_SECONDS, WaitingTrigger

if TYPE_CHECKING:
    from hopsworks_flink.clients.flink.connection import FlinkConnection


class FlinkTrigger(WaitingTrigger):
    """Base of the triggers that watch one Flink cluster; not for use in DAGs.

    A subclass names its arguments in ``serialize`` and waits in :meth:`watch`. Whatever happens, one event comes:
    what ``watch`` returns, or ``status`` = ``timeout`` (Flink was away when the deadline passed) or ``error`` (with
    ``message`` and ``permanent``).

    :param flink_conn_id: Airflow connection of type ``flink``.
    :param deadline: epoch seconds, the same on whatever host the trigger runs.
    :param poll_interval: seconds between two looks; default: 5.
    :param max_errors: transport errors in a row that are tolerated, with growing pauses; default: 10.
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
        super().__init__(poll_interval, max_errors)
        self.flink_conn_id = flink_conn_id
        self.deadline = deadline
        self.kill_job_id = kill_job_id

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
    async def watch(self, wait: Wait) -> dict[str, Any]:
        """Wait; only looks, because after a failover of the triggerer it may run twice at once.

        :return: the event's content, JSON.
        """

    @property
    def ends_with_task(self) -> bool:
        """Whether there is a job to cancel with the task."""
        return self.kill_job_id is not None

    async def report(self, settings: FlinkConnection | None = None) -> dict[str, Any]:
        """Wait, and return the event's content; a worker that does not defer calls this.

        :param settings: the connection, where it has been read already.
        """
        try:
            async with AsyncFlinkHook(self.flink_conn_id, settings) as flink:
                return await self.watch(
                    Wait(flink.client, self.deadline, self.poll_interval, self.max_errors, self.log)
                )
        except HopsworksFlinkError as error:
            away = is_transient(error) and time.time() >= self.deadline
            return {"status": TIMEOUT if away else ERROR, "message": str(error), "permanent": error.permanent}

    async def on_kill(self) -> None:
        """Cancel the job, by id: a user marked or cleared the deferred task (Airflow calls it since 3.3)."""
        job_id = self.kill_job_id
        if job_id is None:
            return
        self.log.info("The task was killed: cancelling Flink job %s.", job_id)
        async with AsyncFlinkHook(self.flink_conn_id) as flink:
            deadline = time.time() + KILL_SECONDS
            await ask(lambda: flink.client.cancel(job_id), deadline, first_pause=0.5, longest_pause=4.0)


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

    async def watch(self, wait: Wait) -> dict[str, Any]:
        """Look until the job has ended."""
        return await until_ended(wait, self.job_id)


class FlinkSavepointTrigger(FlinkJobTrigger):
    """Waits until a stop with savepoint is complete and the job has ended.

    Event: as :class:`FlinkJobTrigger`, with ``savepoint_path`` (None if Flink does not say) instead of the duration;
    ``status`` is ``savepoint_failed`` (with ``message``) if none could be taken: the job may go on running.

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

    async def watch(self, wait: Wait) -> dict[str, Any]:
        """Look until the savepoint is written, then until the job has ended."""
        return await until_stopped(wait, self.job_id, self.request_id)


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

    async def watch(self, wait: Wait) -> dict[str, Any]:
        """Look until the verdict is final."""
        bounds = Bounds(
            max_checkpoint_age=self.max_checkpoint_age,
            require_checkpoint=self.max_checkpoint_age is not None,
            max_restarts=self.max_restarts,
            restart_window=self.restart_window,
        )
        return await until_healthy(wait, self.job_name, self.job_id, bounds)
