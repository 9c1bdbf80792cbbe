"""Programs that are submitted at the same moment: each becomes its own job, and each row is written by its own job.

Two streaming jobs are deployed and two bounded jobs run, all four at once, again and again with another program each
time. In every test run a few rounds; ``make chaos`` does twenty.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from confluent_kafka import Producer

from hopsworks_flink.clients.flink.rest import FlinkRestClient
from hopsworks_flink.clients.kafka.topics import KafkaTopics, Topic
from hopsworks_flink.operators.flink import FlinkDeployJobOperator, FlinkRunJobOperator
from tests.support.fixtures import TaskInstance, set_connection
from tests.support.live.platform import records

ROUNDS = 20 if os.environ.get("FAULTS_LONG") == "1" else 2
pytestmark = [pytest.mark.timeout(300 + 300 * ROUNDS), pytest.mark.chaos]

STREAMS, BATCHES = ("north", "south"), ("east", "west")
EVENTS = 50
# A stack that is kept from run to run still has the jobs and topics of the last one.
RUN = f"together_{uuid.uuid4().hex[:8]}"
SOURCE = f"{RUN}_events"


def name_of(line: str) -> str:
    """Of a line's job, and of the topic that it writes to."""
    return f"{RUN}_{line}"


class Cluster:
    """The stack's Kafka and Flink, with a source topic that holds ``EVENTS`` records."""

    def __init__(self, stack: Any) -> None:
        self.broker, self.flink = stack.config.kafka_bootstrap, stack.config.flink_url
        topics = KafkaTopics({"bootstrap.servers": self.broker})
        for name in (SOURCE, *map(name_of, STREAMS + BATCHES)):
            topics.create(Topic(name, 1, 1, {"retention.ms": "-1"}))
        producer = Producer({"bootstrap.servers": self.broker})
        for number in range(EVENTS):
            producer.produce(SOURCE, value=str(number).encode())
        producer.flush(30)

    def get(self, path: str) -> Any:
        return requests.get(f"{self.flink}{path}", timeout=30).json()

    def plan(self, line: str, number: int) -> dict[str, Any]:
        """Writes all events, each with the name of its line and the number of its round."""
        kafka = f"'connector' = 'kafka', 'properties.bootstrap.servers' = '{self.broker}'"
        end = "" if line in STREAMS else ", 'scan.bounded.mode' = 'latest-offset'"
        start = "'scan.startup.mode' = 'earliest-offset'"
        source = f"CREATE TABLE events (v STRING) WITH ({kafka}, 'topic' = '{SOURCE}', {start}{end}, 'format' = 'raw')"
        columns, topic = "line STRING, number INT, v STRING", name_of(line)
        sink = f"sink_{line}_{number}"
        return {
            "format": 1,
            "runtime_mode": "streaming" if line in STREAMS else "batch",
            "table_config": {},
            "statements": [
                source,
                f"CREATE TABLE {sink} ({columns}) WITH ({kafka}, 'topic' = '{topic}', 'format' = 'json')",
            ],
            "inserts": [f"INSERT INTO {sink} SELECT '{line}', {number}, v FROM events"],
        }

    def submit(self, line: str, number: int) -> dict[str, Any]:
        """By the operator that a DAG would use."""
        arguments: dict[str, Any] = {
            "task_id": line,
            "job_name": name_of(line),
            "program": "feature_pipeline",
            "data_files": {"plan.json": self.plan(line, number), "bindings.json": {"values": {}, "secrets": []}},
            "timeout": 300,
            "poll_interval": 0.2,
        }
        task = TaskInstance(run_id=f"round_{number}")
        task.dag_id = task.task_id = line
        if line in STREAMS:
            operator: Any = FlinkDeployJobOperator(
                **arguments, state="fresh", require_checkpoint=False, grace_period=0.2
            )
        else:
            operator = FlinkRunJobOperator(**arguments)
        return operator.execute({"ti": task})

    def problem(self, line: str, number: int, result: dict[str, Any]) -> str | None:
        """What is wrong with the job that a task is green for; None: nothing."""
        job = self.get(f"/jobs/{result['job_id']}")
        marks = self.get(f"/jobs/{result['job_id']}/config")["execution-config"]["user-config"]
        plan = " ".join(vertex["name"] for vertex in job["vertices"])
        if job["name"] != name_of(line):
            return f"job {job['jid']} of {line} is called {job['name']}"
        if marks["deployment_hash"] != result["deployment_hash"]:
            return f"job {job['jid']} of {line} has another hash"
        if f"sink_{line}_{number}" not in plan:
            return f"job {job['jid']} of {line} does {plan}"
        return None

    def rows(self, line: str) -> Counter[tuple[str, int, str]]:
        found = [json.loads(record.value()) for record in records(self.broker, name_of(line))]
        return Counter((row["line"], row["number"], row["v"]) for row in found)

    def await_rows(self, line: str, number: int) -> str | None:
        deadline = time.monotonic() + 60
        while sum(n for (_, found, _), n in self.rows(line).items() if found == number) < EVENTS:
            if time.monotonic() > deadline:
                return f"{line} has not written its rows"
            time.sleep(0.5)
        return None


@pytest.fixture
def cluster(stack: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    set_connection(monkeypatch, "flink_default", **stack.airflow_connections()["flink_default"])
    cluster = Cluster(stack)
    yield cluster
    for job in cluster.get("/jobs/overview")["jobs"]:
        if job["name"].startswith(RUN) and job["state"] not in ("FINISHED", "CANCELED", "FAILED"):
            requests.patch(f"{cluster.flink}/jobs/{job['jid']}?mode=cancel", timeout=30)


def meeting(parties: int) -> Callable[..., str]:
    """``run_jar`` whose first calls of a round wait for each other."""
    barrier, seen, run_jar = threading.Barrier(parties), threading.local(), FlinkRestClient.run_jar

    def together(self: FlinkRestClient, jar_id: str, request: Any) -> str:
        if not getattr(seen, "met", False):
            seen.met = True
            barrier.wait(60)
        return run_jar(self, jar_id, request)

    return together


def test_submissions_at_the_same_moment(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    problems, lines = [], STREAMS + BATCHES
    original = FlinkRestClient.run_jar
    for number in range(ROUNDS):
        monkeypatch.setattr(FlinkRestClient, "run_jar", meeting(len(lines)))
        begun = time.monotonic()
        with ThreadPoolExecutor(len(lines)) as pool:
            tasks = {line: pool.submit(cluster.submit, line, number) for line in lines}
        monkeypatch.setattr(FlinkRestClient, "run_jar", original)
        found = []
        for line, task in tasks.items():
            error = task.exception()
            problem = f"{line}: {error!r}" if error else cluster.problem(line, number, task.result())
            found.append(problem or cluster.await_rows(line, number))
        round_problems = [f"round {number}: {problem}" for problem in found if problem]
        print(f"round {number}: {time.monotonic() - begun:.1f} s, {len(round_problems)} problems", flush=True)
        problems += round_problems
    for line in lines:
        expected = {(line, number, str(event)): 1 for number in range(ROUNDS) for event in range(EVENTS)}
        wrong = (cluster.rows(line) - Counter(expected)) + (Counter(expected) - cluster.rows(line))
        if wrong:
            problems.append(f"rows of {line}: {len(wrong)} wrong, e.g. {list(wrong.items())[:3]}")
    assert not problems, "\n".join(problems)
