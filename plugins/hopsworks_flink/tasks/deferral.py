"""Whether a task can wait in the triggerer: a deferred task of an Airflow without one waits for ever."""

from __future__ import annotations

import logging
import os
from typing import Any

from hopsworks_flink._compat import conf
from hopsworks_flink.hooks import platform_task
from hopsworks_flink.tasks.arguments import as_bool

log = logging.getLogger(__name__)
_SECONDS = 3.0


def may_defer(operator: Any) -> bool:
    """Whether the operator's ``deferrable`` says so, and a triggerer can go on; a warning if it cannot."""
    if not as_bool(operator.deferrable, "deferrable"):
        return False
    if platform_task.project_id(os.environ.get("AIRFLOW_CTX_DAG_ID", "")) is not None:
        log.warning(
            "This task waits on its worker and holds a slot there: it is one of the Airflow inside Hopsworks, and the "
            "triggerer has neither its credential nor its project. Set [operators] default_deferrable = False."
        )
        return False
    alive, what = triggerer()
    if alive is False:
        log.warning(
            "This task waits on its worker and holds a slot there: %s. Start one (airflow triggerer), or set "
            "[operators] default_deferrable = False.",
            what,
        )
    return alive is not False


def triggerer() -> tuple[bool | None, str]:
    """Whether a triggerer is alive, and how that is known; None: Airflow does not tell.

    Airflow's API server tells it everybody (``/api/v2/monitor/health``); a worker knows the server's address.
    """
    import httpx

    execution_api = conf.get("core", "execution_api_server_url", fallback="") or ""
    server = execution_api.rstrip("/").removesuffix("/execution") or conf.get("api", "base_url", fallback="") or ""
    # What Airflow itself takes for an empty or relative one.
    server = (f"http://localhost:8080{server}" if not server or server.startswith("/") else server).rstrip("/")
    try:
        answer = httpx.get(f"{server}/api/v2/monitor/health", timeout=_SECONDS)
        found: Any = answer.json()["triggerer"]
        status, seen = found["status"], found.get("latest_triggerer_heartbeat")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"{server} does not tell the health of Airflow ({error or type(error).__name__})"
    if status == "healthy":
        return True, f"a triggerer is alive (last heartbeat {seen})"
    return False, f"no triggerer is alive (last heartbeat {seen or 'never'})"
