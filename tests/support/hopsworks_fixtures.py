"""Fixtures: the local Hopsworks behind an Airflow connection."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.config import DevstackConfig
from devstack.hopsworks.home.setup import initialise
from tests.support.fixtures import set_connection
from tests.support.hopsworks_server import LocalHopsworks, free_port


@pytest.fixture(scope="session")
def hopsworks_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates; making them takes a moment, so they are made once."""
    home = tmp_path_factory.mktemp("local-hopsworks") / "home"
    initialise(DevstackConfig(home=home))
    return home


@pytest.fixture
def asleep(tmp_path: Path, hopsworks_home: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHopsworks:
    """A server that does not listen yet."""
    shutil.copytree(hopsworks_home, tmp_path / "hopsworks-home")
    server = LocalHopsworks(DevstackConfig(home=tmp_path / "hopsworks-home", hopsworks_port=free_port()))
    set_connection(monkeypatch, "hopsworks_default", **server.connection())
    return server


@pytest.fixture
def hopsworks(asleep: LocalHopsworks) -> Iterator[LocalHopsworks]:
    """A server that listens."""
    with asleep.serve():
        yield asleep
