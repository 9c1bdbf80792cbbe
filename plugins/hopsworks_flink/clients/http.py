"""What the HTTP clients of Flink and Hopsworks share: authentication, TLS settings, and why a connection failed."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from hopsworks_flink.exceptions import ConfigurationError

#: User and password for HTTP basic authentication, or a function that signs a request (requests' and httpx').
Auth = tuple[str, str] | Callable[[Any], Any]

_CA_REMEDY = "Correct the path in the connection's extra: ca_path for Flink, trust_store_path for Hopsworks."


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


def effective_verify(verify: bool | str) -> bool | str:
    """What to check a server's certificate with: the connection's CA file, else the environment's CA bundle.

    :param verify: whether to check, or the PEM file (or folder) of the CA.
    :raises ConfigurationError: the CA file does not exist.
    """
    if verify is True:
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    if isinstance(verify, str) and not Path(verify).exists():
        raise ConfigurationError(f"The CA certificate {verify!r} cannot be read: it does not exist. {_CA_REMEDY}")
    return verify


@lru_cache(maxsize=8)
def tls_context(verify: bool | str) -> ssl.SSLContext:
    """The TLS settings for a connection; cached, because reading the CA certificates takes a while.

    :param verify: as for :func:`effective_verify`.
    :raises ConfigurationError: the CA file does not exist or holds no certificate.
    """
    chosen = effective_verify(verify)
    if chosen is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if chosen is True:
        import certifi

        return ssl.create_default_context(cafile=certifi.where())
    path = str(chosen)
    try:
        folder = Path(path).is_dir()
        return ssl.create_default_context(capath=path) if folder else ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"The CA certificate {path!r} cannot be read: {error}. {_CA_REMEDY}") from error


def reason_of(error: BaseException) -> str:
    """The message of the innermost cause: the operating system's or the TLS library's own words."""
    inner: Any = error
    for _ in range(10):
        following = getattr(inner, "reason", None) or inner.__cause__ or inner.__context__
        if not isinstance(following, BaseException):
            following = next((arg for arg in getattr(inner, "args", ()) if isinstance(arg, BaseException)), None)
        if following is None:
            break
        inner = following
    return str(getattr(inner, "strerror", None) or inner) or type(inner).__name__
