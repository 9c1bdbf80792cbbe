"""Reading in blocks against reading record by record: real broker, real topic, real Delta tables."""

from __future__ import annotations

import io
import json
import shutil
from operator import itemgetter
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer
from hsfs.feature import Feature

from devstack.hopsworks.home.layout import PROJECT_ID, Layout
from devstack.hopsworks.metadata.store import MetadataStore
from devstack.hopsworks.offline.materialize import Materialization
from devstack.kafka.access import client_settings, ensure_scram_user
from devstack.stack import Stack
from tests.support.live.platform import eventually, offline_rows

FEATURES = [Feature("id", "bigint"), Feature("ts", "timestamp"), Feature("v", "double"), Feature("t", "string")]
# Few: each new group's first materialization reads the whole of the project's topic.
ROWS = 4_000
NEVER = 2**62


class Group:
    """A new feature group, and records for it that lie in the project's topic beside those of others."""

    def __init__(self, stack: Stack, fs: Any, name: str) -> None:
        self.stack, self.store = stack, MetadataStore(Layout(stack.config))
        group = fs.get_or_create_feature_group(
            name, 1, stream=True, primary_key=["id"], event_time="ts", online_enabled=True, time_travel_format="HUDI"
        )
        group.save(FEATURES)
        (self.group,) = self.store.feature_groups(name)
        self.subject = self.store.subject_versions(self.group.full_name)[-1]
        self.schema = fastavro.parse_schema(json.loads(self.subject.schema))

    def send(self, rows: range, every_other_of: int | None = None, **settings: Any) -> None:
        producer = Producer({**client_settings(self.stack.config), "linger.ms": 20, **settings})
        self.put(producer, rows, every_other_of)

    def put(self, producer: Producer, rows: range, every_other_of: int | None = None) -> None:
        for number in rows:
            buffer = io.BytesIO()
            row = {"id": number, "ts": 60_000_000 * number, "v": number / 7 if number % 5 else None, "t": str(number)}
            fastavro.schemaless_writer(buffer, self.schema, row)
            group = every_other_of if every_other_of and number % 2 else self.group.id
            self.produce(producer, buffer.getvalue(), str(number % 97), group)
            if number % 1000 == 0:
                producer.poll(0)
        assert producer.flush(60) == 0

    def produce(self, producer: Producer, value: bytes, key: str, group: int) -> None:
        headers = {"projectId": PROJECT_ID, "featureGroupId": group, "subjectId": self.subject.id}
        wire = [(name, str(value).encode()) for name, value in headers.items()]
        producer.produce(self.group.online_topic_name, value, key=key, headers=wire)

    def run(self, blocks_from: int, limit: int = NEVER, **changes: Any) -> list[dict[str, Any]]:
        """One materialization on top of what there is; all rows of the table afterwards."""
        config = self.stack.config.model_copy(update=changes)
        Materialization(config, self.store, self.group, limit, blocks_from).run(None)
        return sorted(offline_rows(self.group), key=itemgetter("id"))

    def forget(self) -> None:
        """The table is gone, and the offsets with it."""
        shutil.rmtree(Path(self.group.location.removeprefix("file://")))


@pytest.fixture
def group(stack: Stack, fs: Any, name: str) -> Group:
    return Group(stack, fs, name)


@pytest.mark.parametrize(
    ("sent", "settings"),
    [
        ({}, {}),
        ({"every_other_of": 999_999}, {}),
        ({}, {"compression.type": "zstd"}),
        # Kafka's own frames of snappy are for the other reader.
        ({}, {"compression.type": "snappy"}),
        ({}, {"batch.size": 2_000}),
    ],
    ids=["plain", "mixed", "zstd", "snappy", "small batches"],
)
def test_in_blocks_as_record_by_record(
    group: Group, capsys: pytest.CaptureFixture[str], sent: dict[str, Any], settings: dict[str, Any]
) -> None:
    # What other tests have left in the topic is of other groups: a run of its own, so that it changes nothing below.
    group.send(range(1))
    group.run(NEVER)
    group.send(range(ROWS), **sent, **settings)
    capsys.readouterr()
    in_blocks = group.run(blocks_from=1)
    said = capsys.readouterr().out
    assert ("record by record" in said) == ("snappy" in settings.values())
    assert f"records read: {ROWS} in" in said
    group.forget()
    assert in_blocks == group.run(NEVER)
    expected = ROWS // 2 if sent else ROWS
    assert len(in_blocks) == expected


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_only_what_is_committed_is_written(
    group: Group, fs: Any, codec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """However it is read, and online as well; what is open comes when it is committed."""

    def transactional(name: str) -> Producer:
        settings = {**client_settings(group.stack.config), "transactional.id": f"{group.group.name}_{name}"}
        producer = Producer({**settings, "compression.type": codec, "linger.ms": 20})
        producer.init_transactions(30)
        producer.begin_transaction()
        return producer

    good, bad, late = (transactional(name) for name in ("good", "bad", "late"))
    for number in range(0, 900, 100):
        group.put(good, range(number, number + 50))
        group.put(bad, range(number + 50, number + 100))
    good.commit_transaction(30)
    bad.abort_transaction(30)
    group.put(late, range(2000, 2010))
    group.send(range(3000, 3010))
    committed = [number for number in range(900) if number % 100 < 50]
    for blocks_from in (1, NEVER):
        rows = [row["id"] for row in group.run(blocks_from)]
        # Of what lies behind an open transaction, nothing is known yet: partitions differ.
        assert [number for number in rows if number < 3000] == committed
        # The run ends before the open transaction, and does not wait for what lies behind.
        assert "nothing arrived" not in capsys.readouterr().out
        group.forget()
    late.commit_transaction(30)
    wanted = [*committed, *range(2000, 2010), *range(3000, 3010)]
    for blocks_from in (1, NEVER):
        assert [row["id"] for row in group.run(blocks_from)] == wanted
        group.forget()

    def served() -> None:
        frame = fs.get_feature_group(group.group.name, 1).read(online=True)
        assert sorted(frame["id"].tolist()) == wanted

    eventually(served)


def test_a_limit_is_kept(group: Group) -> None:
    group.send(range(ROWS))
    assert [len(group.run(1, limit=1_501)) for _ in range(4)] == [1_501, 3_002, ROWS, ROWS]


def test_broken_records_are_named(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    group.send(range(100))
    producer = Producer(client_settings(group.stack.config))
    group.produce(producer, b"no record", "k", group.group.id)
    assert producer.flush(60) == 0
    group.send(range(100, 200))
    assert len(group.run(blocks_from=1)) == 200
    captured = capsys.readouterr()
    assert "records undecodable: 1" in captured.out
    assert "left out: " in captured.err


@pytest.mark.parametrize("security", ["SSL", "SASL_SSL"])
def test_over_tls(group: Group, security: str, capsys: pytest.CaptureFixture[str]) -> None:
    ensure_scram_user(group.stack.config)
    group.send(range(1))
    group.run(NEVER)
    group.send(range(1000))
    capsys.readouterr()
    assert len(group.run(blocks_from=1, kafka_security=security)) == 1000
    assert "record by record" not in capsys.readouterr().out
