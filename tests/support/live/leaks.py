"""Where secrets could turn up, and a look whether they do."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from devstack.airflow_client import AirflowClient
from devstack.config import DevstackConfig, DevstackError
from devstack.kafka.access import client_settings
from devstack.stack import Stack
from tests.support.fixtures import task_context

_SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Marker:
    """A secret, by a text that can stand for nothing else."""

    name: str
    text: str

    def __post_init__(self) -> None:
        assert len(self.text) >= 16

    @classmethod
    def of_key(cls, name: str, file: Path) -> Marker:
        """A line from the middle of a PEM key."""
        lines = file.read_text().splitlines()
        begin = next(number for number, line in enumerate(lines) if "PRIVATE KEY" in line)
        end = next(number for number, line in enumerate(lines) if "END" in line and "PRIVATE KEY" in line)
        return cls(name, lines[(begin + end) // 2])


class Recorder(logging.Handler):
    """What operators show while they run here: logs before Airflow masks them, results, fields, errors; all command
    lines of this machine; and bundles, with who may read them, while they lie on the cluster.

    :param folders: where bundles come and go.
    """

    def __init__(self, *folders: Path) -> None:
        super().__init__(logging.DEBUG)
        self.bundles: dict[str, int] = {}
        self._folders = folders
        self.began = time.time()
        self.results: list[Any] = []
        self._lines: list[str] = []
        self._commands: set[str] = set()
        self._stopped = threading.Event()

    def __enter__(self) -> Recorder:
        root = logging.getLogger()
        self._level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        threading.Thread(target=self._watch_commands, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        logging.getLogger().removeHandler(self)
        logging.getLogger().setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line as it is."""
        self._lines.append(self.format(record))

    def run(self, operator: Any) -> Any:
        """Execute an operator; what Airflow would store or show of it is kept, its error too."""
        context = task_context()
        fields = {name: getattr(operator, name) for name in operator.template_fields}
        try:
            self.results.append(result := operator.execute(context))
            return result
        except Exception as error:
            self._lines.append("".join(traceback.format_exception(error)))
            raise
        finally:
            after = {name: getattr(operator, name) for name in operator.template_fields}
            self.results += [fields, after, context["ti"].pushed]

    def found(self, markers: Iterable[Marker]) -> list[str]:
        """Names of the secrets that were shown, and where."""
        places = {
            "log or error": "\n".join(self._lines),
            "result, XCom or rendered field": json.dumps(self.results, default=str),
            "command line": "\n".join(self._commands),
        }
        assert all(len(text) > 500 for text in places.values())
        return [
            f"{marker.name}: {place}" for marker in markers for place, text in places.items() if marker.text in text
        ]

    def _watch_commands(self) -> None:
        while not self._stopped.wait(_SAMPLE_SECONDS):
            for process in psutil.process_iter(["cmdline"]):
                self._commands.add(" ".join(process.info["cmdline"] or []))
            self._look_for_bundles()

    def _look_for_bundles(self) -> None:
        for folder in self._folders:
            # Files and folders vanish while one looks.
            with contextlib.suppress(OSError):
                for file in folder.rglob("*"):
                    shared = any(f"_{name}-" in file.name for name in ("flink", "hopsworks-flink-java", "zstd"))
                    if file.name == "bindings.json" or (file.suffix == ".jar" and not shared):
                        self.bundles[file.name] = self.bundles.get(file.name, 0) | file.stat().st_mode & 0o777


@contextlib.contextmanager
def planted_in_airflow(airflow: AirflowClient, stack: Stack) -> Iterator[list[Marker]]:
    """A Flink connection with a password, Kafka connections with passwords and a key, and a variable, as a user of
    Airflow makes them. Only the connections of the stack are left afterwards."""
    scram, ssl = client_settings(stack.config, "SASL_SSL"), client_settings(stack.config, "SSL")
    flink = Marker("Flink password", "marker-of-the-flink-connection-5512")
    wrong = Marker("wrong SCRAM password", "marker-wrong-password-77")
    variable = Marker("variable", "marker-of-the-variable-3391")
    files = {
        "ssl.certificate.pem": Path(ssl.pop("ssl.certificate.location")),
        "ssl.key.pem": Path(ssl.pop("ssl.key.location")),
    }
    kafka = {
        "case_kafka_scram": scram,
        "case_kafka_wrong": {**scram, "sasl.password": wrong.text},
        "case_kafka_keys": {**ssl, **{key: file.read_text() for key, file in files.items()}},
    }
    markers = [
        Marker("API key", stack.api_key.split(".")[-1]),
        Marker("SCRAM password", scram["sasl.password"]),
        Marker.of_key("client's key", files["ssl.key.pem"]),
        flink,
        wrong,
        variable,
    ]
    patch = {"connection_id": "flink_default", "conn_type": "flink"}
    fields = {"update_mask": ["login", "password"]}
    try:
        for conn_id, extra in kafka.items():
            connection = {"connection_id": conn_id, "conn_type": "kafka", "extra": json.dumps(extra)}
            airflow.call("POST", "/connections", json=connection)
        airflow.call("POST", "/variables", json={"key": "case_secret", "value": variable.text})
        login = {**patch, "login": "airflow", "password": flink.text}
        airflow.call("PATCH", "/connections/flink_default", params=fields, json=login)
        yield markers
    finally:
        nobody = {**patch, "login": None, "password": None}
        airflow.call("PATCH", "/connections/flink_default", params=fields, json=nobody)
        for path in (*(f"/connections/{conn_id}" for conn_id in kafka), "/variables/case_secret"):
            with contextlib.suppress(DevstackError):  # not made, if an earlier call failed
                airflow.call("DELETE", path)


def flink_pages(url: str) -> Iterator[str]:
    """Everything that Flink's REST API tells of its configuration, its jobs and its logs."""
    jobs = requests.get(f"{url}/jobs/overview", timeout=30).json()["jobs"]
    managers = requests.get(f"{url}/taskmanagers", timeout=30).json()["taskmanagers"]
    assert jobs
    pages = ["config", "jars", "jobmanager/config", "jobmanager/environment", "jobmanager/log", "jobmanager/stdout"]
    pages += [f"jobs/{job['jid']}{page}" for job in jobs for page in ("", "/config", "/plan", "/exceptions")]
    pages += [f"taskmanagers/{manager['id']}/{page}" for manager in managers for page in ("log", "stdout")]
    for page in pages:
        yield requests.get(f"{url}/{page}", timeout=60).text


def files_with(markers: Iterable[Marker], folders: Iterable[Path], since: float, kept: set[Path]) -> list[str]:
    """Secrets in files that were written after a moment, and which; ``kept`` is where they belong."""
    wanted = [(marker.name, marker.text.encode()) for marker in markers]
    found = []
    for folder in folders:
        # Unlike a glob it passes over folders that vanish meanwhile.
        for file in (Path(parent) / name for parent, _, names in os.walk(folder) for name in names):
            if kept & {file, *file.parents} or file.is_symlink() or not file.is_file():
                continue
            try:
                content = file.read_bytes() if file.stat().st_mtime >= since else b""
            except OSError:
                # Files of other processes come and go.
                continue
            found += [f"{name}: {file}" for name, text in wanted if text in content]
    return found


def planted(markers: Iterable[Marker], config: DevstackConfig) -> set[str]:
    """Names of the markers that lie where the stack keeps its secrets."""
    files = [path for path in config.certificates.iterdir() if path.is_file()]
    text = "\n".join(file.read_text() for file in [*files, config.hopsworks_api_key_file])
    return {marker.name for marker in markers if marker.text in text}
