"""Airflow of the local stack: the four components of ``airflow standalone``, one process each.

They are started one by one instead of through ``standalone`` for two reasons: ``standalone`` does not restart a
component that died, and its log servers listen on every network interface. Here a log server of the same code
listens on the loopback only.
"""

from __future__ import annotations

import configparser
import hashlib
import io
import json
import secrets
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from devstack.config import PYTHON, REPOSITORY, DevstackConfig, DevstackError
from devstack.processes import clean_environment, write_private

PLUGINS = REPOSITORY / "plugins"
USER = "admin"
_SETUP_TIMEOUT_SECONDS = 180


def commands(config: DevstackConfig) -> dict[str, list[str]]:
    """Command line of each component, by its name."""
    airflow = [PYTHON, "-m", "airflow"]
    log_server = ["-m", "uvicorn", "--factory", "airflow.utils.serve_logs.log_server:get_app", "--no-access-log"]
    return {
        "airflow-api-server": [*airflow, "api-server"],
        "airflow-scheduler": [*airflow, "scheduler", "--skip-serve-logs"],
        "airflow-dag-processor": [*airflow, "dag-processor"],
        "airflow-triggerer": [*airflow, "triggerer", "--skip-serve-logs"],
        "airflow-logs": [
            PYTHON,
            *log_server,
            *("--host", config.bind_host, "--port", str(config.airflow_log_port)),
        ],
    }


def environment(config: DevstackConfig) -> dict[str, str]:
    """Only where Airflow and its hostname callable live: the rest, secrets above all, stands in ``airflow.cfg``."""
    return {"AIRFLOW_HOME": str(config.airflow_home), "PYTHONPATH": str(REPOSITORY)}


def settings(config: DevstackConfig, keys: dict[str, str]) -> dict[str, dict[str, Any]]:
    """``airflow.cfg`` by section. ``keys`` are the generated secrets of :func:`_keys`."""
    home = config.airflow_home
    return {
        "core": {
            "dags_folder": config.dags_folder,
            "plugins_folder": PLUGINS,
            "load_examples": False,
            "executor": "LocalExecutor",
            "parallelism": 4,
            "dags_are_paused_at_creation": False,
            "test_connection": "Enabled",
            "fernet_key": keys["fernet_key"],
            "execution_api_server_url": f"{config.airflow_url}/execution/",
            # The log view asks the host on which a task ran.
            "hostname_callable": "devstack.airflow.log_host",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": _passwords_file(config),
        },
        # The stack has a triggerer.
        "operators": {"default_deferrable": True},
        # SQLite by itself gives up after five seconds in which another process writes; Airflow's API answers 500 then.
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}?timeout=20"},
        "logging": {
            "base_log_folder": home / "logs",
            "worker_log_server_port": config.airflow_log_port,
            "trigger_log_server_port": config.airflow_log_port,
        },
        "api": {
            "host": config.bind_host,
            "port": config.airflow_port,
            "base_url": config.airflow_url,
            "workers": 1,
            "secret_key": keys["secret_key"],
        },
        "api_auth": {"jwt_secret": keys["jwt_secret"]},
        "dag_processor": {"refresh_interval": 15, "min_file_process_interval": 30, "parsing_processes": 1},
        "scheduler": {"scheduler_heartbeat_sec": 2, "enable_health_check": False},
        "triggerer": {"capacity": 100},
        # Nobody's data: the status page may show some.
        "hopsworks_flink": {"status_sample_rows": 3},
    }


def credentials(config: DevstackConfig) -> tuple[str, str]:
    """User and password of Airflow's UI and API.

    :raises DevstackError: before the stack was brought up for the first time.
    """
    file = _passwords_file(config)
    if not file.is_file():
        raise DevstackError(f"Airflow has no password yet ({file} is missing): run `make up` first.")
    return USER, json.loads(file.read_text())[USER]


def log_host() -> str:
    """The host name that Airflow stores with a task: where its log server answers."""
    return "127.0.0.1"


def prepare(config: DevstackConfig, connections: dict[str, dict[str, Any]]) -> None:
    """Write ``airflow.cfg``, make the database and put the connections into it. Idempotent.

    :param connections: by id, with the keys of Airflow's connection JSON. They travel to the process that
        writes them through its standard input, so no secret stands in an argument or in a file.
    :raises DevstackError: when the database cannot be made.
    """
    config.airflow_home.mkdir(parents=True, exist_ok=True)
    config.airflow_home.chmod(0o700)
    keys = _keys(config)
    if not _passwords_file(config).is_file():
        # Letters and digits alone: a double click selects all of it.
        write_private(_passwords_file(config), json.dumps({USER: secrets.token_hex(8)}) + "\n")
    write_private(config.airflow_home / "airflow.cfg", render(settings(config, keys)))
    _initialise_database(config, connections)


def render(sections: dict[str, dict[str, Any]]) -> str:
    """The text of ``airflow.cfg``."""
    parser = configparser.ConfigParser(interpolation=None)
    for section, options in sections.items():
        # Airflow expands %(…)s in the file.
        parser[section] = {name: str(value).replace("%", "%%") for name, value in options.items()}
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _initialise_database(config: DevstackConfig, connections: dict[str, dict[str, Any]]) -> None:
    """Takes seconds, so only when Airflow's version or a connection changed since it was last done."""
    stamp = config.airflow_home / "initialised-for"
    wanted = hashlib.sha256(
        f"{version('apache-airflow')} {json.dumps(connections, sort_keys=True)}".encode()
    ).hexdigest()
    if (config.airflow_home / "airflow.db").is_file() and stamp.is_file() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    done = subprocess.run(
        [PYTHON, "-m", "devstack.airflow.initialise"],
        input=json.dumps(connections),
        capture_output=True,
        text=True,
        timeout=_SETUP_TIMEOUT_SECONDS,
        check=False,
        cwd=REPOSITORY,
        env={**clean_environment(), **environment(config)},
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise DevstackError(f"Airflow's database at {config.airflow_home} could not be prepared:\n{tail}")
    stamp.write_text(wanted)


def _keys(config: DevstackConfig) -> dict[str, str]:
    """Secrets of this Airflow, made once: a new Fernet key could not read the connections of yesterday."""
    from cryptography.fernet import Fernet

    file = config.airflow_home / "keys.json"
    if not file.is_file():
        keys = {
            "fernet_key": Fernet.generate_key().decode(),
            "jwt_secret": secrets.token_urlsafe(32),
            "secret_key": secrets.token_urlsafe(32),
        }
        write_private(file, json.dumps(keys))
    return json.loads(file.read_text())


def _passwords_file(config: DevstackConfig) -> Path:
    return config.airflow_home / "passwords.json"
