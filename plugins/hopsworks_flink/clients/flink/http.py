"""How Flink's REST API says that something went wrong; shared by the blocking and the asynchronous client. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hopsworks_flink.clients.flink.jobs import ObservedJob
from hopsworks_flink.exceptions import (
    FlinkApiError,
    FlinkConnectionError,
    FlinkDuplicateJobId,
    FlinkError,
    FlinkJobNotFound,
    FlinkSavepointError,
)
from hopsworks_flink.health.gate import innermost_cause

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
#: What a JobManager that restarts answers, or a proxy in front of one that is away.
UNAVAILABLE = frozenset({429, 502, 503, 504})


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
    # A proxy's 404 says nothing about the job: it may be the whole cluster that is gone.
    if status == 404 and "/jobs/" in url and "savepoints" not in url and _is_flinks(body):
        return FlinkJobNotFound(message, status)
    return FlinkApiError(message, status)


def not_json(method: str, url: str, status: int, body: str) -> FlinkApiError:
    """The error of an answer that Flink cannot have given."""
    return FlinkApiError(
        f"{method} {url} answered {status} with something that is not JSON ({body[:120]!r}): "
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


def is_transient(error: FlinkError) -> bool:
    """Whether the same question may well be answered in a moment: nobody answered, or the JobManager restarts."""
    if isinstance(error, FlinkApiError):
        return error.status_code in UNAVAILABLE or error.status_code == 500
    return isinstance(error, FlinkConnectionError)


def observed_job(entry: Mapping[str, Any]) -> ObservedJob:
    """One entry of ``GET /jobs/overview``; it does not tell the hash."""
    return ObservedJob(entry["jid"], entry["name"], entry["state"], entry["start-time"], entry.get("end-time") or -1)


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
