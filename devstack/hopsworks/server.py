"""The server: the API and, at all other addresses, the site; and how both are run."""

from __future__ import annotations

import threading
import time

import uvicorn
from confluent_kafka import KafkaException
from fastapi import FastAPI

from devstack.config import DevstackConfig
from devstack.hopsworks.api.app import ROOT, create_api
from devstack.hopsworks.api.protocol import BoundedProtocol
from devstack.hopsworks.api.queryservice import QueryService
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.home.log import configure_logging, get_logger
from devstack.hopsworks.home.setup import initialise
from devstack.hopsworks.site.app import BesideApi, create_site
from devstack.kafka.access import ensure_scram_user

_BROKER_WAIT_SECONDS = 15.0
_BROKER_RETRY_SECONDS = 5.0
log = get_logger("server")


def create_app(config: DevstackConfig) -> FastAPI:
    """API and site for an initialised home; opens the databases, touches no network."""
    app = create_api(config)
    # Before all checks of the API: the site has its own.
    app.add_middleware(BesideApi, site=create_site(app.state.context), api_root=ROOT)
    return app


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
