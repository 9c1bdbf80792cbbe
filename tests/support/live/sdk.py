"""The unmodified SDK, logged in to the local Hopsworks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from devstack.stack import Stack


@pytest.fixture(scope="module")
def login(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    import hopsworks

    def login(**changes: Any) -> Any:
        arguments = {
            "host": stack.config.host("hopsworks"),
            "port": stack.config.hopsworks_port,
            "project": stack.config.project,
            "api_key_value": stack.api_key,
            "engine": "python",
            "hostname_verification": True,
            "trust_store_path": str(stack.config.hopsworks_ca),
            "cert_folder": str(tmp_path_factory.mktemp("certificates")),
        }
        return hopsworks.login(**{**arguments, **changes})

    return login


@pytest.fixture(scope="module")
def project(login: Callable[..., Any]) -> Iterator[Any]:
    import hopsworks

    yield login()
    hopsworks.logout()


@pytest.fixture(scope="module")
def fs(project: Any) -> Any:
    return project.get_feature_store()


@pytest.fixture
def name() -> str:
    return f"g_{uuid.uuid4().hex[:12]}"
