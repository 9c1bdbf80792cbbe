"""TLS of the HTTP clients, and what their errors say. Shared by the clients of Flink and of Hopsworks."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any

from hopsworks_flink.exceptions import ConfigurationError


@lru_cache(maxsize=8)
def tls_context(verify: bool | str, field: str) -> ssl.SSLContext:
    """The TLS settings for a connection; made once, because reading the CA certificates takes a while.

    :param verify: False: accept any certificate; True: as the well-known CAs vouch for; else the path of a PEM file, or
        of a folder, with CA certificates.
    :param field: of the connection that names that path; for the error.
    :raises ConfigurationError: the path cannot be read or holds no certificate.
    """
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if verify is True:
        import certifi

        verify = certifi.where()
    try:
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"The CA certificate {verify!r} ({field}) cannot be read: {error}.") from error


def reason_of(error: BaseException) -> str:
    """The operating system's or TLS library's own words, without the layers of exceptions around them."""
    inner: Any = error
    for _ in range(20):
        following = getattr(inner, "reason", None) or inner.__cause__ or inner.__context__
        if not isinstance(following, BaseException):
            following = next((arg for arg in getattr(inner, "args", ()) if isinstance(arg, BaseException)), None)
        if following is None:
            break
        inner = following
    return str(getattr(inner, "strerror", None) or inner) or type(inner).__name__
