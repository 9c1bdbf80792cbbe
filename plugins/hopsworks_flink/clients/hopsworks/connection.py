"""An Airflow connection of type ``hopsworks``, read and checked. Pure: takes any object with its attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hopsworks_flink.clients.addresses import flag, plain_url
from hopsworks_flink.exceptions import ConfigurationError

# It travels in a header, and an error about a header would quote it.
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class HopsworksConnection:
    """Address and credentials of one project.

    :param project: its name; empty: not known yet.
    :param api_key: empty if there is a ``token``.
    :param hostname_verification: whether to check the server's certificate and name.
    :param trust_store_path: PEM file with the CA's certificate; None: the CAs that Python knows.
    :param token: gives a token of the project that is valid now, instead of an API key.
    """

    host: str
    port: int
    project: str
    api_key: str = field(repr=False)
    hostname_verification: bool = True
    trust_store_path: str | None = None
    token: Callable[[], str] | None = field(default=None, repr=False, compare=False)

    @property
    def url(self) -> str:
        """Address of the server, without a slash at the end."""
        return f"https://{self.host}" if self.port == 443 else f"https://{self.host}:{self.port}"

    @property
    def verify(self) -> bool | str:
        """Whether to check the server's certificate, or the PEM file of the CA to check it with."""
        return self.hostname_verification and (self.trust_store_path or True)

    def authorize(self, request: Any) -> Any:
        """Sign a request of httpx or requests; both take this as their ``auth``."""
        request.headers["Authorization"] = f"Bearer {self.token()}" if self.token else f"ApiKey {self.api_key}"
        return request

    def with_key(self, key: str | None, where: str) -> HopsworksConnection:
        """The same with an API key.

        :param where: the key comes from, for an error's text, which does not hold the key.
        :raises ConfigurationError: it is empty, or no key.
        """
        key = (key or "").strip()
        if not key:
            raise ConfigurationError(f"{where}: the API key is missing; put it into the password.")
        if not _HEADER_TEXT.fullmatch(key):
            raise ConfigurationError(
                f"{where}: the API key (password) holds blanks or other characters that no key has; copy it again."
            )
        return replace(self, api_key=key)

    @classmethod
    def from_airflow(
        cls, connection: Any, environment: Mapping[str, str], extra: dict[str, Any] | None = None
    ) -> HopsworksConnection:
        """Read Airflow's connection.

        :param connection: None: everything comes from the environment.
        :param environment: ``HOPSWORKS_API_KEY`` is taken from here if the connection has no password, and what
            :meth:`without_key` takes.
        :param extra: its extra, where that was read asynchronously (Airflow's property blocks); None: read it here.
        :raises ConfigurationError: a field is missing or wrong; the text names it.
        """
        settings = cls.without_key(connection, environment, extra)
        where = _where(connection)
        password = None if connection is None else connection.password
        settings = settings.with_key(password or environment.get("HOPSWORKS_API_KEY"), where)
        if not settings.project:
            raise ConfigurationError(f"{where}: extra 'project' is missing; give the name of the Hopsworks project.")
        return settings

    @classmethod
    def without_key(
        cls, connection: Any, environment: Mapping[str, str], extra: dict[str, Any] | None = None
    ) -> HopsworksConnection:
        """What Airflow's connection says besides the API key.

        :param connection: None: everything comes from the environment.
        :param environment: an address and a project that the connection does not name are taken from here, under the
            names that the SDK's login reads: ``HOPSWORKS_HOST``, ``_PORT``, ``_PROJECT``, or ``REST_ENDPOINT``, which
            programs inside Hopsworks are given; without a connection also ``HOPSWORKS_TRUST_STORE_PATH`` and
            ``_HOSTNAME_VERIFICATION``: how strictly a connection is checked, it says itself.
        :raises ConfigurationError: a field is missing or wrong; the text names it.
        """
        where = _where(connection)
        given = connection.extra_dejson if connection is not None and extra is None else extra or {}
        keys = ("project", "hostname_verification", "trust_store_path") if connection is None else ("project",)
        named = {key: environment.get(f"HOPSWORKS_{key.upper()}") for key in keys}
        filled = {**{key: value for key, value in named.items() if value}, **given}
        host, port = _address(connection, environment, where)
        return cls(
            host=host,
            port=port,
            project=_text(filled, "project", where),
            api_key="",
            hostname_verification=flag(filled, "hostname_verification", True, where),
            trust_store_path=_text(filled, "trust_store_path", where) or None,
        )


def _where(connection: Any) -> str:
    return "the environment (HOPSWORKS_…)" if connection is None else f"connection {connection.conn_id!r}"


def names_address(environment: Mapping[str, str]) -> bool:
    """Whether the environment says where Hopsworks is, so that no connection is needed."""
    return bool(environment.get("HOPSWORKS_HOST") or environment.get("REST_ENDPOINT"))


def _address(connection: Any, environment: Mapping[str, str], where: str) -> tuple[str, int]:
    host = (getattr(connection, "host", None) or "").strip().rstrip("/")
    if host:
        return _checked(host, connection.port, where)
    host = (environment.get("HOPSWORKS_HOST") or environment.get("REST_ENDPOINT") or "").strip().rstrip("/")
    if not host:
        raise ConfigurationError(f"{where}: host is empty; give the name of the Hopsworks server.")
    port = environment.get("HOPSWORKS_PORT") or "0"
    return _checked(host, int(port) if port.isdecimal() else -1, where)


def _checked(host: str, given_port: int | None, where: str) -> tuple[str, int]:
    parts = plain_url(host if "://" in host else f"https://{host}", f"{where}: host")
    if parts.scheme != "https":
        raise ConfigurationError(f"{where}: host {host!r} must be a name or an https URL; Hopsworks speaks only https.")
    # The form sends port 0 for an empty field.
    port = parts.port or given_port or 443
    if not 0 < port < 65536:
        raise ConfigurationError(f"{where}: port {port} must be between 1 and 65535.")
    name = str(parts.hostname)
    return f"[{name}]" if ":" in name else name, port


def _text(extra: dict[str, Any], key: str, where: str) -> str:
    value = extra.get(key) or ""
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}: extra {key!r} is {value!r}, expected a text.")
    return value
