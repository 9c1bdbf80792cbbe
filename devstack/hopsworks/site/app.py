"""The site as an application of its own beside the API: its routes, its error pages, the headers of every answer."""

from __future__ import annotations

from functools import cache

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from devstack.hopsworks.api.inputs import NullByteMiddleware
from devstack.hopsworks.api.routes.context import Context
from devstack.hopsworks.home.errors import HopsworksError, SchemaRegistryError
from devstack.hopsworks.home.log import get_logger
from devstack.hopsworks.site import groups, jobs, kafka, login, overview
from devstack.hopsworks.site.rendering import FOLDER, PROJECT, render

# No scripts, nothing from elsewhere, in no other page's frame.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # What was seen stays on no disk, and the button "back" shows nothing after a logout.
    "Cache-Control": "no-store",
}
log = get_logger("site")


def create_site(context: Context) -> ASGIApp:
    """The application for the parts of a server; it only reads from them."""
    site = FastAPI(title="Local Hopsworks", openapi_url=None, routes=_routes())
    site.state.context = context
    site.state.sessions = sessions = login.Sessions(context.config)
    # The last one added is the first to see a request.
    site.add_middleware(login.LoginMiddleware, sessions=sessions)
    site.add_middleware(NullByteMiddleware)
    _install_error_pages(site)
    # Not added to it: that would be inside of what answers an unexpected failure.
    return HeadersMiddleware(site)


@cache
def _routes() -> list[BaseRoute]:
    pages = APIRouter()
    for module in (login, overview, groups, kafka, jobs):
        pages.include_router(module.router)
    pages.add_api_route("/", lambda: RedirectResponse(PROJECT, 303), include_in_schema=False)
    return [*pages.routes, Mount(login.STATIC.rstrip("/"), StaticFiles(directory=FOLDER / "static"))]


class HeadersMiddleware:
    """Gives every answer the same headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class BesideApi:
    """Leads requests for anything but the API to the site. The API's own addresses never come here."""

    def __init__(self, app: ASGIApp, site: ASGIApp, api_root: str) -> None:
        self.app = app
        self.site = site
        self.api_root = api_root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        api = scope["type"] != "http" or scope["path"] == self.api_root or scope["path"].startswith(f"{self.api_root}/")
        await (self.app if api else self.site)(scope, receive, send)


def _install_error_pages(site: FastAPI) -> None:
    def page(request: Request, status: int, title: str, detail: str | None = None) -> Response:
        return render(request, "error.html", status, status=status, title=title, detail=detail)

    @site.exception_handler(HopsworksError)
    def _hopsworks(request: Request, error: HopsworksError) -> Response:
        return page(request, error.status, error.message, error.detail)

    @site.exception_handler(SchemaRegistryError)
    def _registry(request: Request, error: SchemaRegistryError) -> Response:
        return page(request, error.status, error.message)

    @site.exception_handler(RequestValidationError)
    def _validation(request: Request, error: RequestValidationError) -> Response:
        details = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return page(request, 422, "This address has a part that cannot be.", details)

    @site.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return page(request, 404, "There is no such page.", "The site shows what the API knows; see the menu.")
        return page(request, error.status_code, str(error.detail), "These pages are for reading only.")

    @site.exception_handler(Exception)
    def _unexpected(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return page(request, 500, "The page could not be made.", f"{type(error).__name__}; see the log of the server.")
