"""docker-compose.yaml without a Docker engine: that it is the local stack's own configuration, and valid."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack import airflow, docker, flink, health, kafka
from devstack.config import HOST, PORT_OFFSETS, REPOSITORY, DevstackConfig
from devstack.parts import NAMES, declare, taskmanagers
from devstack.supervision import render

FILE = REPOSITORY / "docker-compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (REPOSITORY / "devstack" / "docker" / "Dockerfile").read_text()
SECOND = "flink-taskmanager-2"


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> DevstackConfig:
    """The configuration as a container has it."""
    for name in list(COMPOSE["x-part"]["environment"]):
        monkeypatch.delenv(name, raising=False)
    for name, value in COMPOSE["x-part"]["environment"].items():
        if value is not None:
            monkeypatch.setenv(name, value)
    return DevstackConfig()


def test_the_file_is_what_the_stack_s_configuration_makes() -> None:
    """`make compose-file` writes it."""
    assert FILE.read_text() == docker.compose_file(DevstackConfig(port_base=27000))


def test_commands_in_a_container_find_the_stack_s_airflow(inside: DevstackConfig) -> None:
    """And with it its connections: `docker compose exec` knows nothing of what the part's own process was given."""
    assert f"ENV AIRFLOW_HOME={inside.airflow_home}\n" in DOCKERFILE


def test_it_is_a_valid_compose_file() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_services_are_the_stack_s_parts_and_the_profiles_add_to_them() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == set(NAMES)
    assert {name: SERVICES[name]["profiles"] for name in set(SERVICES) - set(NAMES)} == {
        SECOND: ["two-taskmanagers"],
        docker.ALONE: [docker.ALONE],
    }
    assert taskmanagers(DevstackConfig(taskmanagers=2))[1:] == [SECOND]
    for name, service in SERVICES.items():
        verb, part, *more = service["command"]
        assert (verb, part) == ("run", name if name in NAMES else name.removesuffix("-2").removesuffix("-alone"))
        assert more == (["--alone"] if name == docker.ALONE else [])
        assert service["healthcheck"]["test"][-2:] == ["devstack.health", part]
        assert part in health.CHECKS


def test_the_image_is_built_once_and_never_pulled() -> None:
    assert COMPOSE["x-part"]["pull_policy"] == "never"
    assert [name for name, service in SERVICES.items() if "build" in service] == ["kafka", docker.ALONE]
    before = set(NAMES) - {"kafka"}
    assert all(SERVICES[name]["image"] == SERVICES["kafka"]["image"] for name in before)


def test_a_moved_port_base_moves_every_port_of_the_file() -> None:
    """So none is written down a second time."""
    text = docker.compose_file(DevstackConfig(port_base=41000), "other")
    assert not re.findall(r"\b27\d{3}\b", text)
    moved = yaml.safe_load(text)
    assert moved["x-part"]["environment"]["DEVSTACK_PORT_BASE"] == "41000"
    assert (moved["name"], moved["x-part"]["image"]) == ("other", "other:local")
    published = [port for service in moved["services"].values() for port in service.get("ports", [])]
    for port in published:
        host, outside, within = port.split(":")
        assert (host, outside) == (HOST, within)
        assert int(within) - 41000 in PORT_OFFSETS.values()
    for number in {str(27000 + offset) for offset in PORT_OFFSETS.values()}:
        assert number not in DOCKERFILE


def test_each_part_is_reached_by_the_name_of_its_service(inside: DevstackConfig) -> None:
    urls = (inside.kafka_bootstrap, inside.kafka_ssl_bootstrap, inside.flink_url, inside.hopsworks_url)
    assert [re.sub(r"^\w+://|:\d+$", "", url) for url in urls] == ["kafka", "kafka", "flink-jobmanager", "hopsworks"]
    assert {"kafka", "flink-jobmanager", "hopsworks"} <= set(SERVICES)
    properties = kafka.properties(inside)
    assert properties["listeners"].startswith(f"PLAINTEXT://0.0.0.0:{inside.kafka_port},")
    assert properties["advertised.listeners"].startswith(f"PLAINTEXT://kafka:{inside.kafka_port},")
    assert properties["controller.quorum.voters"] == f"1@kafka:{inside.kafka_controller_port}"
    settings = flink.settings(inside)
    assert settings["jobmanager.rpc.address"] == settings["rest.address"] == "flink-jobmanager"
    # The shipped configuration says localhost. Each TaskManager is a host of its own.
    assert settings["taskmanager.host"] == socket.gethostname()
    # A browser, and Airflow itself, come to this machine.
    keys = dict.fromkeys(("fernet_key", "jwt_secret", "secret_key"), "x")
    assert airflow.settings(inside, keys)["api"]["base_url"] == f"http://{HOST}:{inside.airflow_port}"
    assert airflow.settings(inside, keys)["api"]["host"] == "0.0.0.0"


def test_what_a_part_keeps_is_in_a_volume(inside: DevstackConfig) -> None:
    kept = {
        "kafka": Path(kafka.properties(inside)["log.dirs"]),
        "flink-jobmanager": Path(flink.settings(inside)["execution.checkpointing.dir"].removeprefix("file://")),
        "flink-taskmanager": Path(flink.settings(inside)["execution.checkpointing.savepoint-dir"][len("file://") :]),
        "hopsworks": inside.certificates,
        "hopsworks-onlinefs": inside.hopsworks_home,
        "airflow": inside.airflow_home,
    }
    assert set(kept) == set(NAMES)
    for name, folder in kept.items():
        targets = [Path(volume.split(":")[1]) for volume in SERVICES[name]["volumes"]]
        assert any(folder.is_relative_to(target) for target in targets), name
        for volume in SERVICES[name]["volumes"]:
            source, target = volume.split(":")[:2]
            assert (REPOSITORY / source).is_dir() if source.startswith(".") else source in COMPOSE["volumes"]
            # A new volume takes over owner and mode of the image's folder.
            assert source.startswith(".") or target in DOCKERFILE


def test_services_wait_for_those_that_have_a_health_check() -> None:
    for name, service in SERVICES.items():
        after = service.get("depends_on", {})
        assert all(condition == {"condition": "service_healthy"} for condition in after.values())
        assert all("healthcheck" in SERVICES[other] and "profiles" not in SERVICES[other] for other in after), name
    for name, part in declare(DevstackConfig()).items():
        before, pending = set(), [name]
        while pending:
            more = set(SERVICES[pending.pop()].get("depends_on", {})) - before
            before |= more
            pending += more
        assert set(part.after) <= before, name
    assert "depends_on" not in SERVICES[docker.ALONE]


def test_the_image_is_of_one_base_runs_as_a_user_and_has_what_it_copies() -> None:
    froms = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    stages = set(re.findall(r" AS (\w+)$", DOCKERFILE, re.MULTILINE))
    assert {name for name in froms if name not in stages} == {"debian:bookworm-slim"}
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE) == ["stack"]
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for path in line.split():
            assert (REPOSITORY / path).exists(), path
            assert f"!{Path(path).parts[0]}" in ignored, path
    assert f"WORKDIR {docker.CODE}\n" in DOCKERFILE


def imported(module: str) -> set[str]:
    """The files of the local stack that a module is made of."""
    path = REPOSITORY / f"{module.replace('.', '/')}.py"
    found = {str(path.relative_to(REPOSITORY)), "devstack/__init__.py"}
    for name in re.findall(r"^from (devstack\.[\w.]+) import", path.read_text(), re.MULTILINE):
        found |= imported(name)
    return found


def test_the_jars_are_fetched_with_what_was_copied_until_then() -> None:
    """The rest comes later, so that a change of code fetches nothing again."""
    before, fetching, _ = DOCKERFILE.partition("-m devstack.jars")
    assert fetching
    copied = {path for line in re.findall(r"^COPY (?!--from)(.+) \S+$", before, re.MULTILINE) for path in line.split()}
    for file in imported("devstack.jars"):
        assert {file, *map(str, Path(file).parents)} & copied, file
    assert "COPY devstack devstack" not in before


def test_in_the_foreground_programs_start_by_themselves_and_log_to_the_container(inside: DevstackConfig) -> None:
    programs = declare(DevstackConfig())["airflow"].programs
    text = render(inside, programs, foreground=True)
    assert text.count("autostart=true") == text.count("stdout_logfile=/dev/fd/1") == len(programs) > 1
    assert "nodaemon=true" in text
    assert "autostart=true" not in render(inside, programs)


def test_the_docker_command_prints_the_file() -> None:
    command = [sys.executable, "-m", "devstack.docker", "file"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    assert yaml.safe_load(done.stdout)["services"].keys() == SERVICES.keys()
