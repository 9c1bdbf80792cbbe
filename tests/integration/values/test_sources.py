"""Topics as others write them: nested JSON, Avro of a real schema registry whose producer changes, Protobuf. Values are
held against a computation of their own, from what was sent."""

from __future__ import annotations

import io
import json
import math
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import fastavro
import pytest
import requests
import yaml
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from hopsworks_flink.clients.kafka.offsets import replaced_since
from hopsworks_flink.clients.kafka.topics import Topic
from hopsworks_flink.deployment.feature_job import join_warnings
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.pipeline.decoding import value_check
from hopsworks_flink.pipeline.resources import source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.tasks.source_events import read_versions
from hopsworks_flink.testing.queries import TOMBSTONE
from tests.support import REPOSITORY
from tests.support.fixtures import set_connection
from tests.support.live.platform import eventually, records
from tests.support.live.random_events import EPOCH
from tests.support.live.registry import Registry, schema_registry
from tests.support.live.sameness import Cluster, decoded
from tests.support.protobuf import content, files, message_class, read

pytestmark = pytest.mark.timeout(300)

EXAMPLES = REPOSITORY / "dags" / "pipelines" / "examples"
RUN = time.time_ns() // 1_000_000
BEGIN = datetime(2025, 3, 1, 12, tzinfo=timezone.utc)
LOGIN, PASSWORD = "reader", "regi5try-Secret"
Rows = dict[tuple[Any, ...], dict[str, Any]]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with schema_registry(port, tmp_path_factory.mktemp("registry") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(stack: Any, registry: Registry) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        set_connection(patch, "flink_default", **stack.airflow_connections()["flink_default"])
        fields = {"conn_type": "http", "host": registry.url, "login": LOGIN, "password": PASSWORD}
        set_connection(patch, "sensor_registry", **fields)
        yield Cluster(stack)


def example(name: str, source: dict[str, Any] | None = None, **aggregates: Any) -> Pipeline:
    """An example, with topics and a name of this run, and more of its source and features if that is wanted."""
    spec = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    spec["name"] = f"{name}_{RUN}"
    spec["source"]["topic"] = f"{name}_{RUN}"
    for join in spec["source"].get("join", {}).values():
        join["topic"] += f"_{RUN}"
    more = dict(source or {})
    spec["source"]["schema"].update(more.pop("schema", {}))
    if "descriptor" in spec["source"]:
        spec["source"]["descriptor"] = content(read(EXAMPLES / spec["source"]["descriptor"]))
    spec["source"].update(more)
    spec["feature_groups"][0]["aggregates"].update(aggregates)
    return Pipeline.parse(spec)


def send(cluster: Cluster, pipeline: Pipeline, values: list[tuple[datetime, bytes | None]], **beside: Any) -> None:
    """:param beside: keys and headers of the records."""
    producer = Producer(cluster.conf)
    for number, (at, value) in enumerate(values):
        more = {name: of[number] for name, of in beside.items()}
        producer.produce(pipeline.source.topic, value, timestamp=int(at.timestamp() * 1000), **more)
    assert producer.flush(30) == 0


def windows(at: datetime, size: timedelta, slide: timedelta) -> list[datetime]:
    """Ends of the windows that hold a time."""
    first = EPOCH + (at - EPOCH) // slide * slide + slide
    return [first + number * slide for number in range(size // slide)]


def found(pipeline: Pipeline, topic: list[Any]) -> Rows:
    ((group, rows),) = decoded(pipeline, topic).items()
    (key,) = pipeline.feature_groups[0].key
    assert rows, group
    return {(row[key], row["window_end"]): row for row in rows}


def assert_same(rows: Rows, wanted: Rows) -> None:
    assert rows.keys() == wanted.keys()
    for place, row in wanted.items():
        for name, value in row.items():
            other = rows[place][name]
            same = math.isclose(other, value, rel_tol=1e-12) if isinstance(value, float) else other == value
            assert same, (place, name, other, value)


def in_windows(
    events: list[dict[str, Any]],
    key: str,
    size: timedelta,
    slide: timedelta,
    row: Callable[[list[dict[str, Any]]], Any],
) -> Rows:
    held = defaultdict(list)
    for event in events:
        for end in windows(event["at"], size, slide):
            held[event[key], end].append(event)
    return {place: row(sorted(inside, key=lambda event: event["at"])) for place, inside in held.items()}


def clicks() -> list[dict[str, Any]]:
    return [
        {
            "at": BEGIN + timedelta(seconds=number * 7, milliseconds=number),
            "user": f"u{number % 5}",
            "kind": "order" if number % 4 == 0 else "view",
            "page": None if number % 9 == 0 else f"/p{number % 6}",
            "price": None if number % 3 == 0 else Decimal(number) / 4,
        }
        for number in range(200)
    ]


def click(event: dict[str, Any]) -> bytes:
    """As the site sends it: what is missing is missing at several depths."""
    payload: dict[str, Any] = {"user": {"id": event["user"], "ip": [10, 0, 0, 1]}}
    if event["page"]:
        payload["page"] = {"url": event["page"]}
    payload["items"] = [] if event["price"] is None else [{"price": float(event["price"])}, {"price": 1}]
    local = event["at"].astimezone(timezone(timedelta(hours=2)))
    record = {"@timestamp": local.isoformat(timespec="milliseconds"), "event-type": event["kind"], "payload": payload}
    return json.dumps(record).encode()


def headers_of(number: int) -> list[tuple[str, str]]:
    return [("id", f"click {number}"), *([("campaign", f"c{number % 8}")] if number % 3 else [])]


def test_clicks_in_nested_json(cluster: Cluster) -> None:
    columns = {
        "session": {"type": "bigint", "key": True},
        "campaign": {"type": "string", "header": "campaign"},
        "click": {"type": "string", "header": "id"},
    }
    once = {"schema": columns, "deduplicate": {"by": "click", "within": "1m"}}
    pipeline = example("web_clicks", once, sessions={"count_distinct": "session"}, campaign={"max": "campaign"})
    events = clicks()
    last = {"at": BEGIN + timedelta(hours=2), "user": "end", "kind": "view", "page": None, "price": None}
    cluster.create_topic(pipeline.source.topic, 1)
    # A record without a value is none.
    nothing: list[tuple[datetime, bytes | None]] = [(BEGIN, None)]
    # Every fifth click is sent twice, and one again when nobody knows it any more, while windows with it are open.
    twice = [number for number in range(200) for _ in range(1 + (number % 5 == 0))] + [199 - 30]
    sent = [*nothing, *((events[number]["at"], click(events[number])) for number in twice), (last["at"], click(last))]
    # Of the first click the key is no number, and a record has no header.
    keys = [None, *(str(number % 3) if number else "x" for number in twice), None]
    headers = [None, *(headers_of(number) for number in twice), None]
    send(cluster, pipeline, sent, key=keys, headers=headers)
    for number, event in enumerate(events):
        event["session"] = number % 3 if number else None
        event["campaign"] = f"c{number % 8}" if number % 3 else None

    def row(inside: list[dict[str, Any]]) -> dict[str, Any]:
        pages = [event["page"] for event in inside if event["page"]]
        orders = [event for event in inside if event["kind"] == "order"]
        spent = [event["price"] for event in orders if event["price"] is not None]
        return {
            "clicks": len(inside),
            "pages": len(set(pages)),
            "last_page": pages[-1] if pages else None,
            "orders": len(orders),
            "spent": sum(spent, Decimal("0.00")),
            "sessions": len({event["session"] for event in inside} - {None}),
            "campaign": max((event["campaign"] for event in inside if event["campaign"]), default=None),
        }

    wanted = in_windows(events, "user", timedelta(minutes=10), timedelta(minutes=5), row)
    topic = cluster.stream(pipeline, f"{pipeline.name}_rows", len(wanted))
    assert_same(found(pipeline, topic), wanted)


SENSOR = {"type": "record", "name": "Sensor", "fields": [{"name": "id", "type": "string"}]}
AT = {"name": "measured_at", "type": {"type": "long", "logicalType": "timestamp-millis"}}
VALUES = {"name": "values", "type": {"type": "array", "items": "double"}}
ROOM = {"name": "room", "type": "int"}


def reading(*fields: Any, room: bool) -> dict[str, Any]:
    sensor = {**SENSOR, "fields": [ROOM, *SENSOR["fields"]] if room else SENSOR["fields"]}  # type: ignore[misc]
    fields = ({"name": "sensor", "type": sensor}, *fields)
    return {"type": "record", "name": "Reading", "namespace": "plant", "fields": list(fields)}


#: What the producer wrote with at first, then with the battery's voltage, and then without the room.
VERSIONS = [
    reading(AT, VALUES, room=True),
    reading(AT, {"name": "volts", "type": ["null", "float"], "default": None}, VALUES, room=True),
    reading({"name": "volts", "type": "float"}, AT, VALUES, room=False),
]


def readings() -> list[dict[str, Any]]:
    return [
        {
            "at": BEGIN + timedelta(seconds=number * 5),
            "sensor": f"s{number % 4}",
            "room": None if number >= 200 else number % 7,
            "celsius": number / 8 - 3,
            "volts": None if number < 100 or (number % 5 == 1 and number < 200) else 1.5 + number % 3,
            "version": number // 100,
        }
        for number in range(300)
    ]


def encoded(event: dict[str, Any], number: int) -> bytes:
    sensor = {"id": event["sensor"], "room": event["room"]}
    record = {"sensor": sensor, "measured_at": event["at"], "volts": event["volts"], "values": [event["celsius"], 0.0]}
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(VERSIONS[event["version"]]), record)
    return b"\0" + struct.pack(">I", number) + buffer.getvalue()


def sensor_row(inside: list[dict[str, Any]]) -> dict[str, Any]:
    celsius = [event["celsius"] for event in inside]
    rooms = [event["room"] for event in inside if event["room"] is not None]
    return {
        "readings": len(inside),
        "coldest": min(celsius),
        "warmest": max(celsius),
        "mean_celsius": sum(celsius) / len(celsius),
        "weakest": min((event["volts"] for event in inside if event["volts"] is not None), default=None),
        "last_room": rooms[-1] if rooms else None,
    }


def test_readings_whose_producer_adds_a_field_and_drops_one(cluster: Cluster, registry: Registry) -> None:
    pipeline, events, size = example("sensor_readings"), readings(), timedelta(minutes=5)
    subject, topic = f"{pipeline.source.topic}-value", f"{pipeline.name}_rows"
    cluster.create_topic(pipeline.source.topic, 1)
    wanted = in_windows(events, "sensor", size, size, sensor_row)
    job_id = cluster.start(pipeline, topic)
    try:
        for version, schema in enumerate(VERSIONS):
            # Each is registered when the job has read the ones before.
            number = registry.register(subject, schema)
            send(
                cluster,
                pipeline,
                [(event["at"], encoded(event, number)) for event in events if event["version"] == version],
            )
            closed = BEGIN + timedelta(seconds=(version + 1) * 500 - 15)
            cluster.wait_for(job_id, topic, sum(end <= closed for _, end in wanted))
        last = {**events[-1], "at": BEGIN + timedelta(hours=1), "sensor": "end"}
        send(cluster, pipeline, [(last["at"], encoded(last, number))])
        cluster.wait_for(job_id, topic, len(wanted))
        shown = _all_that_flink_shows(cluster, job_id)
    finally:
        cluster.hook.cancel(job_id)
    assert_same(found(pipeline, records(cluster.conf["bootstrap.servers"], topic)), wanted)
    assert registry.url not in shown
    for secret in (PASSWORD, "Basic "):
        assert secret not in shown
    again = found(pipeline, cluster.batch(pipeline, f"{pipeline.name}_again"))
    assert_same({place: row for place, row in again.items() if place[0] != "end"}, wanted)


NEWER = files(
    "shop",
    {
        "Order": {
            "order_id": "string",
            "placed": "google.protobuf.Timestamp",
            "customer": "Customer",
            "items": "repeated Item",
            "channel": "Channel",
            "cents": "uint64",
            "discount": "optional double",
            "labels": "map<string,string>",
            "courier": "string",
            "stops": "repeated Customer",
        },
        "Customer": {"id": "string", "vip": "bool"},
        "Item": {"sku": "string", "quantity": "uint32", "weight": "double"},
    },
    {"Channel": {"UNKNOWN": 0, "WEB": 1, "STORE": 2}},
)


def orders() -> list[dict[str, Any]]:
    return [
        {
            "at": BEGIN + timedelta(seconds=number * 9, microseconds=number),
            "customer": f"c{number % 4}",
            "channel": ("UNKNOWN", "WEB", "STORE")[number % 3],
            # More than 64 bits with a sign hold.
            "cents": 2**64 - 1 - number if number % 10 == 0 else number * 100,
            "items": [(f"s{number % 6}", number % 5), ("other", 1)][: number % 3],
            "discount": None if number % 2 else float(number % 8) / 4,
            "campaign": f"summer {number}" if number % 7 == 0 else None,
        }
        for number in range(200)
    ]


def order(event: dict[str, Any], number: int, kind: Any) -> bytes:
    """As a library writes it: what is zero, false or empty is not there."""
    message = kind(order_id=f"o{number}", channel=event["channel"], cents=event["cents"], discount=event["discount"])
    message.placed.FromDatetime(event["at"])
    message.customer.id = event["customer"]
    for sku, quantity in event["items"]:
        message.items.add(sku=sku, quantity=quantity)
    if event["campaign"]:
        message.labels.update({"campaign": event["campaign"], "a": "b"})
    if number >= 100:
        message.courier = "bike"
        message.stops.add(id="x")
    return b"\0\0\0\0\7\0" + bytes(message.SerializeToString())


def order_row(inside: list[dict[str, Any]]) -> dict[str, Any]:
    first = [event["items"][0] for event in inside if event["items"]]
    discounts = [event["discount"] for event in inside if event["discount"] is not None]
    return {
        "orders": len(inside),
        "web_orders": sum(event["channel"] == "WEB" for event in inside),
        "cents": sum(event["cents"] for event in inside),
        "pieces": sum(quantity for _, quantity in first) if first else None,
        "skus": len({sku for sku, _ in first}),
        "discounted": len(discounts),
        "mean_discount": sum(discounts) / len(discounts) if discounts else None,
        "last_campaign": next((event["campaign"] for event in reversed(inside) if event["campaign"]), None),
    }


def test_orders_in_protobuf_whose_producer_adds_fields(cluster: Cluster) -> None:
    pipeline, events = example("customer_orders"), orders()
    kinds = [message_class(made, "shop.Order") for made in (read(EXAMPLES / "protos" / "orders.desc"), NEWER)]
    sent = [(event["at"], order(event, number, kinds[number >= 100])) for number, event in enumerate(events)]
    # Cut off, of another message of its schema, and of another producer.
    whole = sent[0][1]
    wrong: list[tuple[datetime, bytes | None]] = [(BEGIN, whole[:-3]), (BEGIN, whole[:5] + b"\2\2" + whole[6:])]
    wrong.append((BEGIN, b'{"order_id": "o1"}'))
    last = {**events[-1], "at": BEGIN + timedelta(hours=2), "customer": "end"}
    cluster.create_topic(pipeline.source.topic, 1)
    cluster.create_topic(str(pipeline.quarantine_topic), 1)
    send(cluster, pipeline, [*wrong, *sent, (last["at"], order(last, 0, kinds[0]))])
    wanted = in_windows(events, "customer", timedelta(minutes=10), timedelta(minutes=5), order_row)
    topic = cluster.stream(pipeline, f"{pipeline.name}_rows", len(wanted))
    assert_same(found(pipeline, topic), wanted)
    refused = records(cluster.conf["bootstrap.servers"], str(pipeline.quarantine_topic))
    told = b"".join(record.value() for record in refused)
    check = value_check(pipeline.source)
    for _, value in wrong:
        assert str(check(value)).encode() in told
    assert len(refused) == 3
    again = found(pipeline, cluster.batch(pipeline, f"{pipeline.name}_again"))
    assert_same({place: row for place, row in again.items() if place[0] != "end"}, wanted)


def _all_that_flink_shows(cluster: Cluster, job_id: str) -> str:
    """The job's pages, as texts."""
    url = cluster.hook.settings.url
    pages = ("", "/plan", "/config", "/exceptions", "/checkpoints/config", "/jobmanager/config")
    return "".join(requests.get(f"{url}/jobs/{job_id}{page}", timeout=10).text for page in pages)


Limit = tuple[int, datetime, float | None]


def payments() -> list[dict[str, Any]]:
    """For two hours, of cards of which one goes quiet after twenty minutes."""
    return [
        {"card": card, "at": BEGIN + timedelta(seconds=40 * number + card), "amount": 10.0 * (1 + number % 23)}
        for number in range(180)
        for card in range(5)
        if card != 4 or number < 30
    ]


#: Card, since when, and the limit, in the order in which they are written. A card without one, one whose first comes
#: late, one that is raised, once with a time that lies before that of the version before; one that is withdrawn.
LIMITS: list[Limit] = [
    (1, BEGIN + timedelta(minutes=31), 120.0),
    (2, BEGIN - timedelta(days=400), 100.0),
    (2, BEGIN + timedelta(minutes=50), 300.0),
    (2, BEGIN + timedelta(minutes=20), 200.0),
    (3, BEGIN - timedelta(hours=1), 80.0),
    (3, BEGIN + timedelta(minutes=40), None),
    (4, BEGIN - timedelta(hours=1), 50.0),
]
#: Written when the job has run for a while, and its topic has been quiet.
RAISED: Limit = (1, BEGIN + timedelta(minutes=100), 240.0)


def limit_at(card: int, at: datetime) -> float | None:
    held = [(since, limit) for of, since, limit in (*LIMITS, RAISED) if of == card and since <= at]
    return max(held, key=lambda version: version[0])[1] if held else None


def spending_row(inside: list[dict[str, Any]], end: datetime) -> dict[str, Any]:
    def used(minutes: int) -> list[float]:
        recent = [event for event in inside if event["at"] >= end - timedelta(minutes=minutes)]
        return [event["amount"] / event["limit"] for event in recent if event["limit"]]

    def number(minutes: int) -> int:
        return sum(event["at"] >= end - timedelta(minutes=minutes) for event in inside)

    limits = [event["limit"] for event in inside if event["limit"]]
    row = {
        "transactions_1h": len(inside),
        "transactions_30m": number(30),
        "transactions_10m": number(10),
        "above_limit_1h": sum(share > 1 for share in used(60)),
        "used_1h": sum(used(60)) if used(60) else None,
        "used_30m": sum(used(30)) if used(30) else None,
        "most_used_10m": max(used(10), default=None),
        "last_limit": limits[-1] if limits else None,
    }
    return row if inside else {name: value or 0.0 for name, value in row.items()}


def test_payments_beside_the_limits_of_their_cards(cluster: Cluster) -> None:
    pipeline = example("card_spending")
    topic, limits = f"{pipeline.name}_rows", pipeline.source.join["limits"].topic
    hour, slide, later = timedelta(hours=1), timedelta(minutes=5), BEGIN + timedelta(minutes=95)
    producer = Producer({**cluster.conf, "enable.idempotence": True})

    def write(*versions: Limit) -> None:
        for card, since, limit in versions:
            value = None if limit is None else json.dumps({"limit": limit, "since": since.isoformat()}).encode()
            producer.produce(limits, value, str(card), partition=0, timestamp=int(since.timestamp() * 1000))
        assert producer.flush(30) == 0

    def pay(events: list[dict[str, Any]]) -> None:
        schema = fastavro.parse_schema(source_avro_schema(pipeline))
        for event in events:
            buffer, at = io.BytesIO(), int(event["at"].timestamp() * 1000)
            record = {"tid": "", "datetime": at, "cc_num": event["card"], "amount": event["amount"]}
            fastavro.schemaless_writer(buffer, schema, record)
            # Each partition has the times of the others: no event is late.
            producer.produce(pipeline.source.topic, buffer.getvalue(), partition=event["card"] % 2, timestamp=at)
        assert producer.flush(30) == 0

    events = payments()
    for event in events:
        event["limit"] = limit_at(event["card"], event["at"])
    assert {event["limit"] for event in events} == {None, 50, 80, 100, 120, 200, 240, 300}
    wanted = in_windows(events, "card", hour, slide, list)
    for card in range(5):
        # A slide after the last row a card with no event in its window has one more.
        last = max(end for of, end in wanted if of == card)
        wanted[card, last + slide] = []  # type: ignore[assignment]
    wanted = {(card, end): spending_row(inside, end) for (card, end), inside in wanted.items()}  # type: ignore[arg-type]
    cluster.create_topic(pipeline.source.topic, 2)
    cluster.topics.create(Topic(limits, 1, 1, {"cleanup.policy": "compact"}))
    with pytest.raises(ConfigurationError, match=f"no Kafka topic 'nowhere_{RUN}', which source.join.limits reads"):
        join_warnings(elsewhere(pipeline, f"nowhere_{RUN}"), [cluster.conf])
    write(*LIMITS)
    # A deployment has nothing to say, a recompute would: any version that has a newer one may be gone.
    assert join_warnings(pipeline, [cluster.conf]) == []
    assert replaced_since(cluster.conf, limits) == pytest.approx(time.time() * 1000, abs=60_000)
    read = read_versions(pipeline, cluster.conf, {}, {})["limits"]
    assert [(one["card"], one.get("card_limit")) for one in read] == [(card, limit) for card, _, limit in LIMITS]
    assert [TOMBSTONE in one for one in read] == [limit is None for _, _, limit in LIMITS]
    pay([event for event in events if event["at"] < later])
    job_id = cluster.start(pipeline, topic)
    try:
        cluster.wait_for(job_id, topic, sum(end < later - slide for _, end in wanted))
        write(RAISED)
        eventually(lambda: _assert_read(cluster, job_id, len(LIMITS) + 1))
        end = [{"card": card, "at": BEGIN + 6 * hour, "amount": 0.0} for card in (8, 9)]
        pay([*(event for event in events if event["at"] >= later), *end])
        cluster.wait_for(job_id, topic, len(wanted))
    finally:
        cluster.hook.cancel(job_id)
    assert_same(found(pipeline, records(cluster.conf["bootstrap.servers"], topic)), wanted)
    again = found(pipeline, cluster.batch(pipeline, f"{pipeline.name}_again"))
    assert_same({place: row for place, row in again.items() if place[0] < 8}, wanted)


def elsewhere(pipeline: Pipeline, topic: str) -> Pipeline:
    limits = {**pipeline.to_dict()["source"]["join"]["limits"], "topic": topic}
    return example("card_spending", {"join": {"limits": limits}})


def test_a_joined_topic_that_deletes_has_lost_versions_also_if_it_is_compacted(cluster: Cluster) -> None:
    pipeline = elsewhere(example("card_spending"), f"cut_{RUN}")
    (topic,) = (join.topic for join in pipeline.source.join.values())
    cluster.topics.create(Topic(topic, 1, 1, {"cleanup.policy": "compact,delete"}))
    producer, admin = Producer(cluster.conf), AdminClient(cluster.conf)
    for card in range(3):
        producer.produce(topic, json.dumps({"limit": 5, "since": BEGIN.isoformat()}).encode(), str(card))
    assert producer.flush(30) == 0
    assert join_warnings(pipeline, [cluster.conf]) == []
    (deleted,) = admin.delete_records([TopicPartition(topic, 0, 2)]).values()
    deleted.result(30)
    (warning,) = join_warnings(pipeline, [cluster.conf])
    assert f"Topic {topic} has lost its records before offset 2 of partition 0" in warning
    # Kept from now on, and written once more: compaction takes what has a successor.
    compacted = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[compacted])
    (changed,) = admin.incremental_alter_configs([resource]).values()
    changed.result(30)
    eventually(lambda: _assert_no_warning(pipeline, cluster))


def _assert_no_warning(pipeline: Pipeline, cluster: Cluster) -> None:
    assert join_warnings(pipeline, [cluster.conf]) == []


def _assert_read(cluster: Cluster, job_id: str, versions: int) -> None:
    vertices = requests.get(f"{cluster.hook.settings.url}/jobs/{job_id}", timeout=10).json()["vertices"]
    (source,) = (vertex for vertex in vertices if "limits topic" in vertex["name"])
    assert source["metrics"]["write-records"] == versions


LIMIT = {
    "type": "record",
    "name": "Limit",
    "fields": [
        {"name": "card", "type": {"type": "record", "name": "Card", "fields": [{"name": "number", "type": "long"}]}},
        {"name": "most", "type": "double"},
    ],
}
#: With a field more, in front.
DEARER = {**LIMIT, "fields": [{"name": "currency", "type": "string"}, *LIMIT["fields"]]}  # type: ignore[misc]
SHOP = files("shops", {"Shop": {"name": "string", "rate": "double"}})
OPEN_SHOP = files("shops", {"Shop": {"name": "string", "rate": "double", "open": "bool"}})


def test_versions_out_of_a_registry_and_in_protobuf(cluster: Cluster, registry: Registry) -> None:
    """Each of the two joined topics has a producer that adds a field meanwhile."""
    name = f"priced_{RUN}"
    limits, shops = f"{name}_limits", f"{name}_shops"
    pipeline = Pipeline.parse(
        {
            "name": name,
            "source": {
                "topic": name,
                "format": "json",
                "schema": {"card": "bigint", "shop": "string"},
                "event_time": "kafka_timestamp",
                "join": {
                    "limits": {
                        "topic": limits,
                        "framing": "confluent",
                        "registry": "sensor_registry",
                        "schema": {"holder": {"type": "bigint", "path": "card.number"}, "most": "double"},
                        "by": {"card": "holder"},
                    },
                    "shops": {
                        "topic": shops,
                        "format": "protobuf",
                        "descriptor": content(SHOP),
                        "message": "shops.Shop",
                        "schema": {"name": "string", "rate": "double"},
                        "by": {"shop": "name"},
                    },
                },
            },
            "feature_groups": [
                {
                    "name": name,
                    "key": ["card"],
                    "event_time": "window_end",
                    "window": {"size": "1m"},
                    "aggregates": {"n": "count", "most": {"max": "most"}, "rate": {"max": "rate"}},
                }
            ],
        }
    )
    minute = timedelta(minutes=1)
    producer = Producer(cluster.conf)

    def write(topic: str, at: datetime, value: bytes) -> None:
        producer.produce(topic, value, partition=0, timestamp=int(at.timestamp() * 1000))

    def limit(at: datetime, schema: dict[str, Any], card: int, most: float) -> None:
        number, buffer = registry.register(f"{limits}-value", schema), io.BytesIO()
        record = {"card": {"number": card}, "most": most, "currency": "SEK"}
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), record)
        write(limits, at, b"\0" + struct.pack(">I", number) + buffer.getvalue())

    for topic in (name, limits, shops):
        cluster.create_topic(topic, 1)
    limit(BEGIN - minute, LIMIT, 1, 100.0)
    limit(BEGIN - minute, LIMIT, 2, 50.0)
    limit(BEGIN + 10 * minute, DEARER, 1, 250.0)
    write(shops, BEGIN - minute, message_class(SHOP, "shops.Shop")(name="a", rate=0.5).SerializeToString())
    open_shop = message_class(OPEN_SHOP, "shops.Shop")(name="a", rate=0.25, open=True)
    write(shops, BEGIN + 20 * minute, open_shop.SerializeToString())
    wanted = {}
    for number in range(30):
        at = BEGIN + number * minute
        for card, shop in ((1, "a"), (2, "a"), (3, "b")):
            write(name, at, json.dumps({"card": card, "shop": shop}).encode())
            most = {1: 100.0 if number < 10 else 250.0, 2: 50.0}.get(card)
            rate = None if shop == "b" else 0.5 if number < 20 else 0.25
            wanted[card, at + minute] = {"n": 1, "most": most, "rate": rate}
    write(name, BEGIN + 60 * minute, json.dumps({"card": 9, "shop": "a"}).encode())
    assert producer.flush(30) == 0
    read = read_versions(pipeline, cluster.conf, {}, {})
    assert [(one["holder"], one["most"]) for one in read["limits"]] == [(1, 100.0), (2, 50.0), (1, 250.0)]
    assert [(one["name"], one["rate"]) for one in read["shops"]] == [("a", 0.5), ("a", 0.25)]
    assert_same(found(pipeline, cluster.stream(pipeline, f"{name}_rows", len(wanted))), wanted)
    again = found(pipeline, cluster.batch(pipeline, f"{name}_again"))
    assert_same({place: row for place, row in again.items() if place[0] != 9}, wanted)
