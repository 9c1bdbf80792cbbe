"""An Airflow connection of type ``hopsworks``, read and checked. Pure: takes any object with its attributes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hopsworks_flink.clients.addresses import flag, plain_url
from hopsworks_flink.exceptions import ConfigurationError

# It travels in a header, and an error about a header would quote it.
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class HopsworksConnection:
    """Address and credentials of one project.

    :param hostname_verification: whether to check the server's certificate and name.
    :param trust_store_path: PEM file with the CA's certificate; None: the CAs that Python knows.
    """

    host: str
    port: int
    project: str
    api_key: str = field(repr=False)
    hostname_verification: bool = True
    trust_store_path: str | None = None

    @property
    def url(self) -> str:
        """Address of the server, without a slash at the end."""
        return f"https://{self.host}" if self.port == 443 else f"https://{self.host}:{self.port}"

    @property
    def verify(self) -> bool | str:
        """Whether to check the server's certificate, or the PEM file of the CA to check it with."""
        return self.hostname_verification and (self.trust_store_path or True)

    @classmethod
    def from_airflow(
        cls, connection: Any, environment: Mapping[str, str], extra: dict[str, Any] | None = None
    ) -> HopsworksConnection:
        """Read Airflow's connection.

        :param environment: ``HOPSWORKS_API_KEY`` is taken from here if the connection has no password.
        :param extra: its extra, where that was read asynchronously (Airflow's property blocks); None: read it here.
        :raises ConfigurationError: a field is missing or wrong; the text names it.
        """
        where = f"connection {connection.conn_id!r}"
        extra = connection.extra_dejson if extra is None else extra
        host, port = _address(connection, where)
        api_key = (connection.password or environment.get("HOPSWORKS_API_KEY") or "").strip()
        if not api_key:
            raise ConfigurationError(f"{where}: the API key is missing; put it into the password.")
        if not _HEADER_TEXT.fullmatch(api_key):
            raise ConfigurationError(
                f"{where}: the API key (password) holds blanks or other characters that no key has; copy it again."
            )
        return cls(
            host=host,
            port=port,
            project=_text(extra, "project", where, "the name of the Hopsworks project"),
            api_key=api_key,
            hostname_verification=flag(extra, "hostname_verification", True, where),
            trust_store_path=_text(extra, "trust_store_path", where, None) or None,
        )


def _address(connection: Any, where: str) -> tuple[str, int]:
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        raise ConfigurationError(f"{where}: host is empty; give the name of the Hopsworks server.")
    parts = plain_url(host if "://" in host else f"https://{host}", f"{where}: host")
    if parts.scheme != "https":
        raise ConfigurationError(f"{where}: host {host!r} must be a name or an https URL; Hopsworks speaks only https.")
    # The form sends port 0 for an empty field.
    port = parts.port or connection.port or 443
    if not 0 < port < 65536:
        raise ConfigurationError(f"{where}: port {port} must be between 1 and 65535.")
    return str(parts.hostname), port


def _text(extra: dict[str, Any], key: str, where: str, required: str | None) -> str:
    value = extra.get(key) or ""
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}: extra {key!r} is {value!r}, expected a text.")
    if required and not value:
        raise ConfigurationError(f"{where}: extra {key!r} is missing; give {required}.")
    return value
