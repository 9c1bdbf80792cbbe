"""The same stack in containers: one image, a container for each part, nothing configured twice.

``docker-compose.yaml`` is written by this module, and what a container runs comes from :mod:`devstack.parts`, as the
local stack's processes do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import yaml

from devstack import airflow
from devstack.config import HOST, DevstackConfig
from devstack.parts import Part, declare, taskmanagers
from devstack.stack import Stack
from devstack.supervision import run_in_foreground

# Where the image has the repository, and where its parts keep their state.
CODE = Path("/opt/hopsworks-flink")
HOME = Path("/var/lib/devstack")
PROJECT = "hopsworks-flink"
ALONE = "airflow-alone"
DEFAULT_PORT_BASE = DevstackConfig.model_fields["port_base"].default

# What people open; the rest is reached from inside (`docker compose exec airflow …`).
_PUBLISHED = {"flink-jobmanager": "flink_port", "hopsworks": "hopsworks_port", "airflow": "airflow_port"}
# Volumes of each part, and the folders in its home where they are. What is not in one is made again at each start.
_STATE = {
    "kafka": {"kafka": "kafka", "hopsworks": "hopsworks"},
    "flink-jobmanager": {"flink": "flink/state"},
    "flink-taskmanager": {"flink": "flink/state"},
    "hopsworks": {"hopsworks": "hopsworks"},
    "hopsworks-onlinefs": {"hopsworks": "hopsworks"},
    # The SDK reads Delta tables by their path, and a deployment looks for the checkpoints of a job that Flink forgot.
    "airflow": {"airflow": "airflow", "hopsworks": "hopsworks", "flink": "flink/state"},
}
# Once for all parts: Compose would write an image of gigabytes for each service that says how to build it.
_BUILDER = "kafka"
_BUILD = {"context": ".", "dockerfile": "devstack/docker/Dockerfile"}
_DAGS = f"./dags:{CODE / 'dags'}:ro"
# Where a part on a host of its own waits for more than the local stack does, which prepares all of them at once.
_AFTER = {
    "flink-taskmanager": ("flink-jobmanager",),
    "hopsworks-onlinefs": ("hopsworks",),
    "airflow": ("flink-jobmanager", "hopsworks"),
}
_SETTINGS = ("kafka_security", "task_slots", "jobmanager_memory", "taskmanager_memory", "kafka_heap")

_HEADER = """\
# Written by `make compose-file` out of devstack/docker: change that, or put changes into docker-compose.override.yaml.
#
#   docker compose up --wait                              all parts; Airflow at {airflow_url}
#   docker compose --profile two-taskmanagers up --wait   the same with a second TaskManager
#   docker compose up --wait {alone}                 Airflow alone, against a real cluster: put its connections into
#                                                         connections.env (AIRFLOW_CONN_HOPSWORKS_DEFAULT={{…}} …)
#
# Ports are reachable from this machine only.
"""


def compose_file(config: DevstackConfig, name: str = PROJECT) -> str:
    """Text of the compose file.

    :param config: its ports are published, and its port base is given to the containers.
    :param name: of the project: prefix of its containers, volumes and networks.
    """
    parts = declare(config)
    services = {part.name: _service(config, part) for part in parts.values()}
    for second in taskmanagers(DevstackConfig(taskmanagers=2))[1:]:
        services[second] = {**services["flink-taskmanager"], "profiles": ["two-taskmanagers"]}
    services[ALONE] = {
        **{key: value for key, value in services["airflow"].items() if key != "depends_on"},
        "profiles": [ALONE],
        "build": _BUILD,
        "command": ["run", "airflow", "--alone"],
        "env_file": [{"path": "connections.env", "required": False}],
        "volumes": [_volume(ALONE, "airflow"), _DAGS],
    }
    sources = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    content = {
        "name": name,
        "x-part": _common(config, name),
        "services": services,
        "volumes": {source: {} for source in sorted(sources) if not source.startswith(".")},
    }
    text = yaml.dump(content, Dumper=_Plain, sort_keys=False, width=118)
    text = text.replace("x-part:", "x-part: &part").replace("'<<': '*part'", "<<: *part")
    return _HEADER.format(airflow_url=config.airflow_url, alone=ALONE) + text


def _common(config: DevstackConfig, name: str) -> dict[str, Any]:
    return {
        "image": f"{name}:local",
        # It is in no registry.
        "pull_policy": "never",
        "init": True,
        "restart": "unless-stopped",
        # As long as supervisord gives a program.
        "stop_grace_period": "30s",
        "environment": {
            "DEVSTACK_HOME": str(HOME),
            "DEVSTACK_HOSTS": "parts",
            **({} if config.port_base == DEFAULT_PORT_BASE else {"DEVSTACK_PORT_BASE": str(config.port_base)}),
            # Taken over from the shell or from .env where they are set there.
            **{f"DEVSTACK_{setting.upper()}": None for setting in _SETTINGS},
        },
    }


def _service(config: DevstackConfig, part: Part) -> dict[str, Any]:
    service: dict[str, Any] = {"<<": "*part", "command": ["run", part.name]}
    if part.name == _BUILDER:
        service["build"] = _BUILD
    if part.name in _PUBLISHED:
        port = getattr(config, _PUBLISHED[part.name])
        service["ports"] = [f"{HOST}:{port}:{port}"]
    service["volumes"] = [_volume(source, folder) for source, folder in _STATE[part.name].items()]
    if part.name == "airflow":
        service["volumes"].append(_DAGS)
    if after := _AFTER.get(part.name, part.after):
        service["depends_on"] = {other: {"condition": "service_healthy"} for other in after}
    service["healthcheck"] = {
        "test": ["CMD", "python", "-m", "devstack.health", part.name],
        "interval": "10s",
        "timeout": "20s",
        "retries": 3,
        "start_period": f"{part.start_seconds:.0f}s",
    }
    return service


def _volume(source: str, folder: str) -> str:
    return f"{source}:{HOME / folder}"


class _Plain(yaml.SafeDumper):
    """No aliases, short lists in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def run(config: DevstackConfig, name: str, *, alone: bool = False) -> NoReturn:
    """Prepare a part and become it.

    :param alone: Airflow knows no connection to the other parts; what its environment says is kept.
    """
    os.umask(0o077)
    if alone:
        airflow.prepare(config, {})
    else:
        Stack(config).prepare(name)
    programs = declare(config)[name].programs
    if len(programs) > 1:
        run_in_foreground(config, programs)
    (program,) = programs
    path = [str(program.path_prefix)] if program.path_prefix else []
    environment = {**os.environ, **program.environment, "PATH": os.pathsep.join([*path, os.environ["PATH"]])}
    os.chdir(program.directory)
    os.execvpe(program.command[0], program.command, environment)  # noqa: S606 (as the local stack starts it)
