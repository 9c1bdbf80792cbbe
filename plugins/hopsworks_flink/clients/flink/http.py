"""Flink's REST API: its calls and its errors, for the blocking and for the asynchronous client. No I/O."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from hopsworks_flink.clients.addresses import segment
from hopsworks_flink.clients.flink.failures import innermost_cause
from hopsworks_flink.exceptions import (
    ConfigurationError,
    FlinkApiError,
    FlinkConnectionError,
    FlinkDuplicateJobId,
    FlinkJobNotFound,
    FlinkSavepointError,
)

#: A question to a client, blocking or not: the method's name and its arguments.
Question: TypeAlias = tuple[Any, ...]
Ignore: TypeAlias = Callable[[FlinkApiError], bool]
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
#: What a JobManager that restarts answers, or a proxy in front of one that is away.
UNAVAILABLE = frozenset({429, 502, 503, 504})


class FlinkCalls(ABC):
    """The calls that both clients make; the asynchronous client's are to be awaited.

    Those for a job raise :class:`FlinkJobNotFound` if Flink does not know it.
    """

    @abstractmethod
    def _call(
        self,
        method: str,
        path: str,
        read: Callable[[Any], Any] = lambda answer: answer,
        ignore: Ignore = lambda error: False,
        **options: Any,
    ) -> Any:
        """The JSON of an answer, passed through ``read``; None instead of an error that is to be ignored."""

    def overview(self) -> Any:
        """``GET /overview``: slots, task managers, jobs by state, version."""
        return self._call("GET", "/overview")

    def config(self) -> Any:
        """``GET /config``: version and features of the cluster."""
        return self._call("GET", "/config")

    def jobmanager_config(self) -> Any:
        """``GET /jobmanager/config``: the cluster's settings, secrets hidden; a mapping of texts."""
        return self._call("GET", "/jobmanager/config", lambda answer: {one["key"]: one["value"] for one in answer})

    def jobs(self) -> Any:
        """``GET /jobs/overview``: a list of all jobs that Flink remembers, with ``jid``, ``name``, ``state``, times."""
        return self._call("GET", "/jobs/overview", lambda answer: list(answer["jobs"]))

    def job(self, job_id: str) -> Any:
        """``GET /jobs/{id}``."""
        return self._call("GET", f"/jobs/{segment(job_id)}", _job)

    def find_job(self, job_id: str) -> Any:
        """``GET /jobs/{id}``; None if Flink does not know it."""
        return self._call("GET", f"/jobs/{segment(job_id)}", _job, lambda error: isinstance(error, FlinkJobNotFound))

    def job_state(self, job_id: str) -> Any:
        """``GET /jobs/{id}/status``: its state, which is never old, as details are; None: Flink does not know it."""
        path = f"/jobs/{segment(job_id)}/status"
        return self._call("GET", path, lambda answer: str(answer["status"]), lambda e: isinstance(e, FlinkJobNotFound))

    def job_config(self, job_id: str) -> Any:
        """``GET /jobs/{id}/config``."""
        return self._call("GET", f"/jobs/{segment(job_id)}/config")

    def checkpoints(self, job_id: str) -> Any:
        """``GET /jobs/{id}/checkpoints``."""
        return self._call("GET", f"/jobs/{segment(job_id)}/checkpoints")

    def trigger_checkpoint(self, job_id: str) -> Any:
        """``POST /jobs/{id}/checkpoints``: asks for a checkpoint now, does not wait for it (FLINK-27101)."""
        return self._call("POST", f"/jobs/{segment(job_id)}/checkpoints", lambda _: None, json={})

    def exceptions(self, job_id: str) -> Any:
        """``GET /jobs/{id}/exceptions``."""
        return self._call("GET", f"/jobs/{segment(job_id)}/exceptions")

    def job_metrics(self, job_id: str, names: Sequence[str]) -> Any:
        """``GET /jobs/{id}/metrics``: a mapping name -> text, of those that exist already."""
        params = {"get": ",".join(names)}
        path = f"/jobs/{segment(job_id)}/metrics"
        return self._call("GET", path, lambda answer: {entry["id"]: entry["value"] for entry in answer}, params=params)

    def cancel(self, job_id: str) -> Any:
        """``PATCH /jobs/{id}?mode=cancel``: asks for the end, does not wait for it. A job that is gone is no error."""
        path = f"/jobs/{segment(job_id)}"
        gone: Ignore = lambda error: error.status_code in (404, 409)  # noqa: E731 - a name for what it ignores
        return self._call("PATCH", path, lambda _: None, gone, params={"mode": "cancel"})

    def stop(self, job_id: str, *, drain: bool, target_directory: str | None, request_id: str) -> Any:
        """``POST /jobs/{id}/stop``: savepoint, then end; answers with the request's id, for :meth:`savepoint`.

        :param request_id: 32 hex digits of the caller's choice: sent again with the same id, it is one request.
        """
        body: dict[str, Any] = {"drain": drain, "triggerId": request_id}
        if target_directory:
            body["targetDirectory"] = target_directory
        return self._call("POST", f"/jobs/{segment(job_id)}/stop", lambda answer: str(answer["request-id"]), json=body)

    def savepoint(self, job_id: str, request_id: str) -> Any:
        """``GET /jobs/{id}/savepoints/{request}``: where the savepoint lies; None while it is being written.

        :raises FlinkSavepointError: it failed.
        """
        path = f"/jobs/{segment(job_id)}/savepoints/{segment(request_id)}"
        return self._call("GET", path, lambda answer: savepoint_path(job_id, answer))


def api_error(method: str, url: str, status: int, body: str, reason: str) -> FlinkApiError:
    """The error that an answer of 400 or above stands for."""
    message = f"{method} {url} answered {status}: {_error_text(body, reason)}"
    if status in (401, 403):
        return FlinkApiError(
            f"{message}. Check login and password of the Flink connection, or the API key of its Hopsworks connection.",
            status,
        )
    if "DuplicateApplicationSubmission" in body or "DuplicateJobSubmission" in body:
        return FlinkDuplicateJobId(message, status)
    # A proxy's 404 says nothing about the job: it may be the whole cluster that is gone. Flink itself answers 500 where
    # only the status of a job is asked for.
    unknown = status == 404 or (status == 500 and "FlinkJobNotFoundException" in body)
    if unknown and "/jobs/" in url and "savepoints" not in url and _is_flinks(body):
        return FlinkJobNotFound(message, 404)
    return FlinkApiError(message, status)


def understood(read: Callable[[Any], Any], answer: Any, method: str, url: str, status: int) -> Any:
    """What ``read`` makes of an answer.

    :raises FlinkApiError: the answer is JSON, but not Flink's.
    """
    try:
        return read(answer)
    except (KeyError, TypeError, AttributeError):
        raise not_json(method, url, status, json.dumps(answer)) from None


def not_json(method: str, url: str, status: int, body: str) -> FlinkApiError:
    """The error of an answer that is not Flink's."""
    return FlinkApiError(
        f"{method} {url} answered {status} with something that is not Flink's JSON ({body[:120]!r}): "
        "is this the address of Flink's REST API?",
        status,
    )


def certificate_error(base_url: str, reason: str) -> FlinkConnectionError:
    """The error of a server whose certificate is not accepted."""
    return FlinkConnectionError(
        f"The certificate of Flink at {base_url} is not accepted: {reason}. Name the CA "
        "certificate in the connection's extra (ca_path) or, for a test only, set verify_tls to false."
    )


def savepoint_path(job_id: str, answer: Mapping[str, Any]) -> str | None:
    """Where a savepoint lies, out of ``GET /jobs/{id}/savepoints/{request}``; None while it is being written.

    :raises FlinkSavepointError: it failed.
    """
    if answer["status"]["id"] != "COMPLETED":
        return None
    operation = answer.get("operation") or {}
    if operation.get("location"):
        return str(operation["location"])
    cause = (operation.get("failure-cause") or {}).get("stack-trace") or "Flink gave no cause"
    raise FlinkSavepointError(f"The savepoint of job {job_id} failed: {innermost_cause(cause)}")


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed in a moment: no answer came, or the JobManager restarts."""
    if isinstance(error, FlinkApiError):
        return error.status_code in UNAVAILABLE or error.status_code == 500
    return isinstance(error, FlinkConnectionError)


def effective_verify(verify: bool | str) -> bool | str:
    """How to verify a server's certificate: as the connection says, else with the CA bundle of the environment.

    :raises ConfigurationError: the CA file is not there.
    """
    if verify is True:
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    if isinstance(verify, str) and not Path(verify).exists():
        raise ConfigurationError(f"The CA certificate {verify!r} of the Flink connection (ca_path) is not there.")
    return verify


def _job(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The details of a job, if they are some."""
    _ = answer["name"], answer["state"]
    return answer


def _is_flinks(body: str) -> bool:
    try:
        return "errors" in json.loads(body)
    except (ValueError, TypeError):
        return False


def _error_text(body: str, reason: str) -> str:
    try:
        errors = json.loads(body).get("errors") or []
    except (ValueError, AttributeError):
        return body.strip()[:300] or reason
    return innermost_cause("\n".join(str(error) for error in errors)) or reason
