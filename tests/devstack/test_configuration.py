"""What the stack's settings become: Kafka's properties, Flink's config.yaml, Airflow's airflow.cfg."""

from __future__ import annotations

import configparser
import sqlite3
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from sqlalchemy import create_engine, text

from devstack import airflow, flink, kafka
from devstack.config import (
    HOST,
    PORT_OFFSETS,
    REPOSITORY,
    DevstackConfig,
    DevstackError,
    forget,
    from_environment,
    remember,
)

SECURITIES = ("PLAINTEXT", "SSL", "SASL_SSL")


@pytest.fixture
def config(tmp_path: Path) -> DevstackConfig:
    return DevstackConfig(home=tmp_path / "stack", port_base=31000)


def test_the_port_base_moves_every_port_and_a_single_one_can_be_set() -> None:
    config = DevstackConfig(port_base=31000, airflow_port=8088)
    expected = {name: 31000 + offset for name, offset in PORT_OFFSETS.items()}
    assert config.ports == {**expected, "airflow_port": 8088}
    assert config.airflow_url == f"http://{HOST}:8088"
    assert config.kafka_bootstrap == f"{HOST}:31092"


def test_default_ports_are_distinct_and_keep_clear_of_the_well_known() -> None:
    ports = list(DevstackConfig(port_base=27000).ports.values())
    assert len(set(ports)) == len(ports)
    assert not {8080, 8081, 9092, 9093, 443, 8793, 8794} & set(ports)


def test_the_environment_sets_it_and_carries_it_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEVSTACK_HOME", str(tmp_path))
    monkeypatch.setenv("DEVSTACK_KAFKA_BOOTSTRAP", "broker:9092")
    config = DevstackConfig()
    assert (config.home, config.kafka_bootstrap) == (tmp_path, "broker:9092")
    for name, value in config.environment().items():
        monkeypatch.setenv(name, value)
    assert DevstackConfig() == config


def test_another_terminal_knows_with_what_the_stack_was_brought_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEVSTACK_HOME", str(tmp_path))
    plain = from_environment()
    with monkeypatch.context() as terminal:
        terminal.setenv("DEVSTACK_PORT_BASE", "31000")
        terminal.setenv("DEVSTACK_KAFKA_SECURITY", "SSL")
        brought_up = from_environment()
        remember(tmp_path)
    assert from_environment() == brought_up
    # What is brought up beside it later does not change the rest.
    with monkeypatch.context() as terminal:
        terminal.setenv("DEVSTACK_AIRFLOW_PORT", "31999")
        remember(tmp_path)
    assert from_environment().ports == {**brought_up.ports, "airflow_port": 31999}
    monkeypatch.setenv("DEVSTACK_PORT_BASE", "33000")
    assert from_environment().kafka_bootstrap == f"{HOST}:33092"
    monkeypatch.delenv("DEVSTACK_PORT_BASE")
    forget(tmp_path)
    assert from_environment() == plain


def test_a_relative_home_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert DevstackConfig(home=Path("here")).home == tmp_path / "here"


@pytest.mark.parametrize(
    "wrong", [{"port_base": 80}, {"port_base": 65000}, {"task_slots": 0}, {"colour": "red"}, {"kafka_security": "TLS"}]
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        DevstackConfig(**wrong)


def test_kafka_listens_where_its_clients_are_told_to_come(config: DevstackConfig) -> None:
    properties = kafka.properties(config)
    assert properties["listeners"] == ",".join(
        f"{name}://{HOST}:{port}"
        for name, port in (("PLAINTEXT", 31092), ("MTLS", 31094), ("SCRAM", 31095), ("CONTROLLER", 31093))
    )
    told = {security: DevstackConfig(port_base=31000, kafka_security=security).kafka_address for security in SECURITIES}
    assert properties["advertised.listeners"] == (
        f"PLAINTEXT://{told['PLAINTEXT']},MTLS://{told['SSL']},SCRAM://{told['SASL_SSL']}"
    )
    assert properties["auto.create.topics.enable"] == "false"
    assert Path(properties["log.dirs"]).is_relative_to(config.home)


def test_flink_keeps_the_shipped_java_options_and_takes_our_settings(config: DevstackConfig) -> None:
    flink.prepare(config)
    flink.prepare(config)
    conf = flink.home(config) / "conf"
    written = yaml.safe_load((conf / "config.yaml").read_text())
    assert "--add-opens=java.base/java.lang=ALL-UNNAMED" in written["env.java.opts.all"]
    assert {name: written[name] for name in flink.settings(config)} == flink.settings(config)
    assert (conf / "log4j-console.properties").is_file()
    assert written["execution.checkpointing.dir"].startswith("file:///")
    addresses = [value for name, value in written.items() if name.endswith(("address", "bind-host", ".host"))]
    assert set(addresses) == {HOST}


def test_flink_s_state_may_be_in_an_object_store_and_its_jobs_may_outlive_the_jobmanager(tmp_path: Path) -> None:
    plain = flink.settings(DevstackConfig(home=tmp_path))
    assert not [name for name in plain if name.startswith(("s3.", "high-availability"))]
    config = DevstackConfig(
        home=tmp_path,
        port_base=31000,
        flink_state="s3://bucket/flink",
        s3_endpoint="http://127.0.0.1:1",
        flink_high_availability=True,
    )
    settings = flink.settings(config)
    kept = {name: value for name, value in settings.items() if str(value).startswith("s3://")}
    assert kept == {
        "execution.checkpointing.dir": "s3://bucket/flink/checkpoints",
        "execution.checkpointing.savepoint-dir": "s3://bucket/flink/savepoints",
        "high-availability.storageDir": "s3://bucket/flink/ha",
    }
    assert settings["high-availability.zookeeper.quorum"] == f"{HOST}:{config.zookeeper_port}"
    assert (settings["s3.endpoint"], settings["s3.path.style.access"]) == ("http://127.0.0.1:1", True)


def test_flink_s_metrics_are_told_to_prometheus_on_demand_only(tmp_path: Path) -> None:
    """The reporter listens on all addresses; the stack promises the loopback."""
    off, on = (DevstackConfig(home=tmp_path, flink_prometheus=wanted) for wanted in (False, True))
    assert not [name for name in flink.settings(off) if name.startswith("metrics.")]
    settings = flink.settings(on)
    reporter = settings["metrics.reporter.prom.factory.class"].rpartition(".")[2]
    jars = (flink.distribution() / "plugins" / "metrics-prometheus").glob("flink-metrics-prometheus-*.jar")
    assert any(reporter in name for jar in jars for name in zipfile.ZipFile(jar).namelist())
    first, last = (int(port) for port in settings["metrics.reporter.prom.port"].split("-"))
    assert last > first
    assert not set(range(first, last + 1)) & set(on.ports.values())


def test_airflow_cfg_holds_all_and_is_private(config: DevstackConfig) -> None:
    config.airflow_home.mkdir(parents=True)
    keys = airflow._keys(config)
    assert airflow._keys(config) == keys
    sections = airflow.settings(config, keys)
    assert sections["api"]["host"] == HOST
    assert sections["core"]["execution_api_server_url"] == f"{config.airflow_url}/execution/"
    arguments = " ".join(word for line in airflow.commands(config).values() for word in line)
    environment = " ".join(airflow.environment(config).values())
    assert not [key for key in keys.values() if key in arguments or key in environment]
    assert (config.airflow_home / "keys.json").stat().st_mode & 0o077 == 0


def test_every_airflow_option_exists_in_this_airflow(config: DevstackConfig) -> None:
    """A misspelt option would be ignored in silence."""
    keys = dict.fromkeys(("fernet_key", "jwt_secret", "secret_key"), "x")
    wanted = {
        f"{section}/{option}" for section, options in airflow.settings(config, keys).items() for option in options
    }
    program = (
        "from airflow.configuration import conf\n"
        "d = conf.configuration_description\n"
        "print('\\n'.join(f'{s}/{o}' for s in d for o in d[s]['options']))"
    )
    known = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert wanted - set(known.stdout.split()) == set()


def test_airflow_cfg_survives_a_percent_sign(tmp_path: Path) -> None:
    config = DevstackConfig(home=tmp_path / "50% off")
    config.airflow_home.mkdir(parents=True)
    text = airflow.render(airflow.settings(config, airflow._keys(config)))
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert parser["core"]["simple_auth_manager_passwords_file"] == str(config.airflow_home / "passwords.json")


def test_credentials_before_the_first_start_are_an_error_with_a_remedy(config: DevstackConfig) -> None:
    with pytest.raises(DevstackError, match="run `make up` first"):
        airflow.credentials(config)


def test_flink_without_its_environment_is_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(flink, "ENVIRONMENT", tmp_path)
    with pytest.raises(DevstackError, match="make env"):
        flink.distribution()


def test_dags_and_plugins_are_the_repository_s(config: DevstackConfig) -> None:
    core = airflow.settings(config, dict.fromkeys(("fernet_key", "jwt_secret", "secret_key"), "x"))["core"]
    assert (core["dags_folder"], core["plugins_folder"]) == (REPOSITORY / "dags", REPOSITORY / "plugins")


def test_airflow_waits_for_its_database_while_another_process_writes(config: DevstackConfig) -> None:
    """For longer than the five seconds after which SQLite gives up by itself."""
    address = airflow.settings(config, dict.fromkeys(("fernet_key", "secret_key", "jwt_secret"), ""))["database"]
    config.airflow_home.mkdir(parents=True)
    engine = create_engine(address["sql_alchemy_conn"])
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE runs (id INTEGER)"))
    other = sqlite3.connect(config.airflow_home / "airflow.db", check_same_thread=False, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    end = threading.Timer(6.0, other.execute, ["COMMIT"])
    end.start()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO runs VALUES (1)"))
    end.join()
    other.close()
    engine.dispose()
