"""Who may look: a browser that came with the API key, or with a link that was made on this machine.

It gets a cookie, signed with the API key and good for twelve hours: a restart of the server ends no session, another
key ends all of them. The cookie tells nothing and opens pages only; the API takes the key alone.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from itsdangerous import BadSignature, TimestampSigner
from starlette.concurrency import run_in_threadpool
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from devstack.config import DevstackConfig
from devstack.hopsworks.api.routes.context import ContextDep
from devstack.hopsworks.home.log import get_logger
from devstack.hopsworks.home.loginlinks import redeem
from devstack.hopsworks.home.setup import read_api_key
from devstack.hopsworks.site.rendering import render

SESSION_SECONDS = 12 * 3600
LOGIN, STATIC = "/login", "/static/"
MOST_FORM_BYTES = 8192
_CONTENT = b"browser"
router = APIRouter()
log = get_logger("site")


class Sessions:
    """Signs and reads the cookies of one server."""

    def __init__(self, config: DevstackConfig) -> None:
        self.api_key = read_api_key(config)
        # Browsers keep cookies by host name only: a second stack of this machine must not overwrite this one's.
        self.cookie = f"__Host-hopsworks-{config.hopsworks_port}"
        self._signer = TimestampSigner(self.api_key, salt="devstack.hopsworks.site", digest_method=hashlib.sha256)

    def accepts(self, key: str) -> bool:
        return hmac.compare_digest(key.strip().encode("utf-8", "replace"), self.api_key.encode())

    def knows(self, cookies: str) -> bool:
        """Whether a ``Cookie`` header holds a session that has not expired."""
        try:
            return self._signer.unsign(cookie_parser(cookies).get(self.cookie, ""), SESSION_SECONDS) == _CONTENT
        except BadSignature:
            return False

    def begin(self, response: Response) -> None:
        value = self._signer.sign(_CONTENT).decode()
        # Not "strict": the browser comes from Airflow's pages, and must be known here.
        response.set_cookie(
            self.cookie, value, max_age=SESSION_SECONDS, path="/", secure=True, httponly=True, samesite="lax"
        )

    def end(self, response: Response) -> None:
        response.delete_cookie(self.cookie, path="/", secure=True, httponly=True, samesite="lax")


class LoginMiddleware:
    """Sends a browser without a session to the login page, whatever it asks for; it comes back from there."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self.app = app
        self.sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and scope["path"] != LOGIN and not scope["path"].startswith(STATIC):
            cookies = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
            if not self.sessions.knows(cookies.decode("latin-1")):
                wanted = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
                app = see_login(wanted.decode("ascii", "replace") if scope["method"] == "GET" else "/")
        await app(scope, receive, send)


def see_login(wanted: str) -> RedirectResponse:
    return RedirectResponse(f"{LOGIN}?{urlencode({'next': wanted})}" if wanted != "/" else LOGIN, 303)


def local_path(wanted: str) -> str:
    """``wanted`` if it is an address of this server; else the first page: a link must not lead elsewhere."""
    plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    if not plain or not wanted.startswith("/") or wanted.startswith("//"):
        return "/"
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc or parts.path == LOGIN else wanted


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


SessionsDep = Annotated[Sessions, Depends(_sessions)]


@router.get(LOGIN)
def ask(request: Request, context: ContextDep, sessions: SessionsDep, link: str = "", next: str = "/") -> Response:
    """The form; or, with a link, the page that was wanted."""
    wanted = local_path(next)
    if not link:
        return _form(request, wanted)
    # Used up in any case, for it is in the browser's history and the server's log now. Whoever is in needs none.
    if redeem(context.layout, link):
        log.info("a browser has logged in with a link")
    elif not sessions.knows(request.headers.get("cookie", "")):
        log.warning("a login link was refused: unknown, used, or too old")
        problem = "This link has been used already, or is older than an hour. Ask for another one, or use the key."
        return _form(request, wanted, problem)
    response = RedirectResponse(wanted, 303)
    sessions.begin(response)
    return response


@router.post(LOGIN)
async def log_in(request: Request, sessions: SessionsDep) -> Response:
    fields = await _fields(request)
    wanted = local_path(fields.get("next", "/"))
    if not sessions.accepts(fields.get("api_key", "")):
        log.warning("a login was refused: not the API key")
        problem = "This is not the API key of this server."
        return await run_in_threadpool(_form, request, wanted, problem)
    log.info("a browser has logged in with the API key")
    response = RedirectResponse(wanted, 303)
    sessions.begin(response)
    return response


@router.post("/logout")
def log_out(sessions: SessionsDep) -> Response:
    response = RedirectResponse(LOGIN, 303)
    sessions.end(response)
    return response


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form; none of one that is longer than a login can be."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _form(request: Request, wanted: str, problem: str = "") -> Response:
    return render(request, "login.html", 401 if problem else 200, wanted=wanted, problem=problem)
