"""Tasks in the Airflow that Hopsworks ships: which project they belong to, and how they authenticate.

The order is that of the platform's own hook (user guide "Airflow 3 in Hopsworks", section on API keys): the task's
token is exchanged for the project's; then the DAG's Airflow Variable; then connection and environment, as everywhere.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import conf, mask_secret
from hopsworks_flink.clients.tls import tls_context
from hopsworks_flink.exceptions import (
    ConfigurationError,
    HopsworksConnectionError,
    HopsworksError,
    HopsworksLoginError,
)

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.connection import HopsworksConnection

log = logging.getLogger(__name__)

# p_<project slug>_<project id>__<name>; a slug has no two underscores in a row.
_PLATFORM_DAG = re.compile(r"p_(?:(?!__).)+_(\d+)__.+")
_SETTING = "task_token"
#: Where tokens are exchanged, by the same guide.
EXCHANGE = "/hopsworks-api/api/auth/airflow-task-exchange/exchange"
_SECONDS = 10.0
# A token that ends so soon is renewed before it is used; one without a word about its end lasts as long.
_MARGIN, _UNKNOWN = 30.0, 60.0


def project_id(dag_id: str) -> int | None:
    """The number of the project that a DAG of the platform belongs to; None for any other DAG."""
    match = _PLATFORM_DAG.fullmatch(dag_id)
    return int(match[1]) if match else None


def key_variable(dag_id: str) -> str:
    """The Airflow Variable in which the platform keeps a DAG's API key."""
    return f"hopsworks_api_key_{hashlib.sha256(dag_id.encode()).hexdigest()[:16]}"


def authenticated(settings: HopsworksConnection, dag_id: str) -> HopsworksConnection | None:
    """The connection with the credential that the platform has for a task of a DAG; None if it has none.

    :raises ConfigurationError: the Variable holds no key, or the setting ``task_token`` is wrong.
    """
    if project_id(dag_id) is None:
        return None
    if function := _task_token():
        token = ProjectToken(settings, function)
        try:
            token()
        except HopsworksError as error:
            log.warning("%s Trying the DAG's API key.", error)
        else:
            return replace(settings, token=token)
    from airflow.sdk import Variable

    name = key_variable(dag_id)
    key: Any = Variable.get(name, default=None)
    return settings.with_key(str(key), f"Airflow Variable {name}") if key else None


def _task_token() -> Callable[[], str] | None:
    """The function that the setting names. Airflow keeps a task's token from the task; a platform may give it."""
    path = conf.get("hopsworks_flink", _SETTING, fallback="")
    if not path:
        return None
    module, _, name = path.rpartition(".")
    try:
        function: Callable[[], str] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"[hopsworks_flink] {_SETTING} = {path}: there is no such function ({error})."
        ) from None
    return function


class ProjectToken:
    """Gives a token that is valid now: exchanged when it is first needed, and again before it ends.

    The guide names the route, not its bodies. Assumed is what the platform's neighbouring route does: the task's token
    as ``Authorization: Bearer``, and ``access_token`` and ``expires_in`` (seconds) in the answer.

    :param settings: address of Hopsworks.
    :param task_token: gives the running task's token.
    """

    def __init__(self, settings: HopsworksConnection, task_token: Callable[[], str]) -> None:
        self._settings, self._task_token = settings, task_token
        self._token, self._renewed_at = "", 0.0

    def __call__(self) -> str:
        """The token.

        :raises HopsworksLoginError: Hopsworks refuses the task's token.
        :raises HopsworksConnectionError: it cannot be asked.
        """
        if time.monotonic() >= self._renewed_at:
            answer = self._exchange()
            self._token = answer["access_token"]
            mask_secret(self._token)
            self._renewed_at = time.monotonic() + float(answer.get("expires_in") or _UNKNOWN) - _MARGIN
        return self._token

    def _exchange(self) -> dict[str, Any]:
        import httpx

        token, url = self._task_token(), self._settings.url
        mask_secret(token)
        try:
            answer = httpx.post(
                f"{url}{EXCHANGE}",
                headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
                verify=tls_context(self._settings.verify, "trust_store_path"),
                timeout=_SECONDS,
            )
        except httpx.TransportError as error:
            raise HopsworksConnectionError(f"Hopsworks at {url} cannot be asked for a token: {error}.") from error
        if not answer.is_success:
            raise HopsworksLoginError(f"Hopsworks at {url} gives no token for the task's: HTTP {answer.status_code}.")
        try:
            found = answer.json()
            assert isinstance(found["access_token"], str)
        except (ValueError, KeyError, TypeError, AssertionError):
            raise HopsworksLoginError(f"Hopsworks at {url} answers the exchange of a token without one.") from None
        return dict(found)
