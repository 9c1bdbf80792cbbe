"""What is read with the jars that jobs bring along: every codec of Kafka and of Parquet, every type of Parquet."""

from __future__ import annotations

import datetime
import json
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from devstack.jars import (
    CONNECTOR_JARS,
    CONNECTORS_POM,
    JAVA_JARS,
    JAVA_POM,
    PARQUET_JARS,
    PARQUET_POM,
    fetch,
)
from devstack.kafka.access import client_settings
from devstack.stack import Stack
from tests.support import REPOSITORY

COLUMNS = {
    "id": ("BIGINT", pa.int64(), [1, 2**62, None]),
    "small": ("INT", pa.int32(), [-1, 2**31 - 1, None]),
    "flag": ("BOOLEAN", pa.bool_(), [True, False, None]),
    "x": ("DOUBLE", pa.float64(), [1.5, -0.0, None]),
    "price": ("DECIMAL(38, 2)", pa.decimal128(38, 2), [Decimal("-1.10"), Decimal("9" * 36 + ".99"), None]),
    "name": ("STRING", pa.string(), ["ß", "", None]),
    "raw": ("BYTES", pa.binary(), [b"\0\xff", b"", None]),
    "day": ("DATE", pa.date32(), [datetime.date(1969, 12, 31), datetime.date(2024, 2, 29), None]),
    "at": (
        "BIGINT",
        pa.timestamp("us", "UTC"),
        [datetime.datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=datetime.timezone.utc)] * 2 + [None],
    ),
}
PARQUET_CODECS = ("NONE", "SNAPPY", "GZIP", "ZSTD")
KAFKA_CODECS = ("none", "snappy", "gzip", "zstd", "lz4")
EVENTS = 50
READ = """
import json, sys
from pyflink.table import EnvironmentSettings, TableEnvironment
asked = json.load(sys.stdin)
environment = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
environment.get_config().set("pipeline.jars", asked["jars"]).set("table.local-time-zone", "UTC")
text = lambda value: str(bytes(value) if isinstance(value, bytearray) else value)
for statement in asked["tables"]:
    environment.execute_sql(statement)
# One job for all, as each takes seconds to start.
for queries in asked["queries"]:
    with environment.execute_sql(" UNION ALL ".join(queries)).collect() as rows:
        for row in rows:
            print("ROW " + json.dumps(list(map(text, row))))
"""


@pytest.fixture(scope="module")
def rows(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """The rows of topics and files, as text, by codec."""
    topics = [topic_query(stack, codec) for codec in KAFKA_CODECS]
    files = [file_query(tmp_path_factory.mktemp(codec), codec) for codec in PARQUET_CODECS]
    # The connectors first: fetching them replaces the folder that the others are in.
    needed = [(CONNECTORS_POM, CONNECTOR_JARS), (PARQUET_POM, PARQUET_JARS), (JAVA_POM, JAVA_JARS)]
    jars = [jar for pom, folder in needed for jar in fetch(pom, folder).glob("*.jar")]
    asked = {
        "jars": ";".join(jar.as_uri() for jar in sorted(jars)),
        "tables": [table for table, _ in topics + files],
        "queries": [[query for _, query in topics], [query for _, query in files]],
    }
    flink_jobs = REPOSITORY / "flink_jobs"
    done = subprocess.run(
        [flink_jobs / ".venv" / "bin" / "python", "-c", READ],
        cwd=flink_jobs,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:3000] + done.stderr[-3000:]
    found: dict[str, list[list[str]]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("ROW "):
            codec, *row = json.loads(line.removeprefix("ROW "))
            found.setdefault(codec, []).append(row)
    return found


def topic_query(stack: Stack, codec: str) -> tuple[str, str]:
    conf = client_settings(stack.config)
    topic = f"codec_{codec}_{time.time_ns()}"
    admin = AdminClient(conf)
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    producer = Producer({**conf, "compression.type": codec, "linger.ms": 200})
    for number in range(EVENTS):
        producer.produce(topic, json.dumps({"id": number, "s": "x" * 200}).encode())
    assert producer.flush(30) == 0
    options = {
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": conf["bootstrap.servers"],
        "scan.startup.mode": "earliest-offset",
        "scan.bounded.mode": "latest-offset",
        "format": "json",
    }
    settings = ", ".join(f"'{name}' = '{value}'" for name, value in options.items())
    table = f"CREATE TABLE kafka_{codec} (id BIGINT, s STRING) WITH ({settings})"
    return table, f"SELECT '{codec}', COUNT(*), MIN(id), MAX(id), MAX(s) FROM kafka_{codec}"


def file_query(folder: Path, codec: str) -> tuple[str, str]:
    table = pa.table({name: pa.array(values, kind) for name, (_, kind, values) in COLUMNS.items()})
    pq.write_table(table, folder / "events.parquet", compression=codec)
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _, _) in COLUMNS.items())
    options = f"'connector' = 'filesystem', 'path' = '{folder}', 'format' = 'hopsworks-files'"
    # A timestamp is read as microseconds.
    options += ", 'hopsworks-files.encoding' = 'parquet', 'hopsworks-files.timestamps' = 'at'"
    wanted = ", ".join(f"`{name}`" for name in COLUMNS)
    return (
        f"CREATE TABLE parquet_{codec} ({columns}) WITH ({options})",
        f"SELECT '{codec}', {wanted} FROM parquet_{codec}",
    )


@pytest.mark.parametrize("codec", KAFKA_CODECS)
def test_topics_of_every_codec_are_read(rows: dict[str, list[list[str]]], codec: str) -> None:
    assert rows[codec] == [[str(EVENTS), "0", str(EVENTS - 1), "x" * 200]]


@pytest.mark.parametrize("codec", PARQUET_CODECS)
def test_every_type_is_read_from_files_of_every_codec(rows: dict[str, list[list[str]]], codec: str) -> None:
    columns = [[1_709_251_199_999_999] * 2 + [None] if name == "at" else COLUMNS[name][2] for name in COLUMNS]
    assert sorted(rows[codec]) == sorted([str(value) for value in row] for row in zip(*columns, strict=True))
