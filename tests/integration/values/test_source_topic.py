"""Topics as people use them: transactions, compaction, partitions that are added, records that are deleted, rows of
another pipeline.

Each pipeline counts and sums in windows of a minute, per key; values are held against plain Python, exactly.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import pytest
import requests
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.clients.kafka.offsets import (
    holds_more_than,
    newest_by_partition,
    newest_timestamp,
    partition_histories,
    stable_offsets,
)
from hopsworks_flink.clients.kafka.poison import Search, find_poison
from hopsworks_flink.clients.kafka.topics import KafkaTopics, Topic, TopicChanges
from hopsworks_flink.deployment.feature_job import joined_groups
from hopsworks_flink.exceptions import KafkaError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator, FlinkRecomputeFeaturesOperator
from hopsworks_flink.operators.hopsworks import (
    HopsworksCreateFeatureGroupOperator,
    HopsworksCreateTopicOperator,
    HopsworksMaterializeFeatureGroupOperator,
)
from hopsworks_flink.pipeline.decoding import value_check
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_topic_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql import features
from hopsworks_flink.tasks.planning import Deployment, compare
from hopsworks_flink.tasks.source_events import read_versions
from hopsworks_flink.testing import evaluate
from tests.support.fixtures import set_connection, task_context
from tests.support.live.jobs import OFTEN
from tests.support.live.platform import ends, eventually, jobs, offline_rows, records, sdk_project, sent_rows

pytestmark = pytest.mark.timeout(600)

RUN = f"{time.time_ns() // 1_000_000 % 100_000_000}"
MINUTE = 60_000
START = int(time.time()) // 60 * MINUTE - 180 * MINUTE
FLUSH = "flush"
ONLINE_TOPIC = "demo_onlinefs"

Row = tuple[str, int, int, int]


class Pipe:
    """One pipeline, and the events of it that count."""

    def __init__(self, stack: Any, certificates: Any, name: str, **source: Any) -> None:
        self.stack, self.certificates = stack, certificates
        self.name = f"{name}_{RUN}"
        self.spec: dict[str, Any] = {
            "name": self.name,
            "source": {
                "topic": f"{self.name}_events",
                "format": "json",
                "schema": {"k": "string", "at": "bigint", "v": "bigint"},
                "event_time": {"column": "at"},
                "max_disorder": "2s",
                **source,
            },
            "feature_groups": [
                {
                    "name": self.name,
                    "key": ["k"],
                    "event_time": "window_end",
                    "window": {"size": "1m"},
                    "aggregates": {"n": "count", "total": {"sum": "v"}},
                }
            ],
        }
        self.topic, self.conf = self.spec["source"]["topic"], {"bootstrap.servers": stack.config.kafka_bootstrap}
        self.committed: list[dict[str, Any]] = []
        self.since = dict.fromkeys(range(64), 0)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.parse(self.spec)

    def register(self) -> None:
        HopsworksCreateTopicOperator(task_id="topic", **source_topic_arguments(self.pipeline)).execute(task_context())
        self.register_groups()
        self.since = ends(self.stack.config.kafka_bootstrap, ONLINE_TOPIC)

    def register_groups(self, **kwargs: Any) -> None:
        for group in self.pipeline.feature_groups:
            arguments = {**feature_group_arguments(self.pipeline, group), **kwargs}
            HopsworksCreateFeatureGroupOperator(task_id="group", **arguments).execute(task_context())

    def deploy(self, **kwargs: Any) -> dict[str, Any]:
        arguments = {"grace_period": 1.0, "poll_interval": 0.5, "timeout": 240, "flink_configuration": OFTEN, **kwargs}
        return FlinkDeployFeaturePipelineOperator(task_id="t", pipeline=self.spec, **arguments).execute(task_context())

    def recompute(self, seconds: float = 60.0, **kwargs: Any) -> dict[str, Any]:
        operator = FlinkRecomputeFeaturesOperator(
            task_id="t", pipeline=self.spec, start=iso(START), end=iso(START + 60 * MINUTE), poll_interval=0.5, **kwargs
        )
        operator.open_transaction_seconds = seconds
        return operator.execute(task_context())

    def running(self) -> list[str]:
        found = jobs(self.stack, self.pipeline.job_name)
        return [job_id for job_id, state in found.items() if state not in ("FINISHED", "CANCELED", "FAILED")]

    def recomputing(self) -> list[str]:
        overview = requests.get(f"{self.stack.config.flink_url}/jobs/overview", timeout=30).json()["jobs"]
        return [job["jid"] for job in overview if job["name"].startswith(f"{self.name}__recompute")]

    def producer(self, **settings: Any) -> Producer:
        return Producer({**self.conf, "linger.ms": 5, **settings})

    def transactional(self, name: str, **settings: Any) -> Producer:
        producer = self.producer(**{"transactional.id": f"{self.name}_{name}", **settings})
        producer.init_transactions(30)
        return producer

    def send(self, producer: Producer, made: list[dict[str, Any]], partition: int = 0, *, counts: bool = True) -> None:
        for event in made:
            producer.produce(
                self.topic, json.dumps(event).encode(), key=event["k"], partition=partition, timestamp=event["at"]
            )
        assert producer.flush(30) == 0
        self.committed += made if counts else []

    def expected(self) -> list[Row]:
        """Rows of all windows of the events that were committed, but for those that only move the watermark."""
        sums: dict[tuple[str, int], list[int]] = defaultdict(list)
        for event in self.committed:
            if event["k"] != FLUSH:
                sums[event["k"], event["at"] // MINUTE * MINUTE + MINUTE].append(event["v"])
        return sorted((k, end, len(values), sum(values)) for (k, end), values in sums.items())

    def written(self, storage: str | None = None) -> list[Row]:
        """Rows that a job has sent to the stores: the stream's, or those for one store only."""
        found = sent_rows(self.stack.config.kafka_bootstrap, self.name, storage=storage, since=self.since)
        return sorted(row for row in set(map(row_of, found)) if row[0] != FLUSH)

    def assert_written(self, storage: str | None = None, timeout: float = 60.0) -> None:
        def check() -> None:
            assert self.written(storage) == self.expected()

        eventually(check, timeout)

    def materialized(self) -> list[Row]:
        HopsworksMaterializeFeatureGroupOperator(task_id="t", name=self.name, version=1, poll_interval=0.5).execute(
            task_context()
        )
        with sdk_project(self.stack, self.certificates) as project:
            rows = offline_rows(project.get_feature_store().get_feature_group(self.name, version=1))
        return sorted(row for row in map(row_of, rows) if row[0] != FLUSH)

    def set_policy(self, policy: str) -> None:
        KafkaTopics(self.conf).alter(self.topic, TopicChanges(None, {"cleanup.policy": policy}, (), ()))

    def cancel(self) -> None:
        for job_id in self.running():
            requests.patch(f"{self.stack.config.flink_url}/jobs/{job_id}?mode=cancel", timeout=30)


def row_of(row: dict[str, Any]) -> Row:
    end = row["window_end"].replace(tzinfo=row["window_end"].tzinfo or timezone.utc)
    return row["k"], round(end.timestamp() * 1000), row["n"], row["total"]


def iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat()


def events(minute: int, count: int, factor: int = 1) -> list[dict[str, Any]]:
    """Within one minute; values tell whose they are."""
    return [
        {"k": f"k{number % 3}", "at": START + minute * MINUTE + number * 100, "v": factor * (number + 1)}
        for number in range(count)
    ]


def flush(minute: int) -> list[dict[str, Any]]:
    return [{"k": FLUSH, "at": START + minute * MINUTE, "v": 0}]


@pytest.fixture(scope="module")
def connections(stack: Any) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        yield stack


@pytest.fixture
def pipe(connections: Any, tmp_path: Any, request: pytest.FixtureRequest) -> Iterator[Pipe]:
    name, source = request.param
    pipe = Pipe(connections, tmp_path, name, **source)
    pipe.register()
    yield pipe
    pipe.cancel()


def piped(name: str, **source: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pipe", [(name, source)], indirect=True, ids=[name])


@piped("transactions")
def test_only_what_is_committed_counts(pipe: Pipe) -> None:
    """In the stream, in a recompute and in the offline store; and what is open is not left out in silence."""
    pipe.deploy()
    plain, zstd = pipe.transactional("plain"), pipe.transactional("zstd", **{"compression.type": "zstd"})
    for producer in (plain, zstd):
        producer.begin_transaction()
    for minute in range(3):
        pipe.send(plain, events(minute, 20))
        pipe.send(zstd, events(minute, 30, factor=1000), counts=False)
    # A job that read it would fail.
    zstd.produce(pipe.topic, b"no event", partition=0, timestamp=START)
    assert zstd.flush(30) == 0
    plain.commit_transaction(30)
    zstd.abort_transaction(30)
    zstd.begin_transaction()
    pipe.send(zstd, events(3, 25))
    pipe.send(zstd, flush(10))
    zstd.commit_transaction(30)
    pipe.assert_written()
    assert pipe.materialized() == pipe.expected()

    plain.begin_transaction()
    pipe.send(plain, events(20, 12))
    # Behind the open transaction, though committed at once.
    pipe.send(pipe.producer(), flush(30))
    (stable,) = stable_offsets(pipe.conf, pipe.topic).values()
    with pytest.raises(KafkaError, match=rf"transaction that began at offset {stable} of partition 0 is open.*Nothing"):
        pipe.recompute(seconds=0.5)
    assert not pipe.recomputing()
    plain.commit_transaction(30)
    pipe.assert_written()

    # The last offsets of the topic are a transaction that was aborted, and its marker.
    zstd.begin_transaction()
    pipe.send(zstd, events(5, 30, factor=1000), counts=False)
    zstd.abort_transaction(30)
    eventually(lambda: assert_nothing_waits(pipe))
    result = pipe.recompute()
    assert result["rows"] == {f"{pipe.name}_1": len(pipe.expected()) + 2}
    pipe.assert_written("offline")
    assert pipe.materialized() == pipe.expected()


def assert_nothing_waits(pipe: Pipe) -> None:
    assert FlinkHook().facts(pipe.pipeline.job_name, counts=True).lag == 0


@piped("marked")
def test_a_search_and_a_figure_leave_out_what_was_aborted(pipe: Pipe) -> None:
    group, check = "nobody", value_check(pipe.pipeline.source)
    producer = pipe.transactional("one")
    producer.begin_transaction()
    pipe.send(producer, events(0, 10))
    producer.commit_transaction(30)
    producer.begin_transaction()
    pipe.send(producer, events(20, 10))
    producer.produce(pipe.topic, b"no event", partition=0)
    producer.abort_transaction(30)
    newest = START + 900
    assert newest_by_partition(pipe.conf, pipe.topic) == {0: newest}
    assert newest_timestamp(pipe.conf, pipe.topic) == newest
    assert find_poison(pipe.conf, pipe.topic, group, check) == Search((), 10, True)
    since = {0: 5}
    assert holds_more_than(pipe.conf, pipe.topic, since, 4)
    assert not holds_more_than(pipe.conf, pipe.topic, since, 5)

    producer.begin_transaction()
    producer.produce(pipe.topic, b"not yet", partition=0)
    assert producer.flush(30) == 0
    assert find_poison(pipe.conf, pipe.topic, group, check) == Search((), 10, True)
    producer.commit_transaction(30)
    (found,) = find_poison(pipe.conf, pipe.topic, group, check).records
    assert found.value == b"not yet"


@piped("unlike")
def test_a_job_of_an_older_version_keeps_its_state(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """That has read without these options: what its open windows hold, they still hold afterwards."""
    created = features.create_table

    def older(name: str, columns: Any, options: dict[str, str], placeholders: str) -> str:
        new = ("properties.isolation.level", "scan.topic-partition-discovery.interval")
        return created(name, columns, {key: value for key, value in options.items() if key not in new}, placeholders)

    with monkeypatch.context() as patch:
        patch.setattr(features, "create_table", older)
        first = pipe.deploy()
    pipe.send(pipe.producer(), [*events(0, 20), *events(1, 40)])
    eventually(lambda: assert_some(pipe.written()))
    second = pipe.deploy()
    assert (second["action"], second["state"], second["replaced_job_id"]) == ("replaced", "restore", first["job_id"])
    pipe.send(pipe.producer(), [*events(1, 10), *flush(10)])
    pipe.assert_written()


def assert_some(rows: list[Row]) -> None:
    assert rows


@piped("growing", idle_timeout="5s")
def test_partitions_that_are_added_are_read_from_their_beginning(pipe: Pipe, tmp_path: Any) -> None:
    """And deleted records of one of them are known to be gone."""
    pipe.deploy()
    pipe.send(pipe.producer(), [*events(0, 20), *events(1, 40)])
    eventually(lambda: assert_some(pipe.written()))
    grown = AdminClient(pipe.conf)
    KafkaTopics(pipe.conf).alter(pipe.topic, TopicChanges(3, {}, (), ()))
    pipe.send(pipe.producer(), events(1, 30), partition=1)
    # The third partition stays empty: after its idle timeout it holds nothing back.
    for minute in (2, 3):
        for partition in (0, 1):
            pipe.send(pipe.producer(), events(minute, 10), partition=partition)
        time.sleep(3)
    pipe.send(pipe.producer(), flush(10), partition=0)
    pipe.send(pipe.producer(), flush(10), partition=1)
    pipe.assert_written()

    (deleted,) = grown.delete_records([TopicPartition(pipe.topic, 1, 35)]).values()
    deleted.result(30)
    assert [one.low for one in partition_histories(pipe.conf, pipe.topic, 0, 2**53)] == [0, 35, 0]
    running = pipe.running()
    pipe.spec["feature_groups"][0]["window"] = {"size": "2m"}
    file = tmp_path / "p.yaml"
    file.write_text(json.dumps(pipe.spec))
    planned, refused = compare(str(file), Deployment()), "cannot be rewarmed, and nothing was touched"
    assert planned.state == "refused"
    assert refused in planned.state_reasons[-1]
    with pytest.raises(AirflowFailException, match=refused):
        pipe.deploy()
    assert pipe.running() == running
    with pytest.raises(AirflowFailException, match=r"does not hold what the interval .* needs any more"):
        pipe.recompute()
    assert not pipe.recomputing()


@piped("compacted")
def test_a_compacted_topic_is_no_history(pipe: Pipe, caplog: pytest.LogCaptureFixture, tmp_path: Any) -> None:
    pipe.set_policy("compact,delete")
    file = tmp_path / "p.yaml"
    file.write_text(json.dumps(pipe.spec))

    def planned() -> tuple[str, str, str]:
        found = compare(str(file), Deployment())
        return found.state, found.resources[0].action, "; ".join(found.warnings)

    # Nothing has been lost of a topic that has had no record.
    warned = "cleanup.policy=compact,delete: of records with the same key it keeps the newest only"
    assert planned()[:2] == ("resets", "none")
    assert warned in planned()[2]
    pipe.send(pipe.producer(), events(0, 20))
    assert planned()[0] == "refused"
    with pytest.raises(AirflowFailException, match=r"cleanup.policy=compact,delete.*start='latest'"):
        pipe.deploy()
    assert not pipe.running()
    pipe.committed.clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        pipe.deploy(start="latest")
    assert warned in caplog.text
    running = pipe.running()
    pipe.send(pipe.producer(), [*events(1, 20), *flush(10)])
    pipe.assert_written()

    with pytest.raises(AirflowFailException, match=r"cleanup.policy=compact,delete.*cannot be recomputed from it"):
        pipe.recompute()
    assert not pipe.recomputing()
    pipe.spec["feature_groups"][0]["window"] = {"size": "2m"}
    file.write_text(json.dumps(pipe.spec))
    assert planned()[0] == "refused"
    with pytest.raises(AirflowFailException, match=r"cleanup.policy=compact,delete.*cannot be rewarmed from it"):
        pipe.deploy()
    assert pipe.running() == running
    assert KafkaTopics(pipe.conf).find(pipe.topic) is not None


def test_topics_that_only_delete_are_not_warned_of(connections: Any, caplog: pytest.LogCaptureFixture) -> None:
    from hopsworks_flink.clients.kafka.offsets import compaction

    conf, name = {"bootstrap.servers": connections.config.kafka_bootstrap}, f"kept_{RUN}"
    KafkaTopics(conf).create(Topic(name, 1, 1))
    assert compaction(conf, name) is None
    assert compaction(conf, f"nowhere_{RUN}") is None
    assert not caplog.records


def answers(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    found = [(row["k"], row["event_time"].replace(tzinfo=timezone.utc), row["spent"], row["most"]) for row in rows]
    return sorted((k, round(at.timestamp() * 1000), *others) for k, at, *others in found if k != FLUSH)


class Asking(Pipe):
    """Questions, each of which gets the newest row of its key in another pipeline's feature group, as of its time."""

    def __init__(self, spent: Pipe) -> None:
        super().__init__(spent.stack, spent.certificates, "asking", schema={"k": "string", "n": "bigint"})
        self.spent = spent
        self.spec["source"] |= {"event_time": "kafka_timestamp", "join": {"spent": self.join}}
        self.spec["feature_groups"][0] |= {"event_time": "event", "features": ["n", "spent", "most"]}
        for name in ("window", "aggregates"):
            del self.spec["feature_groups"][0][name]

    @property
    def join(self) -> dict[str, Any]:
        """Before the group has the feature that is appended."""
        return {
            "topic": ONLINE_TOPIC,
            "broker": "feature_store",
            "feature_group": f"{self.spent.name}_1",
            "schema": {"k": "string", "n": "bigint", "total": "bigint", "window_end": "timestamp", "most": "bigint"},
            "appended": ["most"],
            "event_time": {"column": "window_end"},
            "by": "k",
            "columns": {"spent": "total", "most": "most"},
        }

    def ask(self, minutes: list[float]) -> None:
        for minute in minutes:
            at = START + round(minute * MINUTE)
            asked = [{"k": k, "n": number, "at": at} for number, k in enumerate(["k0", "k1", "k2", "nobody", None])]
            self.send(self.producer(), asked)

    def rows(self, storage: str | None = None) -> list[tuple[Any, ...]]:
        return answers(sent_rows(self.stack.config.kafka_bootstrap, self.name, storage=storage, since=self.since))

    @cached_property
    def group_ids(self) -> dict[str, int]:
        with HopsworksHook().session() as session:
            return {ref.full_name: ref.feature_group_id for ref in joined_groups(session, self.pipeline)}

    def end_with_another_group(self) -> None:
        """Write a row of another group once more: it is the last record of the topic."""
        ours = {str(number).encode() for number in self.group_ids.values()}
        found = records(self.stack.config.kafka_bootstrap, ONLINE_TOPIC, self.spent.since)
        row = [record for record in found if dict(record.headers())["featureGroupId"] not in ours][-1]
        producer = self.producer()
        producer.produce(ONLINE_TOPIC, row.value(), row.key(), partition=row.partition(), headers=row.headers())
        assert producer.flush(30) == 0

    def evaluated(self) -> list[tuple[Any, ...]]:
        """What people are told of a value: out of the rows as they are read for that."""
        versions = read_versions(self.pipeline, self.conf, self.conf, self.group_ids)
        asked = [{"k": one["k"], "n": one["n"], "__kafka_timestamp": one["at"]} for one in self.committed]
        return answers(evaluate(self.pipeline, asked, versions)[f"{self.name}_1"])

    def wanted(self, grown: int) -> list[tuple[Any, ...]]:
        """:param grown: since this minute the group has its appended feature."""
        rows = []
        for k, at in ((one["k"], one["at"]) for one in self.committed if one["k"] is not None):
            before = [end for key, end, _, _ in self.spent.expected() if key == k and end <= at]
            counted = [
                one["v"]
                for one in self.spent.committed
                if before and one["k"] == k and one["at"] // MINUTE * MINUTE + MINUTE == max(before)
            ]
            most = max(counted) if before and max(before) > START + grown * MINUTE else None
            rows.append((k, at, sum(counted) if counted else None, most))
        return sorted(rows)


@piped("spent")
def test_rows_of_another_pipeline_are_joined(pipe: Pipe, request: pytest.FixtureRequest) -> None:
    """Out of the topic that all feature groups share: of those of a key the one that held, never one of another group,
    which has the same keys here; and of rows that are longer since a feature was appended."""
    (group,) = pipe.spec["feature_groups"]
    pipe.spec["feature_groups"].append({**group, "version": 2, "aggregates": {"total": {"max": "v"}}})
    pipe.register_groups()
    pipe.deploy()
    pipe.send(pipe.producer(), [*events(0, 20), *events(1, 2), *events(2, 30), *flush(4)])
    pipe.assert_written()
    asking = Asking(pipe)
    request.addfinalizer(asking.cancel)
    asking.register()
    asking.end_with_another_group()
    asking.deploy()
    asking.ask([0.5, 1.0, 1.999, 2.5, 3.0, 3.5])
    asking.send(asking.producer(), flush(5), counts=False)

    def assert_rows(storage: str | None = None) -> None:
        assert asking.rows(storage) == asking.wanted(grown=4)

    eventually(assert_rows)
    group["aggregates"]["most"] = {"max": "v"}
    pipe.register_groups(on_drift="append_later")
    pipe.deploy(on_drift="append")
    pipe.send(pipe.producer(), [*events(5, 15), *flush(8)])
    pipe.assert_written()
    asking.ask([5.5, 6.0, 7.0])
    asking.send(asking.producer(), flush(9), counts=False)
    eventually(assert_rows)
    asking.recompute()
    assert_rows("offline")
    assert asking.evaluated() == asking.wanted(grown=4)
    join = asking.spec["source"]["join"]["spent"]
    join["schema"] = {"total": "bigint", **join["schema"]}
    with pytest.raises(AirflowFailException, match="its features are, in this order, k, n, total, window_end, most"):
        asking.deploy()
