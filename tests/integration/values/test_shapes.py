"""The pipelines in dags/pipelines/examples, end to end: their values against ones computed here, without any SQL."""

from __future__ import annotations

import io
import json
import random
import uuid
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import Any

import fastavro
import numpy as np
import pytest
import requests
import yaml
from confluent_kafka import Producer

from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import (
    HopsworksCreateFeatureGroupOperator,
    HopsworksCreateTopicOperator,
    HopsworksMaterializeFeatureGroupOperator,
)
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.quarantine import COLUMNS as QUARANTINE
from hopsworks_flink.pipeline.sql.quarantine import quarantine_topic_arguments
from hopsworks_flink.pipeline.types import avro_type
from tests.support import REPOSITORY
from tests.support.fixtures import set_connection, task_context
from tests.support.live.jobs import OFTEN
from tests.support.live.platform import eventually, jobs, offline_rows, records, sdk_project

pytestmark = pytest.mark.timeout(400)

RUN = uuid.uuid4().hex[:6]
MINUTE = timedelta(minutes=1)
START = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
chance = random.Random(3)


def example(name: str) -> Pipeline:
    """The file, over names of this run."""
    spec = yaml.safe_load((REPOSITORY / "dags" / "pipelines" / "examples" / f"{name}.yaml").read_text())
    spec["name"] += f"_{RUN}"
    spec["source"]["topic"] += f"_{RUN}"
    for group in spec["feature_groups"]:
        group["name"] += f"_{RUN}"
    return Pipeline.parse(spec)


class Shapes:
    """Both pipelines, deployed as the DAGs do it."""

    def __init__(self, stack: Any, certificates: Any) -> None:
        self.stack, self.certificates = stack, certificates
        self.pipelines = {name: example(name) for name in ("ticker_prices", "clean_transactions")}

    def deploy(self, pipeline: Pipeline) -> None:
        topics = [{"topic": pipeline.source.topic, "schema": source_avro_schema(pipeline)}]
        topics += [quarantine_topic_arguments(pipeline)] if pipeline.quarantine_topic else []
        for topic in topics:
            HopsworksCreateTopicOperator(task_id="topic", **topic).execute(task_context())
        for group in pipeline.feature_groups:
            arguments = feature_group_arguments(pipeline, group)
            HopsworksCreateFeatureGroupOperator(task_id="group", **arguments).execute(task_context())
        FlinkDeployFeaturePipelineOperator(
            task_id="deploy",
            pipeline=pipeline.to_dict(),
            grace_period=1.0,
            poll_interval=0.5,
            timeout=120,
            flink_configuration=OFTEN,
        ).execute(task_context())

    def produce(self, name: str, events: list[dict[str, Any]], encode: Any) -> None:
        producer = Producer({"bootstrap.servers": self.stack.config.kafka_bootstrap, "enable.idempotence": True})
        for event in events:
            producer.produce(self.pipelines[name].source.topic, value=encode(event), partition=0)
        assert producer.flush(60) == 0

    def group(self, project: Any, name: str) -> Any:
        (group,) = self.pipelines[name].feature_groups
        return project.get_feature_store().get_feature_group(group.name, group.version)

    def online(self, name: str) -> dict[str, dict[str, Any]]:
        """Online rows by key, as the SDK reads them."""
        (key,) = self.pipelines[name].feature_groups[0].key
        with sdk_project(self.stack, self.certificates) as project:
            rows = self.group(project, name).read(online=True).to_dict("records")
        return {row[key]: row for row in rows}

    def offline(self, name: str) -> list[dict[str, Any]]:
        (group,) = self.pipelines[name].feature_groups
        HopsworksMaterializeFeatureGroupOperator(
            task_id="materialize", name=group.name, version=group.version, poll_interval=0.5, timeout=120
        ).execute(task_context())
        with sdk_project(self.stack, self.certificates) as project:
            return offline_rows(self.group(project, name))


@pytest.fixture(scope="module")
def shapes(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        shapes = Shapes(stack, tmp_path_factory.mktemp("certificates"))
        for pipeline in shapes.pipelines.values():
            shapes.deploy(pipeline)
        yield shapes
        for pipeline in shapes.pipelines.values():
            for job_id in jobs(stack, pipeline.job_name):
                requests.patch(f"{stack.config.flink_url}/jobs/{job_id}?mode=cancel", timeout=30)


def utc(value: Any) -> datetime:
    moment = value.to_pydatetime() if hasattr(value, "to_pydatetime") else value
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def test_prices_over_three_lengths(shapes: Shapes) -> None:
    ticks = [
        {
            "symbol": chance.choice(["AAPL", "MSFT"]),
            "at": START + timedelta(seconds=20 * number - chance.randrange(4)),
            "price": round(100 + chance.gauss(0, 5), 4),
        }
        for number in range(1, 270)
    ]
    # One symbol falls silent; the last tick closes the windows before it.
    ticks = [tick for tick in ticks if tick["symbol"] == "AAPL" or tick["at"] < START + 30 * MINUTE]
    ticks.append({"symbol": "END", "at": START + timedelta(hours=2), "price": 1.0})
    shapes.produce("ticker_prices", ticks, lambda tick: json.dumps({**tick, "at": tick["at"].isoformat()}).encode())

    wanted: dict[tuple[str, datetime], dict[str, Any]] = {}
    for end in (START + 5 * MINUTE * step for step in range(1, 24)):
        by_symbol: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for tick in ticks:
            for minutes in (5, 10, 60):
                if end - minutes * MINUTE <= tick["at"] < end:
                    by_symbol[tick["symbol"]][minutes].append(tick["price"])
        for symbol, prices in by_symbol.items():
            row = wanted[symbol, end] = {}
            for minutes in (5, 10, 60):
                of = prices.get(minutes)
                values = (min(of), max(of), sum(of) / len(of)) if of else (None, None, None)
                row |= {f"{name}_{minutes}m": value for name, value in zip(("min", "max", "mean"), values, strict=True)}
    assert any(row["min_5m"] is None for row in wanted.values()), "a symbol that fell silent"

    def check() -> None:
        online = shapes.online("ticker_prices")
        for symbol in ("AAPL", "MSFT"):
            last = max(end for name, end in wanted if name == symbol)
            assert symbol in online
            row = online[symbol]
            assert utc(row["timestamp"]) == last
            assert_prices(row, wanted[symbol, last])

    eventually(check)
    rows = {(row["symbol"], utc(row["timestamp"])): row for row in shapes.offline("ticker_prices")}
    assert rows.keys() == wanted.keys()
    for place, row in rows.items():
        assert_prices(row, wanted[place])
    with sdk_project(shapes.stack, shapes.certificates) as project:
        group = shapes.group(project, "ticker_prices")
        assert group.event_time == "timestamp"
        assert {feature.type for feature in group.columns} == {"string", "timestamp", "float"}


def assert_prices(row: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        found = None if row[name] is None or np.isnan(row[name]) else row[name]
        assert found == (None if value is None else pytest.approx(np.float32(value), rel=2e-7)), (name, row)


def test_a_cleaned_row_for_each_transaction(shapes: Shapes) -> None:
    def transaction(number: int, **changes: Any) -> dict[str, Any]:
        made = {
            "transaction_id": f"t{number}",
            "at": int((START + timedelta(seconds=number)).timestamp() * 1000) + 7,
            "account": chance.randrange(2**62),
            "amount": round(chance.uniform(-3000, 3000), 2),
            "currency": chance.choice(["eur", " Usd", "SEK"]),
            "country": chance.choice(["se", "", None]),
        }
        return {**made, **changes}

    hour = timedelta(hours=1)
    events = [transaction(number) for number in range(200)]
    # Hours behind the watermark: nothing is too late for a row of its own.
    late = transaction(200, at=int((START - 20 * hour).timestamp() * 1000))
    refused = [transaction(201, amount=None), transaction(202, amount=1e300), transaction(203, transaction_id=None)]
    # The same transaction once more, with an earlier time: the online store keeps the later one.
    older = {**events[3], "at": events[3]["at"] - 1000, "currency": "old"}
    sent = [*events, late, *refused, older]
    schema = fastavro.parse_schema(source_avro_schema(shapes.pipelines["clean_transactions"]))

    def encode(event: dict[str, Any]) -> bytes:
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, schema, event)
        return buffer.getvalue()

    shapes.produce("clean_transactions", sent, encode)

    def cleaned(event: dict[str, Any]) -> dict[str, Any]:
        return {
            "transaction_id": event["transaction_id"],
            "account": event["account"],
            "amount": float(np.float32(abs(event["amount"]))),
            "currency": event["currency"].strip().upper(),
            "country": event["country"] or "unknown",
            "large": abs(event["amount"]) > 1000,
        }

    def check() -> None:
        online = shapes.online("clean_transactions")
        assert online.keys() == {event["transaction_id"] for event in (*events, late)}
        for event in (*events, late):
            row = online[event["transaction_id"]]
            assert utc(row["event_time"]) == datetime.fromtimestamp(event["at"] // 1000, timezone.utc)
            wanted = cleaned(event)
            found = {name: row[name] for name in wanted}
            assert {**found, "amount": float(np.float32(found["amount"])), "large": bool(found["large"])} == wanted

    eventually(check)
    rows = {
        (row["transaction_id"], round(utc(row["event_time"]).timestamp() * 1000)): row
        for row in shapes.offline("clean_transactions")
    }
    assert rows.keys() == {(event["transaction_id"], event["at"]) for event in (*events, late, older)}
    for event in (*events, late, older):
        row = rows[event["transaction_id"], event["at"]]
        assert {name: row[name] for name in cleaned(event)} == cleaned(event)

    known = fastavro.parse_schema(
        {
            "type": "record",
            "name": "q",
            "fields": [{"name": name, "type": avro_type(kind)} for name, kind in QUARANTINE.items()],
        }
    )
    topic = str(shapes.pipelines["clean_transactions"].quarantine_topic)
    written = records(shapes.stack.config.kafka_bootstrap, topic)
    reasons = [fastavro.schemaless_reader(io.BytesIO(record.value()), known)["reason"] for record in written]
    (group,) = shapes.pipelines["clean_transactions"].feature_groups
    assert reasons == [f"{group.full_name}.amount is null"] * 2 + ["transaction_id is null"]
