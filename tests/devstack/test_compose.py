"""docker-compose.yaml says the same as the stack that is tested: no Docker engine is needed to hold them together."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack import airflow, flink, jars, kafka
from devstack.config import HOST, REPOSITORY, DevstackConfig

FILE = REPOSITORY / "docker-compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKER = REPOSITORY / "devstack" / "docker"
# What differs in containers by nature: addresses, folders, and the broker's second listener.
KAFKA_OWN = {
    "listeners",
    "advertised.listeners",
    "controller.quorum.voters",
    "listener.security.protocol.map",
    "log.dirs",
    "ssl.keystore.location",
    "ssl.truststore.location",
}
FLINK_OWN = {
    "taskmanager.host",
    "io.tmp.dirs",
    "env.java.opts.jobmanager",
    "python.executable",
    "python.client.executable",
}


@pytest.fixture(scope="module")
def defaults() -> DevstackConfig:
    return DevstackConfig(port_base=27000)


def dockerfile(service: dict[str, Any]) -> Path:
    return REPOSITORY / service["build"]["context"] / service["build"]["dockerfile"]


def pom_property(pom: Path, name: str) -> str:
    found = ElementTree.parse(pom).find(f".//{{*}}properties/{{*}}{name}")
    assert found is not None
    return str(found.text)


def test_it_is_a_valid_compose_file() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_profiles() -> None:
    by_profile: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for profile in service["profiles"]:
            by_profile.setdefault(profile, set()).add(name)
    flink_and_hopsworks = {"flink-jobmanager", "flink-taskmanager", "hopsworks", "hopsworks-onlinefs"}
    assert by_profile == {
        "local": {"broker", "certificates", "airflow-local"} | flink_and_hopsworks,
        "airflow": {"airflow"},
    }


def test_versions_are_those_of_the_locks_and_poms() -> None:
    assert SERVICES["broker"]["image"] == f"apache/kafka:{pom_property(jars.KAFKA_POM, 'kafka.version')}"
    flink_version = pom_property(jars.CONNECTORS_POM, "flink.version")
    assert f"FROM flink:{flink_version}-" in (DOCKER / "flink.Dockerfile").read_text()
    assert f'"apache-flink=={flink_version}"' in (REPOSITORY / "flink_jobs" / "pyproject.toml").read_text()
    pinned = re.search(r"apache-airflow==([\d.]+)", (REPOSITORY / "pyproject.toml").read_text())
    assert pinned
    assert f"FROM apache/airflow:{pinned[1]}\n" in (DOCKER / "airflow.Dockerfile").read_text()
    assert SERVICES["airflow"]["image"].endswith(f":{pinned[1]}")


def test_only_this_machine_reaches_the_ports_which_are_the_stack_s(defaults: DevstackConfig) -> None:
    published = {
        name: {int(port.rsplit(":", 1)[1]) for port in service.get("ports", [])} for name, service in SERVICES.items()
    }
    assert published == {
        "broker": {defaults.kafka_port},
        "certificates": set(),
        "flink-jobmanager": {defaults.flink_port},
        "flink-taskmanager": set(),
        "hopsworks": {defaults.hopsworks_port},
        "hopsworks-onlinefs": set(),
        "airflow-local": {defaults.airflow_port},
        "airflow": {defaults.airflow_port},
    }
    for service in SERVICES.values():
        for port in service.get("ports", []):
            host, outside, inside = port.split(":")
            assert (host, outside) == (HOST, inside)


def test_the_broker_has_the_stack_s_settings(defaults: DevstackConfig) -> None:
    environment = SERVICES["broker"]["environment"]
    for name, value in kafka.properties(defaults).items():
        # As the image spells the names of properties.
        spelled = name.replace("_", "__").replace("-", "___").replace(".", "_")
        variable = f"KAFKA_{spelled.upper()}"
        assert variable in environment, name
        if name not in KAFKA_OWN:
            assert environment[variable] == value, name
    assert environment["KAFKA_HEAP_OPTS"] == f"-Xmx{defaults.kafka_heap}"
    advertised = environment["KAFKA_ADVERTISED_LISTENERS"].split(",")
    told = SERVICES["hopsworks"]["environment"]
    assert advertised == [
        f"PLAINTEXT://{told['DEVSTACK_KAFKA_BOOTSTRAP']}",
        f"HOST://{HOST}:{defaults.kafka_port}",
        f"MTLS://{told['DEVSTACK_KAFKA_SSL_BOOTSTRAP']}",
        f"SCRAM://{told['DEVSTACK_KAFKA_SASL_BOOTSTRAP']}",
    ]
    # With such names the image would take over the key store's settings.
    assert "SSL://" not in environment["KAFKA_ADVERTISED_LISTENERS"]
    assert "SASL_" not in environment["KAFKA_ADVERTISED_LISTENERS"]


def test_the_broker_s_certificates_are_made_before_it_starts() -> None:
    maker, broker = SERVICES["certificates"], SERVICES["broker"]
    script = maker["command"][-1]
    names = [Path(broker["environment"][f"KAFKA_SSL_{kind}_LOCATION"]).name for kind in ("KEYSTORE", "TRUSTSTORE")]
    assert all(f"/certs/{name}" in script for name in names)
    folder = Path(broker["environment"]["KAFKA_SSL_KEYSTORE_LOCATION"]).parent
    assert f"broker-certs:{folder}" in maker["volumes"]
    assert f"broker-certs:{folder}:ro" in broker["volumes"]


def test_flink_has_the_stack_s_settings() -> None:
    config = DevstackConfig(home=Path("/opt"), port_base=27000, public_host="flink-jobmanager", bind_host="0.0.0.0")
    expected = {
        name: value.replace("/opt/flink/", "/opt/flink-state/") if isinstance(value, str) else value
        for name, value in flink.settings(config).items()
        if name not in FLINK_OWN
    }
    for name in ("flink-jobmanager", "flink-taskmanager"):
        found = yaml.safe_load(SERVICES[name]["environment"]["FLINK_PROPERTIES"])
        assert {key: value for key, value in found.items() if key not in FLINK_OWN} == expected
        assert "/opt/flink-state" in SERVICES[name]["volumes"][0]
    assert "mkdir -p /opt/flink-state" in (DOCKER / "flink.Dockerfile").read_text()


def test_the_hopsworks_containers_are_configured_through_devstack_s_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hopsworks", "hopsworks-onlinefs"):
        environment = SERVICES[name]["environment"]
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value.replace("${DEVSTACK_KAFKA_SECURITY:-PLAINTEXT}", "SSL"))
        config = DevstackConfig()
        assert {variable.removeprefix("DEVSTACK_").lower() for variable in environment} <= set(config.model_dump())
        assert (config.kafka_bootstrap, config.kafka_address) == ("broker:9092", "broker:27094")
        assert config.flink_url == "http://flink-jobmanager:27081"
        # The name on the certificate is the name under which the others reach the server.
        assert config.hopsworks_url == f"https://hopsworks:{config.hopsworks_port}"
        assert f":{config.home}" in SERVICES[name]["volumes"][0]
    local = SERVICES["airflow-local"]
    assert local["environment"]["HOPSWORKS_API_KEY_FILE"] == str(config.hopsworks_api_key_file)
    assert local["environment"]["HOPSWORKS_CA"] == str(config.hopsworks_ca)
    assert local["environment"]["HOPSWORKS_PROJECT"] == config.project
    assert SERVICES["hopsworks"]["volumes"][0] in local["volumes"]


def test_commands_are_verbs_of_the_server() -> None:
    verbs = [word for name in ("certificates", "hopsworks-onlinefs", "hopsworks") for word in SERVICES[name]["command"]]
    used = set(re.findall(r"devstack\.hopsworks (\w+)", " ".join(verbs)))
    assert used == {"init", "serve", "onlinefs"}
    for verb in used:
        command = [sys.executable, "-m", "devstack.hopsworks", verb, "--help"]
        assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=60, check=False).returncode == 0


def test_airflow_has_the_stack_s_settings(defaults: DevstackConfig) -> None:
    keys = dict.fromkeys(("fernet_key", "jwt_secret", "secret_key"), "x")
    expected = airflow.settings(defaults, keys)
    for name in ("airflow", "airflow-local"):
        environment = SERVICES[name]["environment"]
        same = 0
        for variable, value in environment.items():
            if not (found := re.fullmatch(r"AIRFLOW__([A-Z_]+?)__([A-Z_]+)", variable)):
                continue
            section, option = found[1].lower(), found[2].lower()
            assert option in expected[section], variable
            if not str(value).startswith(("/", "sqlite:", "0.0.0.0")):
                assert value == str(expected[section][option]), variable
                same += 1
        assert same >= 10


def test_the_connections_fit_the_containers(tmp_path: Path) -> None:
    local = SERVICES["airflow-local"]["environment"]
    connection = json.loads(local["AIRFLOW_CONN_FLINK_DEFAULT"])
    assert connection["conn_type"] == "flink"
    properties = yaml.safe_load(SERVICES["flink-jobmanager"]["environment"]["FLINK_PROPERTIES"])
    assert connection["extra"]["python_executable"] == properties["python.executable"]
    assert f"COPY --from=jars /jars {connection['extra']['jars_dir']}\n" in (DOCKER / "airflow.Dockerfile").read_text()
    assert json.loads(local["AIRFLOW_CONN_KAFKA_DEFAULT"])["extra"] == {"bootstrap.servers": "broker:9092"}


def test_the_entrypoint_makes_the_hopsworks_connection_of_the_key_file(tmp_path: Path) -> None:
    key = tmp_path / "api_key"
    key.write_text('secret "key"\n')
    # The image's own entrypoint, which this one hands over to, is stood in for by `env`.
    script = tmp_path / "entrypoint.sh"
    script.write_text((DOCKER / "airflow-entrypoint.sh").read_text().replace("exec /entrypoint", "exec"))
    local = SERVICES["airflow-local"]["environment"]
    given = {name: local[name] for name in ("HOPSWORKS_HOST", "HOPSWORKS_PORT", "HOPSWORKS_PROJECT", "HOPSWORKS_CA")}
    environment = {"PATH": os.environ["PATH"], **given, "HOPSWORKS_API_KEY_FILE": str(key)}
    done = subprocess.run(
        ["bash", str(script), sys.executable, "-c", "import os; print(os.environ['AIRFLOW_CONN_HOPSWORKS_DEFAULT'])"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == {
        "conn_type": "hopsworks",
        "host": "hopsworks",
        "port": 27443,
        "password": 'secret "key"',
        "extra": {"project": "demo", "hostname_verification": True, "trust_store_path": local["HOPSWORKS_CA"]},
    }


def copied(file: Path) -> Iterator[str]:
    for line in file.read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            yield from [word for word in line.split()[1:-1] if not word.startswith("--")]


def test_what_is_copied_and_mounted_exists_and_is_not_ignored() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for file in {dockerfile(service) for service in SERVICES.values() if "build" in service}:
        for path in copied(file):
            assert (REPOSITORY / path).exists(), path
            assert f"!{Path(path).parts[0]}" in ignored, path
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (REPOSITORY / source).is_dir() if source.startswith(".") else source in COMPOSE["volumes"]


def test_every_service_waits_for_what_has_a_health_check() -> None:
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            if name == "certificates":
                assert condition == {"condition": "service_completed_successfully"}
                assert SERVICES[name]["restart"] == "no"
            else:
                assert condition == {"condition": "service_healthy"}
                assert "healthcheck" in SERVICES[name]
            assert set(service["profiles"]) <= set(SERVICES[name]["profiles"])
