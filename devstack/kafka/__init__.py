"""One Kafka broker (KRaft, no ZooKeeper) out of Maven artifacts: configuration, storage format, command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

from devstack import jars
from devstack.config import DevstackConfig, DevstackError

# Any fixed 16 bytes in URL-safe base64 will do: the cluster has one node and nobody joins it.
CLUSTER_ID = "aG9wc3dvcmtzLWZsaW5rMQ"
_FORMAT_TIMEOUT_SECONDS = 60
SCRAM_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"

_LOG4J = """\
Configuration:
  Appenders:
    Console:
      name: out
      target: SYSTEM_OUT
      PatternLayout: {pattern: "%d{ISO8601} %-5p %c{1} - %m%n"}
  Loggers:
    Root:
      level: INFO
      AppenderRef: {ref: out}
    Logger:
      # Pages of configuration and a line per segment and partition otherwise: they would hide the errors.
      - {name: org.apache.kafka.common.config, level: WARN}
      - {name: kafka.server.KafkaConfig, level: WARN}
      - {name: org.apache.kafka.storage.internals.log, level: WARN}
      - {name: kafka.log, level: WARN}
      - {name: state.change.logger, level: WARN}
"""


def home(config: DevstackConfig) -> Path:
    return config.home / "kafka"


def properties(config: DevstackConfig) -> dict[str, str]:
    """``server.properties`` of the single node (broker and controller in one process)."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{config.host('kafka')}:{config.kafka_controller_port}",
        "listeners": f"PLAINTEXT://{config.bind_host}:{config.kafka_port},"
        f"MTLS://{config.bind_host}:{config.kafka_ssl_port},"
        f"SCRAM://{config.bind_host}:{config.kafka_sasl_port},"
        f"CONTROLLER://{config.bind_host}:{config.kafka_controller_port}",
        "advertised.listeners": f"PLAINTEXT://{config.kafka_bootstrap},"
        f"MTLS://{config.kafka_ssl_bootstrap},SCRAM://{config.kafka_sasl_bootstrap}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,MTLS:SSL,SCRAM:SASL_SSL,CONTROLLER:PLAINTEXT",
        **_tls(config),
        "log.dirs": str(home(config) / "data"),
        # A missing topic is an error, as on the platform.
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "num.partitions": "1",
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "4",
        # A consumer group starts without waiting for more members.
        "group.initial.rebalance.delay.ms": "0",
        "log.segment.bytes": str(64 * 1024 * 1024),
        # Default is 128 MiB of memory for the cleaner alone.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        # A controller without work writes a record twice a second by default: a fifth of what an idle broker costs.
        "metadata.max.idle.interval.ms": "10000",
    }


def _tls(config: DevstackConfig) -> dict[str, str]:
    """Certificates of the stack's authority on both sides of MTLS; on SCRAM the client shows a password instead."""
    return {
        "listener.name.mtls.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(config.certificates / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(config.hopsworks_ca),
        "listener.name.scram.sasl.enabled.mechanisms": ",".join(SCRAM_MECHANISMS),
        **{f"listener.name.scram.{mechanism.lower()}.sasl.jaas.config": _SCRAM_LOGIN for mechanism in SCRAM_MECHANISMS},
    }


def command(config: DevstackConfig) -> list[str]:
    """The broker in the foreground."""
    options = [f"-Xmx{config.kafka_heap}", *(config.java_options.split() or ["-XX:+UseG1GC"])]
    return [*_java(config, *options), "kafka.Kafka", str(_properties_file(config))]


def prepare(config: DevstackConfig) -> None:
    """Fetch the jars, write the configuration and format new storage. Idempotent.

    :raises DevstackError: when the jars cannot be fetched or the storage tool refuses.
    """
    jars.fetch(jars.KAFKA_POM, jars.KAFKA_JARS)
    home(config).mkdir(parents=True, exist_ok=True)
    text = "".join(f"{key}={value}\n" for key, value in properties(config).items())
    _properties_file(config).write_text(text)
    (home(config) / "log4j2.yaml").write_text(_LOG4J)
    if not (home(config) / "data" / "meta.properties").is_file():
        _format(config)


def _format(config: DevstackConfig) -> None:
    arguments = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(_properties_file(config))]
    done = subprocess.run(
        [*_java(config, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"), *arguments],
        capture_output=True,
        text=True,
        timeout=_FORMAT_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise DevstackError(f"Kafka's storage could not be formatted: {(done.stdout + done.stderr).strip()[-2000:]}")


def _properties_file(config: DevstackConfig) -> Path:
    return home(config) / "server.properties"


def _java(config: DevstackConfig, *options: str) -> list[str]:
    return [
        jars.java(),
        *options,
        f"-Dlog4j2.configurationFile={home(config) / 'log4j2.yaml'}",
        "-cp",
        f"{jars.KAFKA_JARS}/*",
    ]
