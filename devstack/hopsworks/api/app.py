"""The REST API as a FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import BaseRoute

from devstack.config import DevstackConfig
from devstack.hopsworks.api.auth import ApiKeyMiddleware
from devstack.hopsworks.api.errorhandlers import install_error_handlers
from devstack.hopsworks.api.inputs import NullByteMiddleware, check_json
from devstack.hopsworks.api.routes import (
    connectors,
    datasets,
    featuregroups,
    flinkmaster,
    groupdetails,
    jobs,
    kafka,
    platform,
    quality,
    query,
)
from devstack.hopsworks.api.routes.context import build_context
from devstack.hopsworks.home.setup import read_api_key

ROOT = "/hopsworks-api"
API = f"{ROOT}/api"


def create_api(config: DevstackConfig) -> FastAPI:
    """The API for an initialised home; opens the databases, touches no network."""
    context = build_context(config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        context.executor.adopt()
        yield
        context.executor.shutdown()

    app = FastAPI(title="Local Hopsworks", lifespan=lifespan, openapi_url=None, routes=_routes())
    app.state.context = context
    # The last one added is the first to see a request.
    app.add_middleware(NullByteMiddleware)
    app.add_middleware(ApiKeyMiddleware, api_key=read_api_key(config))
    install_error_handlers(app)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Built once: routes take time to build and hold no state of a server."""
    api = APIRouter(prefix=API, dependencies=[Depends(check_json)])
    # `query` before `featuregroups`: both have a route .../featurestores/{one segment}.
    for module in (platform, query, featuregroups, groupdetails, quality, connectors, jobs, datasets):
        api.include_router(module.router)
    for prefix in ("/project/{project_id}", "/project/{project_id}/featurestores/{feature_store_id}"):
        api.include_router(kafka.router, prefix=f"{prefix}/kafka")
    return [*api.routes, *flinkmaster.router.routes]
