"""The asynchronous twin of the Flink hook: what triggers ask of a JobManager while their tasks hold no worker slot."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import httpx

from hopsworks_flink._compat import AirflowNotFoundException, get_async_connection, get_async_extra_dejson
from hopsworks_flink.clients.addresses import segment
from hopsworks_flink.clients.flink.connection import FlinkConnection
from hopsworks_flink.clients.flink.http import (
    CONNECT_SECONDS,
    READ_SECONDS,
    api_error,
    certificate_error,
    not_json,
    observed_job,
    savepoint_path,
)
from hopsworks_flink.clients.flink.jobs import ObservedJob
from hopsworks_flink.clients.hopsworks.flink_clusters import find_cluster_async
from hopsworks_flink.clients.hopsworks.rest import async_settings
from hopsworks_flink.clients.http import Auth, reason_of, tls_context
from hopsworks_flink.clients.retry import Patience
from hopsworks_flink.exceptions import (
    ConfigurationError,
    FlinkApiError,
    FlinkConnectionError,
    FlinkError,
    FlinkJobNotFound,
)
from hopsworks_flink.health.gate import JobHealth
from hopsworks_flink.health.wait import Finding, HealthBounds, examine

__all__ = ["AsyncFlinkHook", "AsyncFlinkRestClient", "Patience"]

log = logging.getLogger(__name__)


class AsyncFlinkRestClient:
    """Speaks to one JobManager without blocking the event loop; sends each request once (see :class:`Patience`).

    :param base_url: e.g. ``http://jobmanager:8081``; a path is kept.
    :param auth: user and password for HTTP basic authentication, or what signs each request.
    :param tls: TLS settings; needed for https only.
    """

    def __init__(self, base_url: str, *, auth: Auth | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx.AsyncClient(
            auth=auth,
            # Without https no certificates are needed, and loading them would hold up everybody else in the loop.
            verify=tls if tls is not None else False,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=True,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def overview(self) -> dict[str, Any]:
        """``GET /overview``: slots, task managers, jobs by state, version."""
        return await self._json("GET", "/overview")

    async def config(self) -> dict[str, Any]:
        """``GET /config``: version and features of the cluster."""
        return await self._json("GET", "/config")

    async def jobs(self) -> list[dict[str, Any]]:
        """``GET /jobs/overview``: all jobs that the cluster remembers, with ``jid``, ``name``, ``state``, times."""
        return list((await self._json("GET", "/jobs/overview")).get("jobs", ()))

    async def job(self, job_id: str) -> dict[str, Any]:
        """``GET /jobs/{id}``.

        :raises FlinkJobNotFound: Flink does not know the id.
        """
        return await self._json("GET", f"/jobs/{segment(job_id)}")

    async def job_config(self, job_id: str) -> dict[str, Any]:
        """``GET /jobs/{id}/config``."""
        return await self._json("GET", f"/jobs/{segment(job_id)}/config")

    async def checkpoints(self, job_id: str) -> dict[str, Any]:
        """``GET /jobs/{id}/checkpoints``."""
        return await self._json("GET", f"/jobs/{segment(job_id)}/checkpoints")

    async def exceptions(self, job_id: str) -> dict[str, Any]:
        """``GET /jobs/{id}/exceptions``."""
        return await self._json("GET", f"/jobs/{segment(job_id)}/exceptions")

    async def job_metrics(self, job_id: str, names: Sequence[str]) -> dict[str, str]:
        """``GET /jobs/{id}/metrics``: name -> value, those that exist already."""
        answer = await self._json("GET", f"/jobs/{segment(job_id)}/metrics", params={"get": ",".join(names)})
        return {entry["id"]: entry["value"] for entry in answer}

    async def savepoint(self, job_id: str, request_id: str) -> str | None:
        """``GET /jobs/{id}/savepoints/{request}``.

        :return: where the savepoint lies; None while it is being written.
        :raises FlinkSavepointError: it failed.
        """
        return savepoint_path(
            job_id, await self._json("GET", f"/jobs/{segment(job_id)}/savepoints/{segment(request_id)}")
        )

    async def stop(self, job_id: str, *, drain: bool, target_directory: str | None, request_id: str) -> str:
        """``POST /jobs/{id}/stop``: savepoint, then end; the same request id again is the same request.

        :param request_id: 32 hex digits of the caller's choice.
        :return: id of the request, for :meth:`savepoint`.
        """
        body: dict[str, Any] = {"drain": drain, "triggerId": request_id}
        if target_directory:
            body["targetDirectory"] = target_directory
        return str((await self._json("POST", f"/jobs/{segment(job_id)}/stop", json=body))["request-id"])

    async def cancel(self, job_id: str) -> None:
        """``PATCH /jobs/{id}?mode=cancel``: asks for the end, does not wait for it."""
        await self._json("PATCH", f"/jobs/{segment(job_id)}", params={"mode": "cancel"})

    async def _json(self, method: str, path: str, **kwargs: Any) -> Any:
        url = self.base_url + path
        try:
            response = await self._http.request(method, url, **kwargs)
        except httpx.TimeoutException as error:
            raise FlinkConnectionError(f"Flink at {self.base_url} cannot be reached: no answer in time.") from error
        except httpx.RemoteProtocolError as error:
            raise FlinkConnectionError(f"Flink at {self.base_url} broke off its answer: {error}.") from error
        except httpx.HTTPError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise certificate_error(self.base_url, str(error)) from error
            raise FlinkConnectionError(f"Flink at {self.base_url} cannot be reached: {reason_of(error)}.") from error
        if response.status_code >= 400:
            raise api_error(method, url, response.status_code, response.text, response.reason_phrase)
        if not response.content:
            return {}
        try:
            return json.loads(response.content)
        except ValueError:
            raise not_json(method, url, response.status_code, response.text) from None


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
        tls = await asyncio.to_thread(tls_context, settings.verify) if https else None
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
        jobs = [observed_job(entry) for entry in await self.client.jobs() if entry["name"] == job_name]
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
