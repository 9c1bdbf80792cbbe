"""The parts of the stack, declared: programs, ports, order of start, and health check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devstack import airflow, flink, health, kafka
from devstack.config import PYTHON, REPOSITORY, DevstackConfig, DevstackError

# Returns nothing when the part works, otherwise a few words on what is still missing. The second argument is when
# the part was started (seconds since the epoch): an answer about an earlier life does not count.
Check = Callable[[DevstackConfig, float], str | None]


@dataclass(frozen=True)
class Program:
    """One supervised process."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    directory: Path = REPOSITORY
    # Prepended to the PATH.
    path_prefix: Path | None = None
    # From SIGTERM to SIGKILL.
    stop_seconds: int = 15


@dataclass(frozen=True)
class Part:
    """One or more programs with a common health check."""

    name: str
    programs: tuple[Program, ...]
    port_settings: tuple[str, ...]
    check: Check
    # Parts that must be healthy before this one is started.
    after: tuple[str, ...] = ()
    # Seconds until it must be healthy: ten times what two idle cores need, so that a busy machine is only slow.
    start_seconds: float = 300


NAMES = ("kafka", "flink-jobmanager", "flink-taskmanager", "hopsworks", "hopsworks-onlinefs", "airflow")


def declare(config: DevstackConfig) -> dict[str, Part]:
    """All parts by name, in the order of display."""
    zookeeper = [_flink(config, "flink-zookeeper", flink.zookeeper_command())] if config.flink_high_availability else []
    parts = [
        Part(
            "kafka",
            (Program("kafka", kafka.command(config), directory=config.home),),
            ("kafka_port", "kafka_controller_port", "kafka_ssl_port", "kafka_sasl_port"),
            health.CHECKS["kafka"],
        ),
        Part(
            "flink-jobmanager",
            (*zookeeper, _flink(config, "flink-jobmanager", flink.jobmanager_command())),
            ("flink_port", "flink_rpc_port", "flink_blob_port", *(("zookeeper_port",) if zookeeper else ())),
            health.CHECKS["flink-jobmanager"],
        ),
        Part(
            "flink-taskmanager",
            tuple(_flink(config, name, flink.taskmanager_command()) for name in taskmanagers(config)),
            (),
            health.CHECKS["flink-taskmanager"],
        ),
        Part(
            "hopsworks",
            (_hopsworks("hopsworks", "serve"),),
            ("hopsworks_port", "hopsworks_query_port"),
            health.CHECKS["hopsworks"],
            ("kafka",),
        ),
        Part(
            "hopsworks-onlinefs",
            (_hopsworks("hopsworks-onlinefs", "onlinefs"),),
            (),
            health.CHECKS["hopsworks-onlinefs"],
            ("kafka",),
        ),
        Part(
            "airflow",
            tuple(Program(name, line, airflow.environment(config)) for name, line in airflow.commands(config).items()),
            ("airflow_port", "airflow_log_port"),
            health.CHECKS["airflow"],
        ),
    ]
    return {part.name: part for part in parts}


def taskmanagers(config: DevstackConfig) -> list[str]:
    """The programs of the part ``flink-taskmanager``: the first is called like it."""
    numbers = range(2, config.taskmanagers + 1)
    return ["flink-taskmanager", *(f"flink-taskmanager-{number}" for number in numbers)]


def select(names: Sequence[str] | None) -> list[str]:
    """The named parts, all for ``None``, plus those that they need, in the stack's order.

    :raises DevstackError: for an unknown name.
    """
    wanted = set(NAMES if names is None else names)
    if unknown := sorted(wanted - set(NAMES)):
        raise DevstackError(f"There is no part {unknown[0]!r}; the parts are {', '.join(NAMES)}.")
    if wanted & {"hopsworks", "hopsworks-onlinefs"}:
        wanted.add("kafka")
    if "flink-taskmanager" in wanted:
        wanted.add("flink-jobmanager")
    return [name for name in NAMES if name in wanted]


def _flink(config: DevstackConfig, name: str, command: list[str]) -> Program:
    return Program(name, command, flink.environment(config), config.home, path_prefix=flink.PYTHON.parent)


def _hopsworks(name: str, verb: str) -> Program:
    return Program(name, [PYTHON, "-m", "devstack.hopsworks", verb])
