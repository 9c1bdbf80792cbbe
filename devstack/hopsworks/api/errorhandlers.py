"""Errors as HTTP responses. The errors themselves are elsewhere: processes without a web framework raise them too."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from devstack.hopsworks.home.errors import (
    ILLEGAL_ARGUMENT,
    INTERNAL_ERROR,
    NO_AUTHENTICATION,
    UNKNOWN_ROUTE,
    HopsworksError,
    SchemaRegistryError,
)
from devstack.hopsworks.home.log import get_logger

log = get_logger("errors")


def _respond(error: HopsworksError) -> JSONResponse:
    headers = {"WWW-Authenticate": "ApiKey"} if error.code == NO_AUTHENTICATION.code else None
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of ``app``, FastAPI's own included, in Hopsworks' JSON shape."""

    @app.exception_handler(HopsworksError)
    def _hopsworks(_: Request, error: HopsworksError) -> JSONResponse:
        return _respond(error)

    @app.exception_handler(SchemaRegistryError)
    def _registry(_: Request, error: SchemaRegistryError) -> JSONResponse:
        return JSONResponse({"error_code": error.code, "message": error.message}, status_code=error.status)

    @app.exception_handler(RequestValidationError)
    def _validation(_: Request, error: RequestValidationError) -> JSONResponse:
        # Without the value, which may be long or a secret.
        details = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return _respond(ILLEGAL_ARGUMENT(details))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        detail = f"{request.method} {request.url.path}: {error.detail}. This server has no such route."
        return _respond(HopsworksError(error.status_code, UNKNOWN_ROUTE.code, UNKNOWN_ROUTE.message, detail))

    @app.exception_handler(Exception)
    def _unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _respond(INTERNAL_ERROR(f"{type(error).__name__}; see the log of the server."))
