"""What the tests look at from outside: the stores through the SDK, the topic, and Flink."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fastavro
import requests
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from devstack.stack import Stack
from hopsworks_flink.clients.flink.jobs import MARK_PLAN
from hopsworks_flink.health.status import Status
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.tasks.status import StatusRecord, look_around


@contextmanager
def sdk_project(stack: Stack, certificates: Any, **changes: Any) -> Iterator[Any]:
    """The project, as a user of the SDK logs in to it."""
    import hopsworks

    config = stack.config
    arguments = {
        "host": config.host("hopsworks"),
        "port": config.hopsworks_port,
        "project": config.project,
        "api_key_value": stack.api_key,
        "engine": "python",
        "cert_folder": str(certificates),
        "hostname_verification": True,
        "trust_store_path": str(config.hopsworks_ca),
    }
    project = hopsworks.login(**{**arguments, **changes})
    try:
        yield project
    finally:
        hopsworks.logout()


def offline_rows(feature_group: Any) -> list[dict[str, Any]]:
    """Rows of a feature group's Delta table."""
    import pyarrow as pa
    from deltalake import DeltaTable, QueryBuilder

    # Not to_pyarrow_table: its threads sometimes abort the interpreter at its exit.
    delta = DeltaTable(feature_group.location.removeprefix("file://"))
    return pa.table(QueryBuilder().register("t", delta).execute("SELECT * FROM t").read_all()).to_pylist()


def ends(bootstrap: str, topic: str) -> dict[int, int]:
    """The offset after the newest record of each partition, of a topic that may not exist yet."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "tests", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return {one: consumer.get_watermark_offsets(TopicPartition(topic, one), timeout=10)[1] for one in partitions}
    finally:
        consumer.close()


def records(bootstrap: str, topic: str, since: dict[int, int] | None = None) -> list[Any]:
    """Every record of a topic, or those from an offset of each partition on; partition after partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    found = []
    try:
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            at = TopicPartition(topic, partition, (since or {}).get(partition, OFFSET_BEGINNING))
            consumer.assign([at])
            deadline, ended = time.monotonic() + 60, False
            while not ended and time.monotonic() < deadline:
                for record in consumer.consume(1000, timeout=1):
                    # The end by the broker's word: the last offset may belong to no record.
                    if record.error() is not None:
                        assert record.error().code() == KafkaError._PARTITION_EOF, record.error()
                        ended = True
                    else:
                        found.append(record)
            assert ended, f"{topic}-{partition} could not be read to its end"
    finally:
        consumer.close()
    return found


def sent_rows(bootstrap: str, name: str, version: int = 1, storage: str | None = None) -> list[dict[str, Any]]:
    """Rows of a feature group in its topic: the stream's, or those for one store only (``offline``: a recompute's)."""
    with HopsworksHook().session() as session:
        ref = session.describe(session.get_feature_group(name, version))
    schema, rows = fastavro.parse_schema(json.loads(ref.avro_schema)), list[Any]()
    for record in records(bootstrap, ref.topic):
        headers = {header: value.decode() for header, value in record.headers()}
        if headers["featureGroupId"] == str(ref.feature_group_id) and headers.get("storage") == storage:
            rows.append(fastavro.schemaless_reader(io.BytesIO(record.value()), schema))
    return rows


def jobs(stack: Stack, name: str) -> dict[str, str]:
    """Ids and states of Flink's jobs of a name."""
    overview = requests.get(f"{stack.config.flink_url}/jobs/overview", timeout=30).json()["jobs"]
    return {job["jid"]: job["state"] for job in overview if job["name"] == name}


def looked_around(pipeline: Pipeline) -> Status:
    """What the status page has of topics and feature groups, of a job whose plan is another."""
    with HopsworksHook().session() as session:
        before = StatusRecord(f"{pipeline.name}__supervise", pipeline, None).blank("healthy")
        return look_around(before, lambda: session, pipeline, {MARK_PLAN: "another"}, "hopsworks_default")


def eventually(check: Callable[[], None], timeout: float = 90.0) -> None:
    """Repeat a check until its assertions hold; let its last failure out when time is up."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def forwarder(host: str, port: int) -> str:
    """An address at which ``host`` leads to a port of 127.0.0.1, for as long as this process lives."""
    server = socket.create_server((host, 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while True:
            client, _ = server.accept()
            target = socket.create_connection(("127.0.0.1", port))
            for ends in ((client, target), (target, client)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"{host}:{server.getsockname()[1]}"
