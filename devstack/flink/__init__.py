"""A Flink session cluster out of the ``apache-flink`` package: its installed folder is a full distribution.

No connector is put on the cluster. Jobs bring their jars along, as they must on a cluster that is not theirs. The one
addition is :file:`java/`, by which the REST API refuses what web pages of other origins make a browser send.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import yaml

from devstack import jars
from devstack.config import HOST, REPOSITORY, DevstackConfig, DevstackError

ENVIRONMENT = REPOSITORY / "flink_jobs" / ".venv"
_ZOOKEEPER = {
    "clientPortAddress": HOST,
    "tickTime": 1000,
    "initLimit": 10,
    "syncLimit": 5,
    # Its pages would be on every address.
    "admin.enableServer": "false",
}
# What a job's -pyclientexec and -pyexec name: the interpreter that has apache-flink.
PYTHON = ENVIRONMENT / "bin" / "python"


def home(config: DevstackConfig) -> Path:
    return config.home / "flink"


def distribution() -> Path:
    """The folder that Flink calls ``FLINK_HOME``.

    :raises DevstackError: when the environment of the Flink jobs does not exist yet.
    """
    for found in sorted(ENVIRONMENT.glob("lib/python3*/site-packages/pyflink")):
        if (found / "bin" / "jobmanager.sh").is_file():
            return found
    raise DevstackError("apache-flink is not installed in flink_jobs/.venv: run `make env` (uv sync in flink_jobs/).")


def jobmanager_command() -> list[str]:
    return ["bash", str(distribution() / "bin" / "jobmanager.sh"), "start-foreground"]


def taskmanager_command() -> list[str]:
    return ["bash", str(distribution() / "bin" / "taskmanager.sh"), "start-foreground"]


def zookeeper_command() -> list[str]:
    """The ZooKeeper of Flink's distribution."""
    return ["bash", str(distribution() / "bin" / "zookeeper.sh"), "start-foreground", "1"]


def environment(config: DevstackConfig) -> dict[str, str]:
    """What Flink's scripts read from the environment."""
    return {
        "FLINK_HOME": str(distribution()),
        "FLINK_CONF_DIR": str(home(config) / "conf"),
        "FLINK_LIB_DIR": str(home(config) / "lib"),
        "FLINK_PLUGINS_DIR": str(home(config) / "plugins"),
        "FLINK_LOG_DIR": str(home(config) / "log"),
        "FLINK_PID_DIR": str(home(config) / "pid"),
        # Names the log files; the default is the user's name, which a container may not have.
        "FLINK_IDENT_STRING": "devstack",
    }


def settings(config: DevstackConfig) -> dict[str, Any]:
    """Flink options of this stack, flat keys; they override the shipped ``config.yaml``."""
    state = config.flink_state or (home(config) / "state").as_uri()
    prometheus = {
        "metrics.reporters": "prom",
        "metrics.reporter.prom.factory.class": "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
        "metrics.reporter.prom.port": config.flink_prometheus_ports,
    }
    high_availability = {
        "high-availability.type": "zookeeper",
        "high-availability.zookeeper.quorum": f"{config.host('flink-jobmanager')}:{config.zookeeper_port}",
        "high-availability.storageDir": f"{state}/ha",
    }
    return {
        "jobmanager.rpc.address": config.host("flink-jobmanager"),
        "jobmanager.rpc.port": config.flink_rpc_port,
        "jobmanager.bind-host": config.bind_host,
        "jobmanager.memory.process.size": config.jobmanager_memory,
        # Every submission loads the job's jars into a class loader of its own.
        "jobmanager.memory.jvm-metaspace.size": "384m",
        "rest.address": config.host("flink-jobmanager"),
        "rest.bind-address": config.bind_host,
        "rest.port": config.flink_port,
        "rest.bind-port": config.flink_port,
        "blob.server.port": config.flink_blob_port,
        # On a busy machine ten seconds, the default, are not enough to begin with.
        "pekko.startup-timeout": "60 s",
        # Each on a host of its own: its name is what the container is called in its network.
        "taskmanager.host": HOST if config.hosts == "one" else socket.gethostname(),
        "taskmanager.bind-host": config.bind_host,
        "taskmanager.memory.process.size": config.taskmanager_memory,
        "taskmanager.memory.managed.size": "256m",
        "taskmanager.memory.jvm-metaspace.size": "384m",
        # A recompute has one buffer pool for each feature group, of 512 buffers each by default.
        "taskmanager.network.sort-shuffle.min-buffers": 64,
        "taskmanager.numberOfTaskSlots": config.task_slots,
        # A job that needs two slots gets them on two TaskManagers, if there are two.
        "taskmanager.load-balance.mode": "SLOTS",
        "parallelism.default": 1,
        # Instead of "*", with which every web page may read the answers.
        "web.access-control-allow-origin": config.flink_url,
        "web.upload.dir": str(home(config) / "upload"),
        "web.submit.enable": True,
        "web.cancel.enable": True,
        "io.tmp.dirs": str(home(config) / "tmp"),
        # The JobManager unpacks bundles, which hold credentials, into Java's temporary folder.
        "env.java.opts.jobmanager": f"-Djava.io.tmpdir={home(config) / 'tmp'} {config.java_options}".rstrip(),
        "python.executable": str(PYTHON),
        "python.client.executable": str(PYTHON),
        "state.backend.type": "hashmap",
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.dir": f"{state}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"{state}/savepoints",
        "execution.checkpointing.interval": "10s",
        "execution.checkpointing.min-pause": "2s",
        "execution.checkpointing.timeout": "2min",
        "execution.checkpointing.num-retained": 2,
        # A cancelled or failed job can be brought back from its last checkpoint.
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1s",
        "restart-strategy.exponential-delay.max-backoff": "30s",
        **({"env.java.opts.taskmanager": config.java_options} if config.java_options else {}),
        **(prometheus if config.flink_prometheus else {}),
        **({"s3.endpoint": config.s3_endpoint, "s3.path.style.access": True} if config.s3_endpoint else {}),
        **(high_availability if config.flink_high_availability else {}),
    }


def prepare(config: DevstackConfig) -> None:
    """Write the configuration folder: the shipped one, overridden by this stack's settings. Idempotent.

    :raises DevstackError: when the jar of the REST API's guard cannot be built.
    """
    shipped = distribution() / "conf"
    conf = home(config) / "conf"
    for folder in ("conf", "log", "pid", "upload", "tmp", "state/checkpoints", "state/savepoints"):
        (home(config) / folder).mkdir(parents=True, exist_ok=True)
    for source in shipped.iterdir():
        if source.is_file() and source.name != "config.yaml":
            shutil.copyfile(source, conf / source.name)
    _link_libraries(home(config) / "lib")
    _link_plugins(home(config) / "plugins", s3=config.flink_state.startswith("s3://"))
    zookeeper = {"dataDir": home(config) / "zookeeper", "clientPort": config.zookeeper_port, **_ZOOKEEPER}
    (conf / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in zookeeper.items()))
    # The shipped file carries a long env.java.opts.all line without which Flink does not run on Java 17.
    merged = {**_flatten(yaml.safe_load((shipped / "config.yaml").read_text())), **settings(config)}
    (conf / "config.yaml").write_text(yaml.safe_dump(merged, width=10_000, sort_keys=True))


def _link_libraries(folder: Path) -> None:
    """Flink's own jars and the guard's, as links in a folder of this stack: the installed package stays as it is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    own = jars.fetch(jars.CLUSTER_POM, jars.CLUSTER_JARS)
    for jar in (*(distribution() / "lib").glob("*.jar"), *own.glob("*.jar")):
        (folder / jar.name).symlink_to(jar)


def _link_plugins(folder: Path, s3: bool) -> None:
    """Flink's own plugins, and the one for S3."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for plugin in (distribution() / "plugins").iterdir():
        if plugin.is_dir():
            (folder / plugin.name).symlink_to(plugin)
    if s3:
        (folder / "s3").symlink_to(jars.fetch(jars.S3_POM, jars.S3_JARS))


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat
