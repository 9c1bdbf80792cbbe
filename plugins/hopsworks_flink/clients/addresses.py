"""What users write into connections, checked: names that become part of an address, hosts, flags. Pure."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from hopsworks_flink.exceptions import ConfigurationError

# Letters of any language: they become an internationalised name. In brackets an IPv6 address.
_HOST = re.compile(r"[\w.\-]+|[0-9A-Fa-f:.]+")
_PATH = re.compile(r"[A-Za-z0-9._~/%\-]*")


def segment(name: str) -> str:
    """A name as one segment of a URL's path.

    :raises ConfigurationError: no address can hold it.
    """
    if name in ("", ".", ".."):
        raise ConfigurationError(f"{name!r} cannot be the name or id of anything.")
    return quote(name, safe="")


def plain_url(text: str, what: str) -> SplitResult:
    """The parts of an http or https URL that is nothing but scheme, host, port and path.

    :param what: names the value in an error: "connection 'x': host".
    :raises ConfigurationError: it is none, or has user, password, query or fragment in it.
    """
    try:
        parts = urlsplit(text)
        port_is_right = parts.port is None or 0 < parts.port < 65536
    except ValueError as error:
        raise ConfigurationError(f"{what} {text!r} is not a URL: {error}.") from error
    host, path = parts.hostname or "", parts.path
    dots = {".", ".."} & set(path.split("/"))
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or not port_is_right:
        raise ConfigurationError(f"{what} {text!r} must be an http or https URL with the name or address of a host.")
    if "@" in parts.netloc or parts.query or parts.fragment or dots or not _PATH.fullmatch(path):
        raise ConfigurationError(
            f"{what} {text!r} must be an http or https URL without user and password, query or fragment in it."
        )
    return parts


def service_url(connection: Any, where: str, wanted: str) -> str:
    """The address of a service that speaks http or https, from a connection's host, port and schema.

    :param where: names the connection in an error.
    :param wanted: what the host should be, with an example, for an error.
    :return: without a slash at the end.
    :raises ConfigurationError: host or port is missing or wrong.
    """
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        raise ConfigurationError(f"{where}: host is empty; give {wanted}.")
    if "://" not in host:
        host = f"{connection.schema or 'http'}://{host}"
    parts = plain_url(host, f"{where}: host")
    # The form sends port 0 for an empty field.
    if connection.port and parts.port is None:
        parts = parts._replace(netloc=f"{parts.netloc}:{connection.port}")
    return plain_url(parts.geturl().rstrip("/"), f"{where}: host and port").geturl()


def flag(extra: dict[str, Any], key: str, default: bool, where: str) -> bool:
    """A boolean out of a connection's extra, written as JSON boolean or as the word.

    :raises ConfigurationError: it is neither.
    """
    value = extra.get(key)
    if value is None or value == "":
        return default
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ConfigurationError(f"{where}: extra {key!r} is {value!r}, expected true or false.")
    return value
