"""The server: FastAPI application and how it is run."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import uvicorn
from confluent_kafka import KafkaException
from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import BaseRoute

from devstack.config import DevstackConfig
from devstack.hopsworks.api.auth import ApiKeyMiddleware
from devstack.hopsworks.api.errorhandlers import install_error_handlers
from devstack.hopsworks.api.inputs import NullByteMiddleware, check_json
from devstack.hopsworks.api.protocol import BoundedProtocol
from devstack.hopsworks.api.queryservice import QueryService
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
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.home.log import configure_logging, get_logger
from devstack.hopsworks.home.setup import initialise, read_api_key
from devstack.kafka.access import ensure_scram_user

API = "/hopsworks-api/api"
_BROKER_WAIT_SECONDS = 15.0
_BROKER_RETRY_SECONDS = 5.0
log = get_logger("server")


def create_app(config: DevstackConfig) -> FastAPI:
    """The application for an initialised home; opens the databases, touches no network."""
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


def _register_user(config: DevstackConfig) -> None:
    """Register the project's user at the broker; a slow broker does not hold up the server's start."""

    def register() -> None:
        while True:
            try:
                return ensure_scram_user(config)
            except KafkaException as error:
                log.warning("the project's user is not registered at the broker yet: %s", error.args[0].str())
            time.sleep(_BROKER_RETRY_SECONDS)

    thread = threading.Thread(target=register, name="register-user", daemon=True)
    thread.start()
    thread.join(_BROKER_WAIT_SECONDS)


def serve(config: DevstackConfig) -> None:
    """Serve https on the configured port until a signal ends it."""
    initialise(config)
    configure_logging()
    certs = Layout(config).certs
    _register_user(config)
    log.info("project %r at %s", config.project, config.hopsworks_url)
    app = create_app(config)
    service = QueryService(config, app.state.context.groups)
    app.state.context.offline_queries = True
    uvicorn.run(
        app,
        host=config.bind_host,
        port=config.hopsworks_port,
        ssl_certfile=certs / "server.pem",
        ssl_keyfile=str(certs / "server.key"),
        log_config=None,
        http=BoundedProtocol,
        timeout_graceful_shutdown=5,
        # Longer than any client's poll interval: a connection must not close just as the next request is sent.
        timeout_keep_alive=75,
    )
    service.shutdown()
