"""Executions of Hopsworks jobs over plain REST: for triggers, sensors and kills.

Not the SDK: its login is global to the process and blocks, which rules it out in a triggerer or a signal handler.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AirflowNotFoundException, get_async_connection, get_async_extra_dejson
from hopsworks_flink.clients.addresses import segment
from hopsworks_flink.clients.hopsworks.connection import HopsworksConnection, names_address
from hopsworks_flink.clients.hopsworks.executions import Execution, ExecutionWatch
from hopsworks_flink.clients.retry import ask
from hopsworks_flink.clients.tls import tls_context
from hopsworks_flink.exceptions import (
    ConfigurationError,
    HopsworksConnectionError,
    HopsworksError,
    HopsworksLoginError,
    HopsworksNotFoundError,
)

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS, _READ_SECONDS = 5.0, 30.0
# Airflow kills a task 5 s after it was asked to end.
KILL_SECONDS = 4.0
# Too many requests or queued executions, and a server or proxy that restarts.
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_UNKNOWN_PROJECT = 150004


async def async_settings(hopsworks_conn_id: str) -> HopsworksConnection:
    """An Airflow connection of type ``hopsworks``, read and checked on the event loop; without one, the environment.

    :raises ConfigurationError: it does not exist or a field of it is wrong.
    """
    try:
        connection = await get_async_connection(hopsworks_conn_id)
    except AirflowNotFoundException as error:
        if not names_address(os.environ):
            raise ConfigurationError(f"There is no Airflow connection {hopsworks_conn_id!r}.") from error
        connection = None
    extra = None if connection is None else await get_async_extra_dejson(connection)
    settings = HopsworksConnection.from_airflow(connection, os.environ, extra)
    # Reads files: not on the event loop. The client finds it made.
    await asyncio.to_thread(tls_context, settings.verify, "trust_store_path")
    return settings


class _Api:
    """Addresses and answers of the API, for the blocking and for the asynchronous client."""

    def __init__(self, settings: HopsworksConnection, read_seconds: float = _READ_SECONDS) -> None:
        import httpx

        self.settings = settings
        self.url = f"{settings.url}/hopsworks-api/api"
        self._options: dict[str, Any] = {
            "auth": settings.authorize,
            "headers": {"Accept": "application/json"},
            "verify": tls_context(settings.verify, "trust_store_path"),
            "timeout": httpx.Timeout(read_seconds, connect=min(_CONNECT_SECONDS, read_seconds)),
        }

    def project_url(self) -> str:
        return f"{self.url}/project/getProjectInfo/{segment(self.settings.project)}"

    def job_url(self, project_id: int, job_name: str) -> str:
        return f"{self.url}/project/{project_id}/jobs/{segment(job_name)}"

    def execution_url(self, project_id: int, job_name: str, execution_id: int) -> str:
        return f"{self.job_url(project_id, job_name)}/executions/{execution_id}"

    def jobs_url(self, project_id: int) -> str:
        return f"{self.url}/project/{project_id}/jobs"

    def newest_execution_url(self, project_id: int, job_name: str) -> str:
        return f"{self.job_url(project_id, job_name)}/executions?sort_by=submissiontime:desc&limit=5"

    def read(self, response: httpx.Response, what: str, kind: type = dict) -> Any:
        """The JSON of an answer.

        :param what: infinitive for the message: "Could not <what>: …".
        :param kind: what it must be.
        """
        status = response.status_code
        try:
            body = response.json() if response.content else {}
        except ValueError:
            body = {}
        if response.is_success:
            if isinstance(body, kind) and (body or not response.content):
                return body
            raise HopsworksError(
                f"Could not {what}: {self.settings.url} answered {status} with something that is not JSON: is this "
                "the address of Hopsworks?"
            )
        code = body.get("errorCode") if isinstance(body, dict) else None
        text = (body.get("usrMsg") or body.get("errorMsg")) if isinstance(body, dict) else None
        message = (
            f"Could not {what}: Hopsworks answered {status} ({code or 'no code'}): {text or response.reason_phrase}"
        )
        if status in (401, 403):
            raise HopsworksLoginError(f"{message}. Check the API key of the connection, and its scopes.")
        if status == 404 or code == _UNKNOWN_PROJECT:
            raise HopsworksNotFoundError(message)
        raise (HopsworksConnectionError if status in _TRANSIENT else HopsworksError)(message)

    def unreachable(self, error: Exception, what: str) -> HopsworksError:
        """The error for a request without an answer."""
        inner = error.__cause__ or error.__context__
        if isinstance(inner, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return HopsworksLoginError(
                f"Could not {what}: the certificate of Hopsworks at {self.settings.url} is not accepted. Name the CA's "
                "certificate as trust_store_path in the connection's extra."
            )
        return HopsworksConnectionError(
            f"Could not {what}: Hopsworks at {self.settings.url} cannot be reached ({error or type(error).__name__})."
        )


def _look(job_name: str, execution_id: int) -> str:
    return f"read execution {execution_id} of job {job_name}"


class HopsworksRest(_Api):
    """Blocking client; a context manager.

    :param settings: the connection.
    :param read_seconds: how long to wait for an answer.
    """

    def __enter__(self) -> HopsworksRest:
        import httpx

        self._client = httpx.Client(**self._options)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def project_id(self) -> int:
        """Number of the connection's project."""
        return int(self._ask("GET", self.project_url(), f"read project {self.settings.project!r}")["projectId"])

    def project_name(self, project_id: int) -> str:
        """Name of a project that the credential may see.

        :raises HopsworksLoginError: it may not see it.
        """
        answer = self._ask("GET", f"{self.url}/project", "read the projects", kind=list)
        names = {one["project"]["id"]: str(one["project"]["name"]) for one in answer}
        if project_id not in names:
            raise HopsworksLoginError(
                f"The credential sees no project {project_id} at {self.settings.url}, the one of this DAG's id."
            )
        return names[project_id]

    def job_type(self, project_id: int, job_name: str) -> str:
        """``SPARK``, ``PYTHON`` …

        :raises HopsworksNotFoundError: there is no such job.
        """
        return str(self._ask("GET", self.job_url(project_id, job_name), f"read job {job_name!r}").get("jobType") or "")

    def get(self, url: str, what: str) -> dict[str, Any]:
        """The JSON object at an address of this API.

        :param what: infinitive for an error's text: "Could not <what>: …".
        """
        return self._ask("GET", url, what)

    def execution(self, project_id: int, job_name: str, execution_id: int, job_type: str) -> Execution | None:
        """One execution; None if Hopsworks does not know it."""
        url = self.execution_url(project_id, job_name, execution_id)
        try:
            return Execution.from_json(self._ask("GET", url, _look(job_name, execution_id)), job_type)
        except HopsworksNotFoundError:
            return None

    def stop(self, project_id: int, job_name: str, execution_id: int) -> None:
        """Stop one execution; nothing happens to one that has ended or is not known."""
        url = self.execution_url(project_id, job_name, execution_id)
        try:
            self._ask("PUT", f"{url}/status", f"stop execution {execution_id} of job {job_name}", _STOP)
        except HopsworksNotFoundError:
            return

    def _ask(self, method: str, url: str, what: str, form: str | None = None, kind: type = dict) -> Any:
        import httpx

        try:
            response = self._client.request(method, url, content=form, headers=_JSON if form else None)
        except httpx.TransportError as error:
            raise self.unreachable(error, what) from error
        return self.read(response, what, kind)


class AsyncHopsworksRest(_Api):
    """Client for an event loop; an asynchronous context manager.

    :param settings: the connection.
    :param read_seconds: how long to wait for an answer.
    """

    async def __aenter__(self) -> AsyncHopsworksRest:
        import httpx

        self._client = httpx.AsyncClient(**self._options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, url: str, what: str) -> dict[str, Any]:
        """The JSON object at an address of this API.

        :param what: infinitive for an error's text: "Could not <what>: …".
        """
        return await self._ask("GET", url, what)

    async def execution(self, project_id: int, job_name: str, execution_id: int, job_type: str) -> Execution | None:
        """One execution; None if Hopsworks does not know it."""
        url = self.execution_url(project_id, job_name, execution_id)
        try:
            return Execution.from_json(await self._ask("GET", url, _look(job_name, execution_id)), job_type)
        except HopsworksNotFoundError:
            return None

    async def stop(self, project_id: int, job_name: str, execution_id: int) -> None:
        """Stop one execution; nothing happens to one that has ended or is not known."""
        url = self.execution_url(project_id, job_name, execution_id)
        try:
            await self._ask("PUT", f"{url}/status", f"stop execution {execution_id} of job {job_name}", _STOP)
        except HopsworksNotFoundError:
            return

    async def _ask(self, method: str, url: str, what: str, form: str | None = None) -> dict[str, Any]:
        import httpx

        try:
            response = await self._client.request(method, url, content=form, headers=_JSON if form else None)
        except httpx.TransportError as error:
            raise self.unreachable(error, what) from error
        return self.read(response, what)


async def follow(
    settings: HopsworksConnection,
    watch: ExecutionWatch,
    *,
    project_id: int,
    job_type: str,
    poll_interval: float,
    log: Any,
    max_errors: int = 10,
    once: bool = False,
) -> dict[str, Any] | None:
    """Wait until an execution has ended: in the triggerer and on a worker.

    :param poll_interval: seconds between two looks.
    :param once: look only once.
    :return: :meth:`ExecutionWatch.event`; None if one look did not end the wait.
    """
    async with AsyncHopsworksRest(settings) as hopsworks:
        while True:
            look = partial(hopsworks.execution, project_id, watch.job_name, watch.execution_id, job_type)
            try:
                execution = await ask(look, watch.deadline, max_errors=max_errors)
            except HopsworksError as error:
                return watch.ended_by(error, time.time())
            event = watch.observe(execution, time.time())
            if watch.changed:
                log.info("Execution %d of job %s is %s.", watch.execution_id, watch.job_name, watch.state)
            if event or once:
                return event
            await asyncio.sleep(max(0.0, min(poll_interval, watch.deadline - time.time())))


# What the SDK sends: form text under the name of JSON. A server may read it either way.
_STOP = "state=stopped"
_JSON = {"Content-Type": "application/json"}
