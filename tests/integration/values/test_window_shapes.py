"""Sessions, windows of several lengths and arrays, from the topic to both stores. Values are held against a computation
of their own, from what was sent."""

from __future__ import annotations

import io
import json
import statistics
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import fastavro
import pytest
import yaml
from confluent_kafka import Producer

from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import (
    HopsworksCreateFeatureGroupOperator,
    HopsworksCreateTopicOperator,
    HopsworksMaterializeFeatureGroupOperator,
)
from hopsworks_flink.pipeline.resources import (
    feature_group_arguments,
    source_avro_schema,
    source_topic_arguments,
)
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import REPOSITORY
from tests.support.fixtures import set_connection, task_context
from tests.support.live.jobs import OFTEN
from tests.support.live.platform import eventually, offline_rows, sdk_project

pytestmark = pytest.mark.timeout(300)

RUN = uuid.uuid4().hex[:6]
MINUTE = timedelta(minutes=1)
BEGIN = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - timedelta(hours=9)
FLUSH = BEGIN + timedelta(hours=6)
Row = dict[str, Any]


class Shop:
    """An example of this run: registered, and its job runs."""

    def __init__(self, stack: Any, certificates: Any, name: str) -> None:
        self.stack, self.certificates = stack, certificates
        spec = yaml.safe_load((REPOSITORY / "dags" / "pipelines" / "examples" / f"{name}.yaml").read_text())
        spec["name"] = spec["source"]["topic"] = f"{name}_{RUN}"
        spec["source"]["partitions"] = 1
        spec["feature_groups"][0]["name"] = f"{name}_{RUN}"
        self.pipeline = Pipeline.parse(spec)
        (self.group,) = self.pipeline.feature_groups
        topic = source_topic_arguments(self.pipeline)
        HopsworksCreateTopicOperator(task_id="topic", **topic).execute(task_context())
        arguments = feature_group_arguments(self.pipeline, self.group)
        HopsworksCreateFeatureGroupOperator(task_id="group", **arguments).execute(task_context())
        waiting = {"grace_period": 1.0, "poll_interval": 0.5, "timeout": 120, "flink_configuration": OFTEN}
        told = FlinkDeployFeaturePipelineOperator(task_id="deploy", pipeline=spec, **waiting).execute(task_context())
        assert told["action"] == "submitted"

    def produce(self, values: list[tuple[datetime, bytes]]) -> None:
        producer = Producer({"bootstrap.servers": self.stack.config.kafka_bootstrap, "enable.idempotence": True})
        for at, value in values:
            producer.produce(self.pipeline.source.topic, value, timestamp=round(at.timestamp() * 1000))
        assert producer.flush(30) == 0

    def wait_for(self, key: str) -> None:
        """Until a key is served."""
        (column, *_) = self.group.key
        with sdk_project(self.stack, self.certificates) as project:
            group = project.get_feature_store().get_feature_group(self.group.name, 1)

            def online() -> None:
                assert key in list(group.read(online=True)[column])

            eventually(online)

    def assert_stores(self, wanted: dict[Any, dict[datetime, Row]]) -> None:
        """Offline there is every row, online the last one of each key, and nothing else."""
        ((key, *_), time) = self.group.key, self.group.event_time_feature
        with sdk_project(self.stack, self.certificates) as project:
            group = project.get_feature_store().get_feature_group(self.group.name, 1)
            decode = {
                name: fastavro.parse_schema(json.loads(group._get_feature_avro_schema(name)))
                for name in group.get_complex_features()
            }

            def online() -> None:
                served = {row[key]: row for row in group.read(online=True).to_dict("records")}
                assert served.keys() == wanted.keys()
                for one, rows in wanted.items():
                    row = served[one]
                    for name, schema in decode.items():
                        if isinstance(row[name], bytes):
                            row[name] = fastavro.schemaless_reader(io.BytesIO(row[name]), schema)
                    assert_row(row, rows[max(rows)])

            eventually(online)
            HopsworksMaterializeFeatureGroupOperator(
                task_id="materialize", name=self.group.name, version=1, poll_interval=0.5
            ).execute(task_context())
            kept: dict[Any, dict[datetime, Row]] = defaultdict(dict)
            for row in offline_rows(group):
                kept[row[key]][row[str(time)].replace(tzinfo=timezone.utc)] = row
        assert kept.keys() == wanted.keys()
        for one, rows in wanted.items():
            assert kept[one].keys() == rows.keys(), one
            for at, row in rows.items():
                assert_row(kept[one][at], row)


def assert_row(found: Row, wanted: Row) -> None:
    for name, value in wanted.items():
        other = found[name]
        if value is None:
            assert other is None or other != other, (name, found)
        elif isinstance(value, float):
            assert other == pytest.approx(value, rel=1e-12), (name, found, wanted)
        else:
            assert (list(other) if isinstance(value, list) else other) == value, (name, found, wanted)


@pytest.fixture(scope="module")
def start(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    certificates = tmp_path_factory.mktemp("certificates")
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        yield lambda name: Shop(stack, certificates, name)


def test_sessions_with_the_last_pages(start: Any) -> None:
    shop = start("web_sessions")
    pages = ["/", "/shoes", "/hats", "/cart"]
    # Of two users: clicks every few minutes, a silence of just the gap, a longer one, and a session of one click.
    minutes = {"ann": [0, 3, 4, 34, 64, 95, 200], "bob": [1, 2, 2.5, 5, 7, 9, 11, 150, 179.999]}
    # A click that comes as late as it may, just the gap after another one, when the watermark is at that session's end:
    # it was one of Cat. Eve's is over by then.
    late = shop.pipeline.source.max_disorder / MINUTE
    minutes |= {"eve": [210 - 1e-3 / 60], "cat": [210, 240], "fay": [240 + late]}
    clicks = [
        {"at": BEGIN + at * MINUTE, "user": user, "page": pages[n * n % 4], "kind": "order" if n % 3 == 2 else "view"}
        for user, times in minutes.items()
        for n, at in enumerate(times)
    ]
    clicks.sort(key=lambda click: click["at"])
    (last,) = (click for click in clicks if click["at"] == BEGIN + 240 * MINUTE)
    shop.produce([(click["at"], as_json(click)) for click in clicks if click is not last])
    shop.wait_for("eve")
    shop.produce([(last["at"], as_json(last))])
    shop.produce([(FLUSH, as_json({"at": FLUSH, "user": "flush", "page": "/", "kind": "view"}))])
    wanted: dict[str, dict[datetime, Row]] = {}
    for user in minutes:
        sessions: list[list[Row]] = []
        for click in clicks:
            if click["user"] == user:
                if not sessions or click["at"] - sessions[-1][-1]["at"] > 30 * MINUTE:
                    sessions.append([])
                sessions[-1].append(click)
        wanted[user] = {one[-1]["at"] + 30 * MINUTE: session_row(one) for one in sessions}
    assert [len(rows) for rows in wanted.values()] == [3, 2, 1, 1, 1]
    shop.assert_stores(wanted)


def as_json(click: Row) -> bytes:
    payload = {"user": {"id": click["user"]}, "page": {"url": click["page"]}}
    event = {"@timestamp": click["at"].isoformat(), "event-type": click["kind"], "payload": payload}
    return json.dumps(event).encode()


def session_row(session: list[Row]) -> Row:
    pages = [click["page"] for click in session]
    return {
        "clicks": len(session),
        "landing_page": pages[0],
        "usual_page": min(pages, key=lambda page: (-pages.count(page), page)),
        "last_pages": pages[-5:],
        "order_share": sum(click["kind"] == "order" for click in session) / len(session),
    }


def test_three_windows_and_a_row_of_zeros_when_a_card_goes_quiet(start: Any) -> None:
    shop = start("card_activity")
    schema = fastavro.parse_schema(source_avro_schema(shop.pipeline))
    # Card 1 goes quiet for more than an hour and comes back, card 2 has one transaction; then both are quiet.
    seconds = {1: [10, 70, 95, 600, 601, 2400, 9000, 9100], 2: [59.999]}
    events = [
        {"tid": f"{card}-{n}", "cc_num": card, "datetime": BEGIN + timedelta(seconds=at), "amount": 10.0 * n + card / 4}
        for card, times in seconds.items()
        for n, at in enumerate(times)
    ]
    events.sort(key=lambda event: event["datetime"])
    flush = {"tid": "flush", "cc_num": 0, "datetime": FLUSH, "amount": None}
    shop.produce([(event["datetime"], as_avro(event, schema)) for event in [*events, flush]])
    wanted: dict[int, dict[datetime, Row]] = {}
    for card in seconds:
        own = [event for event in events if event["cc_num"] == card]
        ends = [BEGIN + n * MINUTE for n in range(1, int((FLUSH - BEGIN) / MINUTE))]
        rows = {end: activity_row(own, end) for end in ends}
        # Rows with an event in the last hour, and the first one without.
        wanted[card] = {
            end: row
            for end, row in rows.items()
            if row["transactions_1h"] or (rows.get(end - MINUTE) or {"transactions_1h": 0})["transactions_1h"]
        }
        assert not any(wanted[card][max(wanted[card])].values())
    shop.assert_stores(wanted)


def as_avro(event: Row, schema: Any) -> bytes:
    buffer = io.BytesIO()
    milliseconds = round(event["datetime"].timestamp() * 1000)
    fastavro.schemaless_writer(buffer, schema, {**event, "datetime": milliseconds})
    return buffer.getvalue()


def activity_row(events: list[Row], end: datetime) -> Row:
    def within(minutes: int) -> list[Row]:
        return [event for event in events if end - minutes * MINUTE <= event["datetime"] < end]

    hour, ten, five = within(60), within(10), within(5)
    amounts = sorted(event["amount"] for event in hour)
    if not hour:
        means: Row = {"mean_amount_1h": 0, "mean_amount_10m": 0, "high_amount_1h": 0}
        return {"transactions_1h": 0, "transactions_10m": 0, "transactions_5m": 0, **means} | dict.fromkeys(
            ["last_amounts", "quiet_seconds"]
        )
    rank = 0.95 * (len(amounts) - 1)
    low, high = amounts[int(rank)], amounts[min(int(rank) + 1, len(amounts) - 1)]
    return {
        "transactions_1h": len(hour),
        "transactions_10m": len(ten),
        "transactions_5m": len(five),
        "mean_amount_1h": statistics.fmean(amounts),
        "mean_amount_10m": statistics.fmean(event["amount"] for event in ten) if ten else None,
        "high_amount_1h": low + (high - low) * (rank - int(rank)),
        "last_amounts": [event["amount"] for event in hour][-3:],
        "quiet_seconds": (end - hour[-1]["datetime"]).total_seconds(),
    }
