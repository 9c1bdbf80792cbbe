"""Translates the Hopsworks SDK's errors into errors of this package."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import Any

from hopsworks_flink.clients.hopsworks.connection import HopsworksConnection
from hopsworks_flink.clients.tls import reason_of
from hopsworks_flink.exceptions import (
    HopsworksConnectionError,
    HopsworksError,
    HopsworksLoginError,
    HopsworksNotFoundError,
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the SDK, whose prints, progress bars and warnings are of no use in a task's log."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Translate the SDK's REST errors into this package's.

    :param what: infinitive for the message: "Could not <what>: …".
    """
    import requests
    from hopsworks.client.exceptions import RestAPIError

    try:
        yield
    except RestAPIError as error:
        status = error.response.status_code
        text = error.user_message or _message(error)
        message = f"Could not {what}: Hopsworks answered {status} ({error.error_code or 'no code'}): {text}"
        if status in (401, 403):
            raise HopsworksLoginError(message) from error
        if status == 404:
            raise HopsworksNotFoundError(message) from error
        raise HopsworksError(message) from error
    except requests.exceptions.RequestException as error:
        raise HopsworksConnectionError(f"Could not {what}: Hopsworks cannot be reached ({error}).") from error


def _message(error: Any) -> str:
    try:
        body = error.response.json()
        return str(body.get("errorMsg") or body.get("message") or body)
    except (ValueError, AttributeError):
        return str(error.response.reason)


@contextlib.contextmanager
def translated_login(settings: HopsworksConnection) -> Iterator[None]:
    """Translate the errors of a login: the SDK reports a wrong API key as a project that it cannot find."""
    import requests
    from hopsworks.client.exceptions import HopsworksSSLClientError, ProjectException, RestAPIError

    at = f"Hopsworks at {settings.url}"
    try:
        yield
    except HopsworksError:
        raise
    except (ProjectException, RestAPIError) as error:
        inner = error if isinstance(error, RestAPIError) else error.__cause__
        raise _login_error(at, settings.project, inner) from error
    except (HopsworksSSLClientError, requests.exceptions.SSLError) as error:
        raise HopsworksLoginError(
            f"{at}: its certificate is not accepted. Name the CA's certificate as trust_store_path in the connection's "
            "extra (hostname_verification=false switches the check off, for tests only)."
        ) from error
    except (requests.exceptions.JSONDecodeError, ValueError, AttributeError, KeyError) as error:
        raise HopsworksConnectionError(
            f"{at} does not answer like a Hopsworks server ({type(error).__name__}: {error}): check host and port."
        ) from error
    except (requests.exceptions.RequestException, OSError) as error:
        if settings.trust_store_path and not os.path.isfile(settings.trust_store_path):
            raise HopsworksLoginError(
                f"The CA certificate {settings.trust_store_path!r} (trust_store_path) is not there on this worker."
            ) from error
        raise HopsworksConnectionError(f"{at} cannot be reached: {reason_of(error)}.") from error


def _login_error(at: str, project: str, error: Any) -> HopsworksError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return HopsworksLoginError(f"{at} refused the API key (the password of the connection).")
    if status == 403:
        return HopsworksLoginError(f"{at}: the API key may not read project {project!r}; give it the missing scopes.")
    if getattr(error, "error_code", None) == 150004:
        return HopsworksLoginError(f"{at} has no project {project!r} that this API key may see (extra 'project').")
    return HopsworksConnectionError(f"{at}: the login failed (HTTP {status}): {error}")
