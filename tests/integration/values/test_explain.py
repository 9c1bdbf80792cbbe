"""Causes of differences, each made on the real stack, and each named by ``hopsworks-flink explain``.

The tests build on each other and run in order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
import yaml
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.cli import main
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.audit import AuditFeaturesOperator
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator, FlinkRecomputeFeaturesOperator
from hopsworks_flink.operators.hopsworks import HopsworksMaterializeFeatureGroupOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.fixtures import set_connection, task_context, variables
from tests.support.live.jobs import OFTEN
from tests.support.live.platform import eventually, jobs

__all__ = ["variables"]
pytestmark = pytest.mark.timeout(300)

NAME = f"explained_{time.time_ns() // 1_000_000 % 100_000_000}"
MINUTE = 60_000
# All windows are over, and a day is not.
START = int(time.time()) // 60 * MINUTE - 20 * MINUTE
END = START + MINUTE
LATE, REFUSED, FOREIGN, SILENT, CLOSING = 1, 2, 3, 4, 9
SPEC: dict[str, Any] = {
    "name": NAME,
    "source": {
        "topic": f"{NAME}_events",
        "format": "json",
        "schema": {"card": "bigint", "at": "bigint", "amount": "double"},
        "event_time": {"column": "at"},
        "max_disorder": "2s",
    },
    "feature_groups": [
        {
            "name": NAME,
            "key": ["card"],
            "event_time": "window_end",
            "window": {"size": "1m"},
            "aggregates": {"n": "count", "mean": {"avg": "amount"}, "spread": {"stddev_samp": "amount"}},
        }
    ],
}


class Explained:
    def __init__(self, stack: Any, session: Any, file: Path) -> None:
        self.stack, self.file = stack, file
        self.group = session.get_feature_group(NAME, 1)
        self.write(SPEC)

    def write(self, spec: dict[str, Any]) -> None:
        self.file.write_text(yaml.safe_dump(spec, sort_keys=False))

    def send(self, *events: tuple[int, int, float], arrived: int) -> None:
        """Each as card, milliseconds after the start, amount; their Kafka time is after the start as well."""
        producer = Producer({"bootstrap.servers": self.stack.config.kafka_bootstrap, "enable.idempotence": True})
        for card, after, amount in events:
            value = json.dumps({"card": card, "at": START + after, "amount": amount})
            producer.produce(f"{NAME}_events", value, timestamp=START + arrived)
        assert producer.flush(30) == 0

    def online(self) -> dict[int, dict[str, Any]]:
        return {row["card"]: row for row in self.group.read(online=True).to_dict("records")}

    def materialize(self) -> None:
        HopsworksMaterializeFeatureGroupOperator(task_id="t", name=NAME, version=1, poll_interval=0.5).execute(
            task_context()
        )


@pytest.fixture(scope="module")
def explained(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explained]:
    pipeline = Pipeline.parse(SPEC)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as opened:
        for conn_id in ("hopsworks_default", "flink_default"):
            set_connection(patch, conn_id, **stack.airflow_connections()[conn_id])
        # One login for all.
        session = opened.enter_context(HopsworksHook().session())
        session.topics.create(f"{NAME}_events", source_avro_schema(pipeline), partitions=1, replication=1)
        session.create_feature_group(**feature_group_arguments(pipeline, pipeline.feature_groups[0]))
        FlinkDeployFeaturePipelineOperator(
            task_id="t", pipeline=SPEC, grace_period=1, poll_interval=0.5, flink_configuration=OFTEN
        ).execute(task_context())
        explained = Explained(stack, session, tmp_path_factory.mktemp("explained") / f"{NAME}.yaml")
        explained.send(
            *((LATE, second * 1000, float(second)) for second in (10, 20, 30)),
            *((REFUSED, second * 1000, float(second)) for second in (11, 21)),
            # Further ahead than max_future.
            (REFUSED, 240 * MINUTE, 99.0),
            *((FOREIGN, second * 1000, float(second)) for second in (12, 22)),
            (SILENT, 13_000, 13.0),
            arrived=40_000,
        )
        explained.send((CLOSING, 5 * MINUTE, 1.0), arrived=5 * MINUTE)

        def closed() -> None:
            assert set(explained.online()) >= {LATE, REFUSED, FOREIGN, SILENT}

        eventually(closed)
        yield explained
        for job, state in jobs(stack, pipeline.job_name).items():
            if state not in ("FINISHED", "CANCELED", "FAILED"):
                requests.patch(f"{stack.config.flink_url}/jobs/{job}?mode=cancel", timeout=30)


@pytest.fixture
def why(explained: Explained, capsys: pytest.CaptureFixture) -> Any:
    def ask(card: int, at: int = END) -> tuple[dict[str, list[str]], dict[str, Any]]:
        """Cause -> the places that it concerns, and the whole answer."""
        moment = datetime.fromtimestamp(at / 1000, timezone.utc).isoformat()
        # The SDK prints where it has logged in.
        capsys.readouterr()
        code = main(["explain", str(explained.file), "--key", str(card), "--at", moment, "--json"])
        (answer,) = json.loads(capsys.readouterr().out)
        assert code == (2 if answer["differs"] else 0)
        assert answer["unknown"] == []
        return {found["cause"]: found["where"] for found in answer["findings"]}, answer

    return ask


def test_a_row_that_is_not_materialized(why: Any) -> None:
    causes, answer = why(LATE)
    assert causes == {"not_materialized": ["offline"]}
    assert answer["values"]["recomputed"]["n"] == answer["values"]["online"]["n"] == 3
    assert [event["outcome"] for event in answer["events"]] == ["counted"] * 3
    assert answer["values"]["offline"] is None


def test_all_agree_beside_a_refused_event(explained: Explained, why: Any) -> None:
    explained.materialize()
    causes, answer = why(REFUSED)
    assert causes == {"refused_event": ["events"]}
    assert answer["differs"] is False
    assert [event["outcome"] for event in answer["events"]] == [
        "counted",
        "counted",
        "at is further ahead of the Kafka timestamp than max_future",
    ]
    assert {place: row["n"] for place, row in answer["values"].items()} == dict.fromkeys(answer["values"], 2)
    assert set(answer["values"]) == {"online", "offline", "recomputed"}


def test_a_late_event(explained: Explained, why: Any) -> None:
    explained.send((LATE, 15_000, 15.0), arrived=6 * MINUTE)
    causes, answer = why(LATE)
    assert causes == {"late_event": ["online", "offline"]}
    assert [row["n"] for row in answer["values"].values()] == [3, 3, 4]
    assert answer["events"][-1]["behind_ms"] == 5 * MINUTE - 2000 - 15_000
    assert answer["findings"][0]["text"].startswith("1 event(s) came after the window had closed")


def test_a_silent_key(why: Any) -> None:
    causes, _ = why(SILENT, END + 3 * MINUTE)
    assert causes == {"stale_online": ["online"]}


def test_another_writer(explained: Explained, why: Any) -> None:
    row = {"card": FOREIGN, "n": 7, "mean": 1.0, "spread": 0.5, "window_end": pd.Timestamp(END, unit="ms", tz="UTC")}
    explained.group.insert(pd.DataFrame([row]), write_options={"start_offline_materialization": False})

    def served() -> None:
        assert explained.online()[FOREIGN]["n"] == 7

    eventually(served)
    causes, answer = why(FOREIGN)
    assert causes == {"another_writer": ["online"]}
    assert "of no job of this pipeline" in answer["findings"][0]["text"]


def test_recomputed_since(explained: Explained, why: Any) -> None:
    start, end = (datetime.fromtimestamp(at / 1000, timezone.utc).isoformat() for at in (START, END))
    FlinkRecomputeFeaturesOperator(
        task_id="t", pipeline=SPEC, start=start, end=end, arrival_margin="10m", poll_interval=0.5
    ).execute(task_context())
    explained.materialize()
    causes, answer = why(LATE)
    assert causes == {"late_event": ["online"], "recomputed_since": ["offline"]}
    assert [row["n"] for row in answer["values"].values()] == [3, 4, 4]


def test_the_audit_counts_by_cause(explained: Explained, variables: dict[str, str]) -> None:
    settle = int(time.time()) - END // 1000 - 5
    audit = AuditFeaturesOperator(task_id="t", pipeline=SPEC, sample=10, settle=f"{settle}s")
    with pytest.raises(AirflowFailException, match=f"{NAME}: of 9 values . differ"):
        audit.execute(task_context())
    kept = json.loads(variables[f"hopsworks_flink.audit.{NAME}__features"])
    assert (kept["values"], kept["refused"], kept["unknown"]) == (9, 2, [])
    # Offline, the stranger's row of a key may lie behind the recomputed one or before it: in another partition.
    assert kept["causes"] in ({"late_event": 1, "another_writer": n} for n in (1, 2))


def test_another_file(explained: Explained, why: Any) -> None:
    (group,) = SPEC["feature_groups"]
    changed = {**group, "aggregates": {**group["aggregates"], "mean": {"max": "amount"}}}
    explained.write({**SPEC, "feature_groups": [changed]})
    causes, _ = why(REFUSED)
    assert causes == {"file_differs": ["online", "offline"], "refused_event": ["events"]}
    explained.write(SPEC)


def test_events_that_are_gone(explained: Explained, capsys: pytest.CaptureFixture) -> None:
    """As people see it."""
    admin = AdminClient({"bootstrap.servers": explained.stack.config.kafka_bootstrap})
    for done in admin.delete_records([TopicPartition(f"{NAME}_events", 0, 2)]).values():
        done.result()
    assert main(["explain", str(explained.file), "--key", str(LATE), "--at", str(END)]) == 2
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "\nevents_gone (online, offline): topic" in text
