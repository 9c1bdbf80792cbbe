"""Airflow's hook for Hopsworks, on the platform's Python SDK."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from hopsworks_flink._compat import AirflowNotFoundException, BaseHook, mask_secret
from hopsworks_flink.clients.hopsworks.certificates import certificate_folder
from hopsworks_flink.clients.hopsworks.connection import HopsworksConnection, names_address
from hopsworks_flink.clients.hopsworks.errors import translated, translated_login
from hopsworks_flink.clients.hopsworks.rest import HopsworksRest
from hopsworks_flink.exceptions import ConfigurationError, HopsworksError
from hopsworks_flink.hooks import platform_task
from hopsworks_flink.hooks.connection_form import ConnectionForm

if TYPE_CHECKING:
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession

# They override the arguments of the SDK's login; Airflow's connection has to decide.
_OVERRIDING = (
    "HOPSWORKS_HOSTNAME_VERIFICATION",
    "HOPSWORKS_TRUST_STORE_PATH",
    "HOPSWORKS_PORT",
    "HOPSWORKS_CERT_FOLDER",
    "REST_ENDPOINT",
)

# The session of this process, if one is open.
_sessions: list[HopsworksSession] = []


class HopsworksHook(ConnectionForm, BaseHook):
    """Logs in to one Hopsworks project.

    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``: host, port (default 443), password = API key,
        extra ``project``, ``hostname_verification`` (default true) and ``trust_store_path``; default:
        ``hopsworks_default``. What it lacks comes from the environment, see
        :meth:`~hopsworks_flink.clients.hopsworks.connection.HopsworksConnection.without_key`; a task of the Airflow
        inside Hopsworks needs none, see :mod:`~hopsworks_flink.hooks.platform_task`.
    """

    conn_name_attr = "hopsworks_conn_id"
    default_conn_name = "hopsworks_default"
    conn_type = "hopsworks"
    hook_name = "Hopsworks"

    def __init__(self, hopsworks_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.hopsworks_conn_id = hopsworks_conn_id

    @cached_property
    def settings(self) -> HopsworksConnection:
        """The connection, read and checked.

        :raises ConfigurationError: it does not exist or a field of it is wrong.
        """
        try:
            connection = self.get_connection(self.hopsworks_conn_id)
        except AirflowNotFoundException as error:
            if not names_address(os.environ):
                raise ConfigurationError(
                    f"There is no Airflow connection {self.hopsworks_conn_id!r}. Create one of type 'hopsworks' with "
                    "host, API key (password) and project."
                ) from error
            connection = None
        settings = HopsworksConnection.without_key(connection, os.environ)
        # Airflow sets it for each task.
        dag_id = os.environ.get("AIRFLOW_CTX_DAG_ID", "")
        found = platform_task.authenticated(settings, dag_id)
        where = f"connection {self.hopsworks_conn_id!r}"
        key = connection.password if connection is not None else None
        settings = found or settings.with_key(key or os.environ.get("HOPSWORKS_API_KEY"), where)
        if settings.api_key:
            mask_secret(settings.api_key)
        if settings.project:
            return settings
        number = platform_task.project_id(dag_id)
        if number is None:
            raise ConfigurationError(f"{where}: extra 'project' is missing; give the name of the Hopsworks project.")
        with HopsworksRest(settings) as hopsworks:
            return replace(settings, project=hopsworks.project_name(number))

    @contextlib.contextmanager
    def session(self) -> Iterator[HopsworksSession]:
        """Log in, and log out at the end; within a session of the same connection, that session.

        The SDK's login is global to the process.

        :raises HopsworksLoginError: key, project or certificate are wrong.
        :raises HopsworksConnectionError: the server cannot be reached.
        :raises HopsworksError: the process is logged in to another project.
        """
        settings = self.settings
        if _sessions:
            if _sessions[0].settings != settings:
                other = _sessions[0].settings
                raise HopsworksError(
                    f"connection {self.hopsworks_conn_id!r}: this process is logged in to project {other.project!r} at "
                    f"{other.url}, and the SDK allows one login at a time. End that session first."
                )
            yield _sessions[0]
            return
        with self._login(settings) as session:
            _sessions.append(session)
            try:
                yield session
            finally:
                _sessions.clear()

    @contextlib.contextmanager
    def _login(self, settings: HopsworksConnection) -> Iterator[HopsworksSession]:
        import hopsworks

        from hopsworks_flink.clients.hopsworks.session import HopsworksSession

        with certificate_folder() as folder:
            try:
                with (
                    _without(_OVERRIDING),
                    _signing(settings),
                    translated_login(settings),
                    contextlib.redirect_stdout(io.StringIO()),
                ):
                    project = hopsworks.login(
                        host=settings.host,
                        port=settings.port,
                        project=settings.project,
                        api_key_value=settings.api_key or "a token",
                        hostname_verification=settings.hostname_verification,
                        trust_store_path=settings.trust_store_path,
                        cert_folder=folder,
                        engine="python",
                    )
                    with translated("open the feature store"):
                        feature_store = project.get_feature_store()
                yield HopsworksSession(project, feature_store, settings)
            finally:
                hopsworks.logout()

    def get_conn(self) -> contextlib.AbstractContextManager[HopsworksSession]:
        """The same as :meth:`session`."""
        return self.session()

    def test_connection(self) -> tuple[bool, str]:
        """One authenticated request, for Airflow's test button; without the SDK, whose login makes many more."""
        try:
            with HopsworksRest(self.settings) as hopsworks:
                return True, f"Logged in to project {self.settings.project!r} (id {hopsworks.project_id()})"
        except Exception as error:  # whatever it is, the button shows it: Airflow makes nothing useful of an exception
            return False, str(error) or type(error).__name__


@contextlib.contextmanager
def _signing(settings: HopsworksConnection) -> Iterator[None]:
    """Have the SDK's login sign its requests as the connection does: from outside of a cluster it knows only keys."""
    from hopsworks_common.client import auth

    original = auth.ApiKeyAuth
    auth.ApiKeyAuth = lambda _: settings.authorize
    try:
        yield
    finally:
        auth.ApiKeyAuth = original


@contextlib.contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    saved = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(saved)
