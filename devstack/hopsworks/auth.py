"""API keys: ``Authorization: ApiKey <16 characters>.<64 characters>``, checked before anything else."""

from __future__ import annotations

import hmac
import json
import secrets
import string

from starlette.types import ASGIApp, Receive, Scope, Send

from devstack.hopsworks.errors import API_KEY_INVALID, API_KEY_UNKNOWN, NO_AUTHENTICATION, HopsworksError

OPEN_PATHS = frozenset({"/hopsworks-api/api/variables/versions"})
PREFIX_LENGTH, SECRET_LENGTH = 16, 64
_ALPHABET = string.ascii_letters + string.digits


def generate_api_key() -> str:
    """A new random key in Hopsworks' format."""
    draw = lambda n: "".join(secrets.choice(_ALPHABET) for _ in range(n))  # noqa: E731
    return f"{draw(PREFIX_LENGTH)}.{draw(SECRET_LENGTH)}"


def check_authorization(header: str | None, expected_key: str) -> HopsworksError | None:
    """The refusal that this ``Authorization`` header earns, or None when it is the right key."""
    scheme, _, key = (header or "").partition(" ")
    if scheme.lower() != "apikey" or not key.strip():
        return NO_AUTHENTICATION("Send the header `Authorization: ApiKey <key>`.")
    key = key.strip()
    if hmac.compare_digest(key.encode(), expected_key.encode()):
        return None
    prefix, dot, _ = key.partition(".")
    known_prefix = hmac.compare_digest(prefix.encode(), expected_key.partition(".")[0].encode())
    if not dot or len(prefix) != PREFIX_LENGTH or known_prefix:
        return API_KEY_INVALID()
    return API_KEY_UNKNOWN()


class ApiKeyMiddleware:
    """Refuses every request without the key; unknown paths included, so that nothing is told to strangers."""

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
