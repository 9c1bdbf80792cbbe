"""How fast a materialization brings a topic into the offline table: ``python -m tests.benchmarks.materialization``.

A real broker and the real server process (no Flink, no Airflow). The topic is filled with the history of a window
feature group: one row per card and minute, keys and headers as Flink writes them. Measured are whole executions, as
clients start them, beside a consumer that does nothing but count the same records, with the same settings.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import re
import resource
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import requests
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from devstack.config import REPOSITORY, DevstackConfig
from devstack.hopsworks.home.layout import FEATURE_STORE_ID, PROJECT_ID
from devstack.hopsworks.offline.topicreader import FETCH_SETTINGS
from devstack.kafka.access import client_settings, consumer_settings
from devstack.stack import Stack
from tests.benchmarks.results import MATERIALIZED_PER_SECOND

_HOME = REPOSITORY / ".devstack-bench-materialization"
CARDS = 10_000
MINUTE_MICROS = 60_000_000
START_MICROS = 1_700_000_040_000_000
_FEATURES = {
    "cc_num": "bigint",
    "window_end": "timestamp",
    "num_trans_per_10m": "bigint",
    "avg_amt_per_10m": "double",
    "stdev_amt_per_10m": "double",
}


class _Server:
    """The few requests of the local server that the benchmark needs; the SDK would add its own seconds."""

    def __init__(self, stack: Stack) -> None:
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"ApiKey {stack.api_key}"
        self._authority = str(stack.config.hopsworks_ca)
        self._base = f"{stack.config.hopsworks_url}/hopsworks-api/api/project/{PROJECT_ID}"
        self._store = f"{self._base}/featurestores/{FEATURE_STORE_ID}"

    def _call(self, method: str, url: str, **arguments: Any) -> Any:
        # Named in each call: the environment's authorities would go before the session's.
        response = self._session.request(method, url, timeout=60, verify=self._authority, **arguments)
        response.raise_for_status()
        return response.json()

    def create_group(self, name: str) -> tuple[dict[str, Any], int, dict[str, Any]]:
        """A new feature group, the id of its subject, its schema."""
        features = [{"name": n, "type": kind, "primary": n == "cc_num"} for n, kind in _FEATURES.items()]
        body = {
            "name": name, "version": 1, "type": "streamFeatureGroupDTO", "onlineEnabled": True,
            "timeTravelFormat": "HUDI", "eventTime": "window_end", "features": features,
        }  # fmt: skip
        group = self._call("POST", f"{self._store}/featuregroups", json=body)
        subject = self._call("GET", f"{self._base}/kafka/subjects/{name}_1/versions/latest")
        return group, subject["id"], json.loads(subject["schema"])

    def materialize(self, name: str, arguments: str = "") -> dict[str, Any]:
        """Run one execution to its end; returns its object."""
        jobs = f"{self._base}/jobs/{name}_1_offline_fg_materialization"
        default = self._call("GET", jobs)["config"]["defaultArgs"]
        execution = self._call(
            "POST", f"{jobs}/executions", data=f"{default} {arguments}".strip(), headers={"Content-Type": "text/plain"}
        )
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            execution = self._call("GET", f"{jobs}/executions/{execution['id']}")
            if execution["finalStatus"] != "UNDEFINED":
                return dict(execution)
            time.sleep(0.05)
        raise TimeoutError(f"execution {execution['id']} did not end within 600 s")


def _fill(config: DevstackConfig, topic: str, schema: dict[str, Any], headers: dict[str, Any], rows: range) -> float:
    """Write one record per row; returns records/s. Fields are encoded as the group's own schema says."""
    producer = Producer(
        {**client_settings(config), "linger.ms": 50, "batch.size": 1_000_000, "partitioner": "murmur2_random"}
    )
    parsed = fastavro.parse_schema(schema)
    wire = [(name, str(value).encode()) for name, value in headers.items()]
    began = time.monotonic()
    for number in rows:
        card = 4_000_000_000_000_000 + number % CARDS
        count = number % 50
        buffer = io.BytesIO()
        fastavro.schemaless_writer(
            buffer,
            parsed,
            {
                "cc_num": card,
                "window_end": START_MICROS + MINUTE_MICROS * (number // CARDS),
                "num_trans_per_10m": count,
                "avg_amt_per_10m": number * 0.5,
                "stdev_amt_per_10m": number * 0.25 if count > 1 else None,
            },
        )
        while True:
            try:
                producer.produce(topic, buffer.getvalue(), key=str(card), headers=wire)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 1000 == 0:
            producer.poll(0)
    assert producer.flush(120) == 0, "the broker did not take all records"
    return len(rows) / (time.monotonic() - began)


def _watermarks(config: DevstackConfig, topic: str) -> dict[int, tuple[int, int]]:
    consumer = Consumer(consumer_settings(config, "floor"))
    deadline = time.monotonic() + 30
    try:
        while True:
            try:
                partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
                return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=20) for p in partitions}
            except KafkaException:
                # A topic made a moment ago has no leader yet.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
    finally:
        consumer.close()


def _bare(config: DevstackConfig, topic: str, start: dict[int, int], end: dict[int, int]) -> dict[str, float]:
    """Fetch the records with the same settings and only count them."""
    gc.collect()
    gc.disable()
    consumer = Consumer({**consumer_settings(config, "bare"), **FETCH_SETTINGS})
    used, began, number = resource.getrusage(resource.RUSAGE_SELF), time.monotonic(), 0
    consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in start.items()])
    open_partitions = {partition for partition in start if start[partition] < end[partition]}
    try:
        while open_partitions:
            messages = consumer.consume(2000, 0.05)
            number += len(messages)
            for event in filter(Message.error, messages):
                number -= 1
                open_partitions.discard(event.partition())
    finally:
        consumer.close()
        gc.enable()
    seconds, now = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return {"records": number, "rows_per_second": number / seconds, "cpu_us_per_record": cpu / number * 1e6}


_LOG = {
    "read": r"records read: (\d+) in",
    "reading_seconds": r"records read: \d+ in ([\d.]+) s",
    "inserted": r"rows inserted: (\d+)",
    "updated": r"rows updated: (\d+)",
    "seconds": r"first record to the last commit: ([\d.]+)",
    "decoding_seconds": r"decoding ([\d.]+)",
    "writing_seconds": r"writing ([\d.]+)",
    "cpu_seconds": r"CPU ([\d.]+)",
}


def _run(stack: Stack, server: _Server, name: str, arguments: str = "") -> dict[str, float]:
    """One execution and what its log says about it."""
    began = time.monotonic()
    execution = server.materialize(name, arguments)
    wall = time.monotonic() - began
    folder = stack.config.hopsworks_home / "datasets"
    out, err = (
        Path(folder, execution[path].removeprefix(f"/Projects/{stack.config.project}/")).read_text()
        for path in ("stdoutPath", "stderrPath")
    )
    if execution["finalStatus"] != "SUCCEEDED":
        raise RuntimeError(f"execution {execution['id']} ended {execution['finalStatus']}: {err[-2000:]}")
    result = {key: float(re.search(pattern, out)[1]) for key, pattern in _LOG.items()}  # type: ignore[index]
    rows = result["inserted"] + result["updated"]
    return {
        **result,
        "execution_seconds": wall,
        "rows_per_second": rows / result["seconds"],
        "cpu_us_per_row": result["cpu_seconds"] / rows * 1e6,
        "rows_per_second_with_start_of_process": rows / wall,
    }


def run(rows: int, stack: Stack) -> dict[str, Any]:
    """Fill, count, materialize three times: into an empty table, behind what it has, and all of it once more.

    :param rows: rows of the first and largest fill; the second is a third of it.
    :param stack: a stack of which broker and server run, and the online consumer does not.
    """
    server, config = _Server(stack), stack.config
    name = f"bench_{uuid.uuid4().hex[:8]}"
    group, subject, schema = server.create_group(name)
    topic = group["onlineTopicName"]
    headers = {
        "projectId": PROJECT_ID, "featureGroupId": group["id"], "subjectId": subject, "onlineIngestionId": 1,
    }  # fmt: skip
    start = {partition: high for partition, (_, high) in _watermarks(config, topic).items()}
    checkpoint = "-initialCheckPointString " + ",".join([topic, *(f"{p}:{o}" for p, o in start.items())])
    filled = _fill(config, topic, schema, headers, range(rows))
    end = {partition: high for partition, (_, high) in _watermarks(config, topic).items()}
    bare = _bare(config, topic, start, end)
    if bare["records"] != rows:
        raise RuntimeError(f"{bare['records']} records in the topic, {rows} were written; is somebody else writing?")
    results = {"first fill": _run(stack, server, name, checkpoint)}
    _fill(config, topic, schema, headers, range(rows, rows + rows // 3))
    results["append of new keys"] = _run(stack, server, name)
    results["all rows once more"] = _run(stack, server, name, checkpoint)
    expected = {
        "first fill": (rows, 0),
        "append of new keys": (rows // 3, 0),
        "all rows once more": (0, rows + rows // 3),
    }
    for phase, result in results.items():
        if (result["inserted"], result["updated"]) != expected[phase]:
            raise RuntimeError(f"{phase}: {result} differs from {expected[phase]} rows inserted and updated")
        result["ratio_to_bare"] = result["rows_per_second"] / bare["rows_per_second"]
    return {
        "benchmark": "materialization",
        "rows": rows,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "filled_per_second": filled,
        "bare": bare,
        "phases": results,
        "target_rows_per_second": MATERIALIZED_PER_SECOND,
        "met": results["first fill"]["rows_per_second"] >= MATERIALIZED_PER_SECOND,
    }


def measure(rows: int, port_base: int, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """Rows per second of each phase and of the bare consumer, on a stack of its own that is gone afterwards."""
    stack = Stack(DevstackConfig(home=_HOME, port_base=port_base))
    try:
        stack.up(["kafka", "hopsworks"])
        result = run(rows, stack)
    finally:
        stack.down(wipe=True)
    tell(f"materialization:\n{table(result)}")
    rates = {phase: figures["rows_per_second"] for phase, figures in result["phases"].items()}
    return {"rows": rows, "bare_consumer_rows_per_second": result["bare"]["rows_per_second"], "rows_per_second": rates}


def table(result: dict[str, Any]) -> str:
    """The result as a table for people."""
    bare = result["bare"]
    lines = [
        f"{'':<22}{'rows/s':>12}{'of bare':>9}{'with start':>12}"
        f"{'read s':>8}{'decode s':>10}{'write s':>9}{'CPU us/row':>12}",
        f"{'bare consume':<22}{bare['rows_per_second']:>12,.0f}{1:>9.2f}{'':>39}{bare['cpu_us_per_record']:>12.2f}",
    ]
    for name, phase in result["phases"].items():
        lines.append(
            f"{name:<22}{phase['rows_per_second']:>12,.0f}{phase['ratio_to_bare']:>9.2f}"
            f"{phase['rows_per_second_with_start_of_process']:>12,.0f}{phase['reading_seconds']:>8.1f}"
            f"{phase['decoding_seconds']:>10.1f}{phase['writing_seconds']:>9.1f}"
            f"{phase['cpu_us_per_row']:>12.2f}"
        )
    verdict = "met" if result["met"] else "NOT met"
    lines.append(f"target {result['target_rows_per_second']:,} rows/s of the first fill: {verdict}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Bring up what is missing, measure, print; exit code 1 when the target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.materialization", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="rows of the first fill (default 3,000,000)")
    parser.add_argument("--json", type=Path, help="write the result to this file as well")
    parser.add_argument("--keep", action="store_true", help="leave the stack up, for another run")
    options = parser.parse_args(arguments)
    port_base = int(os.environ.get("DEVSTACK_TEST_PORT_BASE", "29000"))
    stack = Stack(DevstackConfig(home=_HOME, port_base=port_base))
    stack.up(["kafka", "hopsworks"])
    try:
        result = run(options.rows, stack)
    finally:
        if not options.keep:
            stack.down(wipe=True)
    text = json.dumps(result, indent=2)
    print(text)
    print(table(result))
    if options.json:
        options.json.write_text(text)
    return 0 if result["met"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
