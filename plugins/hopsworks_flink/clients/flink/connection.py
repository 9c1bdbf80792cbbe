"""An Airflow connection of type ``flink``, read and checked. Pure: takes any object with a connection's attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hopsworks_flink.clients.addresses import flag, service_url
from hopsworks_flink.exceptions import ConfigurationError

#: User and password for HTTP basic authentication, or a function that signs a request (requests' and httpx').
Auth = tuple[str, str] | Callable[[Any], Any]


@dataclass(frozen=True)
class FlinkConnection:
    """Where a Flink cluster is and what it needs.

    :param url: REST address without a slash at the end; of a cluster that Hopsworks manages it is known only when
        Hopsworks was asked.
    :param auth: how requests are authenticated, if at all.
    :param verify: whether to check the server's certificate, or the PEM file of the CA to check it with.
    :param python_executable: Python of the *cluster* that has PyFlink; None: Flink's own default.
    :param web_ui_url: address of Flink's web UI for people, where it differs from ``url``.
    :param jars_dir: folder on the *worker* with flink-python and the connectors.
    :param connectors_on_cluster: the cluster's ``lib`` has the connectors; jobs bring none along.
    :param hopsworks_conn_id: Airflow connection of the Hopsworks project that manages the cluster.
    :param hopsworks_job: name of the Flink cluster's job there; None: the only one that runs.
    """

    url: str
    auth: Auth | None = field(default=None, repr=False)
    verify: bool | str = True
    python_executable: str | None = None
    web_ui_url: str | None = None
    jars_dir: str | None = None
    connectors_on_cluster: bool = False
    hopsworks_conn_id: str | None = None
    hopsworks_job: str | None = None

    def __repr__(self) -> str:
        return f"FlinkConnection(url={self.url!r})"

    @classmethod
    def from_airflow(cls, connection: Any, extra: dict[str, Any] | None = None) -> FlinkConnection:
        """Read Airflow's connection.

        :param extra: its extra, where that was read asynchronously (Airflow's property blocks); None: read it here.
        :raises ConfigurationError: a field is missing or wrong; the text names it.
        """
        extra = connection.extra_dejson if extra is None else extra
        where = f"connection {connection.conn_id!r}"
        web_ui_url = _text(extra, "web_ui_url", where)
        ca_path = _text(extra, "ca_path", where)
        verify = flag(extra, "verify_tls", True, where)
        hopsworks_conn_id = _text(extra, "hopsworks_conn_id", where)
        if hopsworks_conn_id:
            _refuse_own_address(connection, where)
        return cls(
            url=""
            if hopsworks_conn_id
            else service_url(connection, where, "the URL of Flink's REST API, e.g. http://jobmanager:8081"),
            hopsworks_conn_id=hopsworks_conn_id,
            hopsworks_job=_text(extra, "hopsworks_job", where),
            auth=(connection.login, connection.password or "") if connection.login else None,
            verify=ca_path if verify and ca_path else verify,
            python_executable=_text(extra, "python_executable", where),
            web_ui_url=web_ui_url.rstrip("/") if web_ui_url else None,
            jars_dir=_text(extra, "jars_dir", where),
            connectors_on_cluster=flag(extra, "connectors_on_cluster", False, where),
        )


def missing_connection(conn_id: str) -> ConfigurationError:
    """The error of an Airflow connection that does not exist."""
    return ConfigurationError(
        f"There is no Airflow connection {conn_id!r}. Create one of type 'flink' whose host is the URL of Flink's REST "
        "API."
    )


def _refuse_own_address(connection: Any, where: str) -> None:
    if (connection.host or "").strip() or connection.login:
        raise ConfigurationError(
            f"{where}: with hopsworks_conn_id in the extra, address and API key come from that connection; leave host "
            "and login empty."
        )


def _text(extra: dict[str, Any], key: str, where: str) -> str | None:
    value = extra.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{where}: extra {key!r} is {value!r}, expected a text.")
    return value or None
