from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from devstack.config import DevstackConfig
from devstack.hopsworks.api.app import create_app
from devstack.hopsworks.home.layout import Layout
from devstack.hopsworks.home.setup import initialise, read_api_key


class MemoryBroker:
    """Topic names without a broker: the one part of the server that these tests leave out.

    What a real broker does is tested in tests/integration/test_sdk_contract.py.
    """

    def __init__(self) -> None:
        self.topics: dict[str, tuple[int, int]] = {}

    def topic_names(self) -> set[str]:
        return set(self.topics)

    def create_topic(self, name: str, partitions: int, replicas: int) -> bool:
        return self.topics.setdefault(name, (partitions, replicas)) == (partitions, replicas)

    def delete_topic(self, name: str) -> None:
        self.topics.pop(name, None)


@pytest.fixture(scope="session")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with keys and certificates; making them takes a moment, so they are made once."""
    home = tmp_path_factory.mktemp("hopsworks") / "home"
    initialise(DevstackConfig(home=home))
    return home


@pytest.fixture
def config(tmp_path: Path, first_start: Path) -> DevstackConfig:
    shutil.copytree(first_start, tmp_path / "home")
    return DevstackConfig(home=tmp_path / "home")


@pytest.fixture
def layout(config: DevstackConfig) -> Layout:
    return Layout(config)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def app(config: DevstackConfig, broker: MemoryBroker) -> Any:
    app = create_app(config)
    app.state.context.registry.broker = broker
    return app


@pytest.fixture
def anonymous(app: Any) -> Iterator[TestClient]:
    with TestClient(app, base_url="https://testserver/hopsworks-api/api", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(anonymous: TestClient, config: DevstackConfig) -> TestClient:
    anonymous.headers["Authorization"] = f"ApiKey {read_api_key(config)}"
    return anonymous


FS = "project/119/featurestores/67"
GROUPS = f"{FS}/featuregroups"


@pytest.fixture
def cards() -> dict[str, Any]:
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
