"""Trigger that waits for an execution of a Hopsworks job without a worker slot."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from hopsworks_flink.clients.hopsworks.executions import ExecutionWatch
from hopsworks_flink.clients.hopsworks.rest import AsyncHopsworksRest, async_settings, follow
from hopsworks_flink.clients.retry import ask
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.triggers._waiting import KILL_SECONDS, WaitingTrigger


class HopsworksExecutionTrigger(WaitingTrigger):
    """Waits for the end of one execution; only looks, because after a failover it may run twice at once.

    One event comes: ``status`` is ``SUCCEEDED``, ``FAILED``, ``KILLED``, ``NOT_FOUND`` (Hopsworks does not know the
    execution), ``timeout`` or ``error`` (with ``message`` and ``permanent``); with ``job_name``, ``execution_id``,
    ``state`` and ``final_status`` as last seen.

    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``.
    :param project_id: number of its project.
    :param job_name: name of the job.
    :param job_type: type of the job: it decides which state counts.
    :param execution_id: number of the execution.
    :param deadline: epoch seconds, the same on whatever host the trigger runs.
    :param poll_interval: seconds between two looks; default: 5.
    :param max_errors: consecutive transport errors tolerated, with growing pauses between them; default: 10.
    :param stop_on_kill: whether to stop the execution when a user marks or clears the deferred task; default: false.
    """

    def __init__(
        self,
        *,
        hopsworks_conn_id: str,
        project_id: int,
        job_name: str,
        job_type: str,
        execution_id: int,
        deadline: float,
        poll_interval: float = 5.0,
        max_errors: int = 10,
        stop_on_kill: bool = False,
    ) -> None:
        super().__init__(poll_interval, max_errors)
        self.hopsworks_conn_id = hopsworks_conn_id
        self.project_id = project_id
        self.job_name = job_name
        self.job_type = job_type
        self.execution_id = execution_id
        self.deadline = deadline
        self.stop_on_kill = stop_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return (
            "hopsworks_flink.triggers.hopsworks.HopsworksExecutionTrigger",
            {
                "hopsworks_conn_id": self.hopsworks_conn_id,
                "project_id": self.project_id,
                "job_name": self.job_name,
                "job_type": self.job_type,
                "execution_id": self.execution_id,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "max_errors": self.max_errors,
                "stop_on_kill": self.stop_on_kill,
            },
        )

    @property
    def ends_with_task(self) -> bool:
        """Whether the execution is stopped with the task."""
        return self.stop_on_kill

    async def report(self) -> dict[str, Any] | None:
        """Wait for the end of the execution, and return the event's content."""
        watch = ExecutionWatch(self.job_name, self.execution_id, self.deadline)
        try:
            return await follow(
                await async_settings(self.hopsworks_conn_id),
                watch,
                project_id=self.project_id,
                job_type=self.job_type,
                poll_interval=self.poll_interval,
                log=self.log,
                max_errors=self.max_errors,
            )
        except ConfigurationError as error:
            return watch.ended_by(error, time.time())

    async def on_kill(self) -> None:
        """Stop the execution, by id: a user marked or cleared the deferred task (Airflow calls it since 3.3)."""
        if not self.stop_on_kill:
            return
        self.log.info("The task was killed: stopping execution %d of job %s.", self.execution_id, self.job_name)
        async with AsyncHopsworksRest(await async_settings(self.hopsworks_conn_id)) as hopsworks:
            stop = partial(hopsworks.stop, self.project_id, self.job_name, self.execution_id)
            await ask(stop, time.time() + KILL_SECONDS, max_errors=self.max_errors)
