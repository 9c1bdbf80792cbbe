"""Configuration of the local stack: folders, ports and sizes.

Every value can be set in the environment as ``DEVSTACK_<NAME>``, e.g. ``DEVSTACK_PORT_BASE=31000`` moves the
whole stack, ``DEVSTACK_AIRFLOW_PORT=8080`` moves one part of it. They hold until the stack is taken down.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
# The interpreter of this environment, whatever link started this process.
PYTHON = str(Path(sys.prefix) / "bin" / "python")

# Offsets from `port_base`. The defaults keep clear of the well-known ports (8080, 8081, 9092, 443, 8793, 8794).
PORT_OFFSETS = {
    "airflow_port": 80,
    "flink_port": 81,
    "flink_rpc_port": 82,
    "flink_blob_port": 83,
    "kafka_port": 92,
    "kafka_controller_port": 93,
    "kafka_ssl_port": 94,
    "kafka_sasl_port": 95,
    "zookeeper_port": 96,
    "hopsworks_port": 443,
    "hopsworks_query_port": 444,
    "airflow_log_port": 793,
}

# In the home, as long as the stack is up.
_BROUGHT_UP_WITH = "settings.json"


class DevstackError(RuntimeError):
    """The one exception of the local stack: what went wrong and what to do about it, for the person at the terminal."""


class DevstackConfig(BaseSettings):
    """Folders, ports and sizes of one local stack. Two stacks need two homes and two port bases."""

    model_config = SettingsConfigDict(env_prefix="DEVSTACK_", extra="forbid", frozen=True)

    home: Path = REPOSITORY / ".devstack"
    port_base: int = Field(default=27000, ge=1024, le=64000)

    airflow_port: int = 0
    airflow_log_port: int = 0
    flink_port: int = 0
    flink_rpc_port: int = 0
    flink_blob_port: int = 0
    kafka_port: int = 0
    kafka_controller_port: int = 0
    kafka_ssl_port: int = 0
    kafka_sasl_port: int = 0
    zookeeper_port: int = 0
    hopsworks_port: int = 0
    hopsworks_query_port: int = 0

    # ``parts``: each part has a host of its own that is named like it, as a container has; ``one``: this machine.
    hosts: Literal["one", "parts"] = "one"
    # Where the parts listen: on the loopback, or on every address of their own hosts.
    bind_host: str = HOST
    # By default the addresses of this stack's own.
    kafka_bootstrap: str = ""
    kafka_ssl_bootstrap: str = ""
    kafka_sasl_bootstrap: str = ""
    flink_url: str = ""
    # The listener that the platform tells its clients to use, and uses itself. The broker always has all three.
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_SSL"] = "PLAINTEXT"

    project: str = "demo"
    user: str = "demo"
    dags_folder: Path = REPOSITORY / "dags"
    # The platform creates ten.
    online_topic_partitions: int = Field(default=2, ge=1)
    taskmanagers: int = Field(default=1, ge=1)
    # Of each TaskManager.
    task_slots: int = Field(default=4, ge=1)
    # Flink keeps what it knows of its jobs, with the help of a ZooKeeper: they outlive the JobManager.
    flink_high_availability: bool = False
    # Where checkpoints and savepoints go, as a URI such as s3://bucket/flink; default: a folder of this stack.
    flink_state: str = ""
    # Of an S3 server that is not Amazon's.
    s3_endpoint: str = ""
    jobmanager_memory: str = "1600m"
    taskmanager_memory: str = "2048m"
    kafka_heap: str = "512m"
    # More options of Kafka's and Flink's JVMs.
    java_options: str = ""
    # Off by default: Flink's reporter cannot be bound to one address and listens on all of them.
    flink_prometheus: bool = False

    @model_validator(mode="before")
    @classmethod
    def _ports(cls, data: Any) -> Any:
        # What is no number is refused by the field itself, which has a name.
        given = str(data.get("port_base", 27000))
        base = int(given) if given.isdecimal() else 27000
        filled = {**{name: base + offset for name, offset in PORT_OFFSETS.items()}, **data}
        hosts = filled.get("hosts", "one")
        filled.setdefault("bind_host", HOST if hosts == "one" else "0.0.0.0")  # noqa: S104 (of a container)
        for name in ("kafka", "kafka_ssl", "kafka_sasl"):
            filled.setdefault(f"{name}_bootstrap", f"{_host(hosts, 'kafka')}:{filled[f'{name}_port']}")
        filled.setdefault("flink_url", f"http://{_host(hosts, 'flink-jobmanager')}:{filled['flink_port']}")
        return filled

    @field_validator("home", "dags_folder")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        return folder.expanduser().absolute()

    def environment(self) -> dict[str, str]:
        """These settings as environment variables: a process started with them has the same configuration."""
        return {_variable(name): str(value) for name, value in self.model_dump().items()}

    def host(self, part: str) -> str:
        """The name under which the others reach a part."""
        return _host(self.hosts, part)

    @property
    def ports(self) -> dict[str, int]:
        """Every port the stack listens on, by the name of its setting."""
        return {name: getattr(self, name) for name in PORT_OFFSETS}

    @property
    def flink_prometheus_ports(self) -> str:
        """Range out of which JobManager and TaskManagers take one each for Prometheus."""
        return f"{self.port_base + 84}-{self.port_base + 89}"

    @property
    def kafka_address(self) -> str:
        """The broker's address for the protocol that the platform hands out."""
        return {
            "PLAINTEXT": self.kafka_bootstrap,
            "SSL": self.kafka_ssl_bootstrap,
            "SASL_SSL": self.kafka_sasl_bootstrap,
        }[self.kafka_security]

    @property
    def hopsworks_url(self) -> str:
        return f"https://{self.host('hopsworks')}:{self.hopsworks_port}"

    @property
    def airflow_url(self) -> str:
        """For people and for Airflow itself: no other part calls it."""
        return f"http://{HOST}:{self.airflow_port}"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def hopsworks_home(self) -> Path:
        """State of the local Hopsworks server: metadata, certificates, datasets, online and offline store."""
        return self.home / "hopsworks"

    @property
    def certificates(self) -> Path:
        """The stack's authority, and the keys and certificates that it has signed."""
        return self.hopsworks_home / "certs"

    @property
    def hopsworks_ca(self) -> Path:
        """PEM certificate of the authority: ``trust_store_path`` of an SDK login."""
        return self.certificates / "ca.pem"

    @property
    def hopsworks_api_key_file(self) -> Path:
        """File (mode 0600) with the one API key that the local server accepts."""
        return self.hopsworks_home / "api_key"

    @property
    def airflow_home(self) -> Path:
        return self.home / "airflow"


def from_environment() -> DevstackConfig:
    """The configuration that the environment says; where it says nothing, the one that the stack was brought up with.

    :raises DevstackError: naming each variable that is wrong.
    """
    try:
        kept = _brought_up_with(DevstackConfig().home)
        return DevstackConfig(**{name: value for name, value in kept.items() if _variable(name) not in os.environ})
    except ValidationError as error:
        wrong = [f"{_variable(str(one['loc'][0]))}={one['input']}: {one['msg']}." for one in error.errors()]
        raise DevstackError("\n".join(wrong)) from error


def remember(home: Path) -> None:
    """Keep what the environment says: another terminal asks for the stack at the ports where it is."""
    said = {name: os.environ[_variable(name)] for name in DevstackConfig.model_fields if _variable(name) in os.environ}
    said.pop("home", None)
    (home / _BROUGHT_UP_WITH).write_text(json.dumps({**_brought_up_with(home), **said}, indent=2))


def forget(home: Path) -> None:
    """The next stack of this home is as the environment says then."""
    (home / _BROUGHT_UP_WITH).unlink(missing_ok=True)


def _brought_up_with(home: Path) -> dict[str, Any]:
    file = home / _BROUGHT_UP_WITH
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return kept


def _variable(name: str) -> str:
    return f"DEVSTACK_{name.upper()}"


def _host(hosts: str, part: str) -> str:
    return HOST if hosts == "one" else part
