"""A small client of Flink's REST API: one method per call, errors as our own, retries only where they are safe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from hopsworks_flink.clients.addresses import segment
from hopsworks_flink.clients.flink.connection import Auth
from hopsworks_flink.clients.flink.http import (
    CONNECT_SECONDS,
    READ_SECONDS,
    UNAVAILABLE,
    api_error,
    certificate_error,
    effective_verify,
    not_json,
    reason_of,
    savepoint_path,
)
from hopsworks_flink.exceptions import FlinkApiError, FlinkConnectionError

#: Starting a Python job takes a few seconds; on a busy JobManager a good deal more.
RUN_SECONDS = 300.0
_UPLOAD_SECONDS = 300.0
_LOG_TAIL_BYTES = 512 * 1024


class FlinkRestClient:
    """Speaks to one JobManager (or to a proxy in front of it).

    :param base_url: e.g. ``http://jobmanager:8081``; a path is kept.
    :param auth: user and password for HTTP basic authentication, or what signs each request.
    :param verify: False, True, or the path of a PEM file with the CA certificate.
    :raises ConfigurationError: that file is not there.
    """

    #: Seconds before the second repetition of a read, doubled with each further one; the first comes at once.
    pause_seconds = 0.3

    def __init__(self, base_url: str, *, auth: Auth | None = None, verify: bool | str = True) -> None:
        self.base_url = base_url.rstrip("/")
        self._session = requests.Session()
        self._session.auth = auth
        self._verify = effective_verify(verify)
        # Only GET is repeated blindly. A JobManager that restarts answers 503, one behind a proxy 502 or 504.
        retry = Retry(
            total=4,
            backoff_factor=self.pause_seconds,
            status_forcelist=sorted(UNAVAILABLE),
            allowed_methods=frozenset({"GET"}),
            raise_on_status=False,
            respect_retry_after_header=True,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # --- cluster ---------------------------------------------------------------------------------------------------

    def overview(self) -> dict[str, Any]:
        """``GET /overview``: slots, task managers, jobs by state, version."""
        return self._json("GET", "/overview")

    def config(self) -> dict[str, Any]:
        """``GET /config``: version and features of the cluster."""
        return self._json("GET", "/config")

    def log_since(self, marker: str) -> str:
        """What the JobManager logged from the last line with ``marker`` on, at most half a MiB.

        Empty if it has no log to show (one that logs to the console only) or the marker is not in it: the log is a
        help for an error that is being reported, never a reason for another one.
        """
        try:
            with self._send("GET", "/jobmanager/log", stream=True) as response:
                tail = b""
                for chunk in response.iter_content(256 * 1024):
                    tail = (tail + chunk)[-_LOG_TAIL_BYTES:]
        except (FlinkApiError, FlinkConnectionError, requests.RequestException):
            return ""
        text = tail.decode("utf-8", errors="replace")
        position = text.rfind(marker)
        return "" if position < 0 else text[text.rfind("\n", 0, position) + 1 :]

    # --- jars ------------------------------------------------------------------------------------------------------

    def jars(self) -> list[dict[str, Any]]:
        """``GET /jars``: uploaded files with ``id``, ``name`` and ``uploaded`` (epoch milliseconds)."""
        return list(self._json("GET", "/jars").get("files", ()))

    def upload_jar(self, name: str, content: bytes) -> str:
        """Upload one file.

        :return: its absolute path on the JobManager; the last part is the jar's id.
        """
        files = {"jarfile": (name, content, "application/x-java-archive")}
        return str(self._json("POST", "/jars/upload", files=files, timeout=_UPLOAD_SECONDS)["filename"])

    def delete_jar(self, jar_id: str) -> None:
        """``DELETE /jars/{id}``."""
        self._json("DELETE", f"/jars/{segment(jar_id)}")

    def run_jar(self, jar_id: str, request: Mapping[str, Any]) -> str:
        """``POST /jars/{id}/run``, sent once.

        :return: the job's id.
        :raises FlinkDuplicateJobId: Flink has seen ``jobId`` before.
        """
        return str(self._json("POST", f"/jars/{segment(jar_id)}/run", json=dict(request), timeout=RUN_SECONDS)["jobid"])

    # --- jobs ------------------------------------------------------------------------------------------------------

    def jobs(self) -> list[dict[str, Any]]:
        """``GET /jobs/overview``: all jobs that the cluster remembers, with ``jid``, ``name``, ``state``, times."""
        return list(self._json("GET", "/jobs/overview").get("jobs", ()))

    def job(self, job_id: str) -> dict[str, Any]:
        """``GET /jobs/{id}``.

        :raises FlinkJobNotFound: Flink does not know the id.
        """
        return self._json("GET", f"/jobs/{segment(job_id)}")

    def job_config(self, job_id: str) -> dict[str, Any]:
        """``GET /jobs/{id}/config``."""
        return self._json("GET", f"/jobs/{segment(job_id)}/config")

    def checkpoints(self, job_id: str) -> dict[str, Any]:
        """``GET /jobs/{id}/checkpoints``."""
        return self._json("GET", f"/jobs/{segment(job_id)}/checkpoints")

    def checkpoint_config(self, job_id: str) -> dict[str, Any]:
        """``GET /jobs/{id}/checkpoints/config``."""
        return self._json("GET", f"/jobs/{segment(job_id)}/checkpoints/config")

    def watermarks(self, job_id: str, vertex_id: str) -> list[dict[str, Any]]:
        """``GET /jobs/{id}/vertices/{vertex}/watermarks``: ``id`` and ``value`` of each subtask that tells."""
        return list(self._json("GET", f"/jobs/{segment(job_id)}/vertices/{segment(vertex_id)}/watermarks"))

    def exceptions(self, job_id: str) -> dict[str, Any]:
        """``GET /jobs/{id}/exceptions``."""
        return self._json("GET", f"/jobs/{segment(job_id)}/exceptions")

    def job_metrics(self, job_id: str, names: Sequence[str]) -> dict[str, str]:
        """``GET /jobs/{id}/metrics``: name -> value, those that exist already."""
        answer = self._json("GET", f"/jobs/{segment(job_id)}/metrics", params={"get": ",".join(names)})
        return {entry["id"]: entry["value"] for entry in answer}

    def vertex_metrics(self, job_id: str, vertex_id: str, endings: Sequence[str]) -> dict[str, float]:
        """``GET /jobs/{id}/vertices/{vertex}/subtasks/metrics``: ending -> sum over operators and subtasks.

        :param endings: last parts of metrics' names, such as ``pendingRecords``; one that no operator has is left out.
        """
        path = f"/jobs/{segment(job_id)}/vertices/{segment(vertex_id)}/subtasks/metrics"
        of = {entry["id"]: entry["id"].rpartition(".")[2] for entry in self._json("GET", path)}
        wanted = [name for name, ending in of.items() if ending in endings]
        sums: dict[str, float] = {}
        if wanted:
            for entry in self._json("GET", path, params={"get": ",".join(wanted), "agg": "sum"}):
                sums[of[entry["id"]]] = sums.get(of[entry["id"]], 0.0) + float(entry["sum"])
        return sums

    def cancel(self, job_id: str) -> None:
        """``PATCH /jobs/{id}?mode=cancel``: asks for the end, does not wait for it."""
        self._json("PATCH", f"/jobs/{segment(job_id)}", params={"mode": "cancel"})

    def stop(self, job_id: str, *, drain: bool, target_directory: str | None, request_id: str) -> str:
        """``POST /jobs/{id}/stop``: savepoint, then end.

        :param request_id: 32 hex digits of the caller's choice: sent again with the same id, it is one request.
        :return: id of the request, for :meth:`savepoint`.
        """
        body: dict[str, Any] = {"drain": drain, "triggerId": request_id}
        if target_directory:
            body["targetDirectory"] = target_directory
        return str(self._json("POST", f"/jobs/{segment(job_id)}/stop", json=body)["request-id"])

    def savepoint(self, job_id: str, request_id: str) -> str | None:
        """``GET /jobs/{id}/savepoints/{request}``.

        :return: where the savepoint lies; None while it is being written.
        :raises FlinkSavepointError: it failed.
        """
        return savepoint_path(job_id, self._json("GET", f"/jobs/{segment(job_id)}/savepoints/{segment(request_id)}"))

    # --- transport -------------------------------------------------------------------------------------------------

    def _json(self, method: str, path: str, **kwargs: Any) -> Any:
        with self._send(method, path, **kwargs) as response:
            if not response.content:
                return {}
            try:
                return response.json()
            except requests.exceptions.ConnectionError as error:
                raise FlinkConnectionError(
                    f"Flink at {self.base_url} broke off its answer: {_reason(error)}."
                ) from error
            except ValueError:
                raise not_json(method, self.base_url + path, response.status_code, response.text) from None

    @contextmanager
    def _send(
        self, method: str, path: str, *, timeout: float = READ_SECONDS, **kwargs: Any
    ) -> Iterator[requests.Response]:
        try:
            # Named with each request: a CA bundle in the environment would win over the session's own setting.
            response = self._session.request(
                method, self.base_url + path, timeout=(CONNECT_SECONDS, timeout), verify=self._verify, **kwargs
            )
        except requests.exceptions.SSLError as error:
            raise certificate_error(self.base_url, _reason(error)) from error
        except requests.exceptions.RequestException as error:
            raise FlinkConnectionError(f"Flink at {self.base_url} cannot be reached: {_reason(error)}.") from error
        with response:
            if response.status_code >= 400:
                raise api_error(method, self.base_url + path, response.status_code, response.text, response.reason)
            yield response


def _reason(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, requests.exceptions.Timeout) else reason_of(error)
