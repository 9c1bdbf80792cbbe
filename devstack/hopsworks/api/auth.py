"""API keys: ``Authorization: ApiKey <16 characters>.<64 characters>``, checked before anything else."""

from __future__ import annotations

import hmac
import json

from starlette.types import ASGIApp, Receive, Scope, Send

from devstack.hopsworks.home.errors import API_KEY_INVALID, API_KEY_UNKNOWN, NO_AUTHENTICATION, HopsworksError
from devstack.hopsworks.home.setup import KEY_LENGTHS

OPEN_PATHS = frozenset({"/hopsworks-api/api/variables/versions"})


def check_authorization(header: str | None, expected_key: str) -> HopsworksError | None:
    """The error for this ``Authorization`` header, or None when the key is right."""
    scheme, _, key = (header or "").partition(" ")
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
