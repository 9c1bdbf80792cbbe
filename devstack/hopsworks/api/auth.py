"""Who asks: ``Authorization: ApiKey <16 characters>.<64 characters>``, or ``Bearer`` and a token of the project.

Checked before anything else. A token of the project is given for one of a task of Airflow, which Airflow's scheduler
has signed with a key whose public half lies in the server's home.
"""

from __future__ import annotations

import hmac
import json
import time
from pathlib import Path

import jwt
from starlette.types import ASGIApp, Receive, Scope, Send

from devstack.hopsworks.home.errors import API_KEY_INVALID, API_KEY_UNKNOWN, NO_AUTHENTICATION, HopsworksError
from devstack.hopsworks.home.setup import KEY_LENGTHS

EXCHANGE = "/auth/airflow-task-exchange/exchange"
OPEN_PATHS = frozenset({"/hopsworks-api/api/variables/versions", f"/hopsworks-api/api{EXCHANGE}"})
TOKEN_SECONDS = 900
# As Airflow's scheduler signs the tokens of tasks (its setting [execution_api] jwt_audience).
_TASKS, _PROJECT = "urn:airflow.apache.org:task", "project"


def exchange(header: str | None, public_key: Path, api_key: str) -> str:
    """A token of the project for the ``Authorization`` header with a task's.

    :raises HopsworksError: it is not the token of a task of this platform's Airflow, or has ended.
    """
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not public_key.is_file():
        raise NO_AUTHENTICATION("Send the header `Authorization: Bearer <token of the task>`.")
    try:
        key = public_key.read_text()
        task = jwt.decode(token, key, algorithms=["RS256"], audience=_TASKS, options={"require": ["sub", "exp"]})
    except jwt.InvalidTokenError as error:
        raise NO_AUTHENTICATION(f"The task's token is not accepted: {error}") from None
    ends = int(time.time()) + TOKEN_SECONDS
    return jwt.encode({"sub": task["sub"], "aud": _PROJECT, "exp": ends}, api_key, algorithm="HS256")


def check_authorization(header: str | None, expected_key: str) -> HopsworksError | None:
    """The error for this ``Authorization`` header, or None when the key, or the project's token, is right."""
    scheme, _, key = (header or "").partition(" ")
    if scheme.lower() == "bearer":
        try:
            jwt.decode(key, expected_key, algorithms=["HS256"], audience=_PROJECT)
        except jwt.InvalidTokenError as error:
            return NO_AUTHENTICATION(f"The token is not accepted: {error}")
        return None
    if scheme.lower() != "apikey" or not key.strip():
        return NO_AUTHENTICATION("Send the header `Authorization: ApiKey <key>`.")
    key = key.strip()
    if hmac.compare_digest(key.encode(), expected_key.encode()):
        return None
    prefix, dot, _ = key.partition(".")
    known_prefix = hmac.compare_digest(prefix.encode(), expected_key.partition(".")[0].encode())
    if not dot or len(prefix) != KEY_LENGTHS[0] or known_prefix:
        return API_KEY_INVALID()
    return API_KEY_UNKNOWN()


class ApiKeyMiddleware:
    """Refuses every request without the key, unknown paths included: nothing is revealed without it."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self.app = app
        self.api_key = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        raw = dict(scope["headers"]).get(b"authorization")
        refusal = check_authorization(raw.decode("latin-1") if raw else None, self.api_key)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json")]
        if refusal.code == NO_AUTHENTICATION.code:
            headers.append((b"www-authenticate", b"ApiKey"))
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(refusal.body()).encode()})
