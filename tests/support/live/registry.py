"""A real schema registry beside the stack, while tests need it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from devstack.jars import CACHE, fetch, java
from tests.support import REPOSITORY

_POM = REPOSITORY / "tests" / "integration" / "registry" / "pom.xml"
_SECONDS = 90


class Registry:
    """The registry by its API.

    :param url: of the API that Confluent's registry speaks.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def register(self, subject: str, schema: dict[str, Any]) -> int:
        """The id of a schema, which is the subject's newest from now on."""
        answer = requests.post(
            f"{self.url}/subjects/{subject}/versions", json={"schema": json.dumps(schema)}, timeout=10
        )
        answer.raise_for_status()
        return int(answer.json()["id"])


@contextmanager
def schema_registry(port: int, log: Path) -> Iterator[Registry]:
    """A registry that keeps its schemas in memory, on a port of this machine."""
    folder = fetch(_POM, CACHE / "registry")
    (runner,) = folder.glob("*-runner.jar")
    command = [java(), "-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Dquarkus.http.port={port}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-Dquarkus.http.host=127.0.0.1", "-jar", str(runner)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={"PATH": os.environ["PATH"]},
        )
        try:
            registry = Registry(f"http://127.0.0.1:{port}/apis/ccompat/v7")
            _wait(registry, process, log)
            yield registry
        finally:
            process.terminate()
            process.wait(30)


def _wait(registry: Registry, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if requests.get(f"{registry.url}/subjects", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    raise AssertionError(f"the registry did not come up: {log.read_text()[-2000:]}")
