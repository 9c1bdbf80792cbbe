"""The asynchronous twin of the Flink hook: what triggers ask of a JobManager while their tasks hold no worker slot."""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Any

from hopsworks_flink._compat import AirflowNotFoundException, get_async_connection, get_async_extra_dejson
from hopsworks_flink.clients.flink.connection import FlinkConnection
from hopsworks_flink.clients.flink.http import effective_verify
from hopsworks_flink.clients.flink.jobs import ObservedJob
from hopsworks_flink.clients.flink.rest_async import AsyncFlinkRestClient
from hopsworks_flink.clients.hopsworks.flink_clusters import find_cluster_async
from hopsworks_flink.clients.hopsworks.rest import async_settings
from hopsworks_flink.clients.tls import tls_context
from hopsworks_flink.exceptions import (
    ConfigurationError,
    FlinkApiError,
    FlinkError,
    FlinkJobNotFound,
)
from hopsworks_flink.health.gate import JobHealth
from hopsworks_flink.health.wait import Finding, HealthBounds, examine

log = logging.getLogger(__name__)


class AsyncFlinkHook:
    """What triggers ask of one Flink cluster, by the same Airflow connection as :class:`~.flink.FlinkHook`.

    Use it as ``async with AsyncFlinkHook("flink_default") as flink: ...``; entering reads the connection.

    :param flink_conn_id: Airflow connection of type ``flink``.
    """

    def __init__(self, flink_conn_id: str) -> None:
        self.flink_conn_id = flink_conn_id
        self.settings: FlinkConnection
        self.client: AsyncFlinkRestClient

    async def __aenter__(self) -> AsyncFlinkHook:
        """Read the connection; only a Hopsworks that manages the cluster is asked for its address.

        :raises ConfigurationError: it does not exist or a field of it is wrong.
        :raises FlinkConnectionError: Hopsworks does not answer, or its cluster does not run.
        """
        try:
            connection = await get_async_connection(self.flink_conn_id)
        except AirflowNotFoundException as error:
            raise ConfigurationError(
                f"There is no Airflow connection {self.flink_conn_id!r}. Create one of type 'flink' whose host is the "
                "URL of Flink's REST API."
            ) from error
        extra = await get_async_extra_dejson(connection)
        settings = FlinkConnection.from_airflow(connection, extra)
        if settings.hopsworks_conn_id:
            settings = await find_cluster_async(settings, await async_settings(settings.hopsworks_conn_id))
        self.settings = settings
        https = settings.url.startswith("https:")
        tls = await asyncio.to_thread(tls_context, effective_verify(settings.verify), "ca_path") if https else None
        self.client = AsyncFlinkRestClient(settings.url, auth=settings.auth, tls=tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.client.close()

    async def job_state(self, job_id: str) -> str | None:
        """Flink's state of the job; None if Flink does not know it."""
        try:
            return str((await self.client.job(job_id))["state"])
        except FlinkJobNotFound:
            return None

    async def find_job(self, job_id: str) -> dict[str, Any] | None:
        """``GET /jobs/{id}``; None if Flink does not know it."""
        try:
            return await self.client.job(job_id)
        except FlinkJobNotFound:
            return None

    async def examine(self, job_name: str | None, job_id: str | None, bounds: HealthBounds) -> Finding:
        """Judge one job, see :func:`~hopsworks_flink.health.wait.examine`."""
        steps = examine(job_name, job_id, bounds, time.time())
        question = next(steps)
        while True:
            try:
                try:
                    answer = await getattr(self.client, question[0])(*question[1:])
                except FlinkError as error:
                    question = steps.throw(error)
                else:
                    question = steps.send(answer)
            except StopIteration as end:
                return end.value

    async def job_marks(self, job_id: str) -> dict[str, str]:
        """The job's ``pipeline.global-job-parameters``; empty while a job initialises or when Flink forgot it."""
        try:
            config = await self.client.job_config(job_id)
        except FlinkJobNotFound:
            return {}
        return dict((config.get("execution-config") or {}).get("user-config") or {})

    async def jobs_named(self, job_name: str) -> list[ObservedJob]:
        """All jobs of exactly this name that Flink remembers, the last one started first.

        Those that have not ended carry the deployment hash that they were started with.
        """
        jobs = [ObservedJob.from_rest(entry) for entry in await self.client.jobs() if entry["name"] == job_name]
        jobs = [job if job.is_terminal else job.with_marks(await self.job_marks(job.job_id)) for job in jobs]
        return sorted(jobs, key=lambda job: job.start_time, reverse=True)

    async def health(self, job_id: str) -> JobHealth:
        """The facts by which a job is judged.

        :raises FlinkJobNotFound: Flink does not know the job.
        """
        job = await self.client.job(job_id)
        details: dict[str, Any] = {"checkpoints": None, "exceptions": None, "metrics": {}}
        # A job that initialises has no execution graph yet, and answers 404 to some of these.
        try:
            details["exceptions"] = await self.client.exceptions(job_id)
            details["checkpoints"] = await self.client.checkpoints(job_id)
            details["metrics"] = await self.client.job_metrics(job_id, ["numRestarts"])
        except FlinkApiError as error:
            log.debug("Job %s does not tell everything yet: %s", job_id, error)
        return JobHealth.from_rest(job, **details)

    async def cancel(self, job_id: str) -> None:
        """Ask Flink to end a job without a savepoint; does not wait. A job that is gone or ended is no error."""
        try:
            await self.client.cancel(job_id)
        except FlinkApiError as error:
            if error.status_code not in (404, 409):
                raise
