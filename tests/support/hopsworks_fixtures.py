"""The local Hopsworks server: in this process, or on a socket behind an Airflow connection; never with a broker.

What the fixtures need is imported when one is used: most tests use none.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fixtures import set_connection

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from devstack.config import DevstackConfig
    from devstack.hopsworks.home.layout import Layout
    from tests.support.hopsworks_server import LocalHopsworks, MemoryBroker

FS = "project/119/featurestores/67"
GROUPS = f"{FS}/featuregroups"


@pytest.fixture(scope="session")
def hopsworks_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates; making them takes a moment, so they are made once."""
    from devstack.config import DevstackConfig
    from devstack.hopsworks.home.setup import initialise

    home = tmp_path_factory.mktemp("local-hopsworks") / "home"
    initialise(DevstackConfig(home=home))
    return home


# --- on a socket -----------------------------------------------------------------------------------------------------


@pytest.fixture
def asleep(tmp_path: Path, hopsworks_home: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHopsworks:
    """A server that does not listen yet."""
    from devstack.config import DevstackConfig
    from tests.support.hopsworks_server import LocalHopsworks, free_port

    shutil.copytree(hopsworks_home, tmp_path / "hopsworks-home")
    server = LocalHopsworks(DevstackConfig(home=tmp_path / "hopsworks-home", hopsworks_port=free_port()))
    set_connection(monkeypatch, "hopsworks_default", **server.connection())
    return server


@pytest.fixture
def hopsworks(asleep: LocalHopsworks) -> Iterator[LocalHopsworks]:
    """A server that listens."""
    with asleep.serve():
        yield asleep


# --- in this process -------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, hopsworks_home: Path) -> DevstackConfig:
    from devstack.config import DevstackConfig

    shutil.copytree(hopsworks_home, tmp_path / "home")
    return DevstackConfig(home=tmp_path / "home")


@pytest.fixture
def layout(config: DevstackConfig) -> Layout:
    from devstack.hopsworks.home.layout import Layout

    return Layout(config)


@pytest.fixture
def broker() -> MemoryBroker:
    from tests.support.hopsworks_server import MemoryBroker

    return MemoryBroker()


@pytest.fixture
def app(config: DevstackConfig, broker: MemoryBroker) -> Any:
    from devstack.hopsworks.server import create_app

    app = create_app(config)
    app.state.context.registry.broker = broker
    return app


@pytest.fixture
def anonymous(app: Any) -> Iterator[TestClient]:
    from fastapi.testclient import TestClient

    with TestClient(app, base_url="https://testserver/hopsworks-api/api", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(anonymous: TestClient, config: DevstackConfig) -> TestClient:
    from devstack.hopsworks.home.setup import read_api_key

    anonymous.headers["Authorization"] = f"ApiKey {read_api_key(config)}"
    return anonymous


@pytest.fixture
def cards() -> dict[str, Any]:
    return cards_body()


def cards_body() -> dict[str, Any]:
    """Body of a POST that makes a feature group."""
    return {
        "name": "cards",
        "version": 1,
        "type": "streamFeatureGroupDTO",
        "onlineEnabled": True,
        "timeTravelFormat": "HUDI",
        "eventTime": "ts",
        "features": [
            {"name": "cc_num", "type": "bigint", "primary": True},
            {"name": "ts", "type": "timestamp"},
            {"name": "city", "type": "string"},
            {"name": "amounts", "type": "array<double>"},
        ],
    }
