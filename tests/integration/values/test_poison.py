"""Records that cannot be decoded: found by their place, on a real broker and with a real job that fails at one.

The tests build on each other, as the days of a pipeline do.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import fastavro
import pytest
import requests
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from devstack.stack import Stack
from hopsworks_flink._compat import AirflowSensorTimeout
from hopsworks_flink.clients.kafka.newest import newest_records
from hopsworks_flink.clients.kafka.poison import Search, find_poison
from hopsworks_flink.exceptions import ConfigurationError, FlinkJobFailed, FlinkSavepointError
from hopsworks_flink.health.refusal import refused_of
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator, HopsworksCreateTopicOperator
from hopsworks_flink.pipeline.decoding import value_check
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.quarantine import quarantine_avro_schema, quarantine_topic_arguments
from hopsworks_flink.sensors.flink import FlinkJobHealthSensor
from tests.pipeline.strict_format import CASES, value_of
from tests.support.fixtures import set_connection, task_context
from tests.support.live.jobs import OFTEN
from tests.support.live.platform import eventually, jobs, looked_around, records, sdk_project
from tests.support.undecodable import EVENT, SCHEMA, avro

pytestmark = pytest.mark.timeout(400)

RUN = f"{time.time_ns() // 1_000_000 % 100_000_000}"
NAME = f"poisoned_{RUN}"
GOOD, BAD = avro(EVENT), b"not avro at all"
REASON = "column at: its union index reads as 55, not 0 (null) or 1 (bigint); it was written with another schema"
MINUTE = 60_000
BASE = int(time.time()) // 60 * MINUTE - 180 * MINUTE


def spec(**source: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "source": {
            "topic": f"{NAME}_events",
            "partitions": 2,
            "schema": SCHEMA,
            "event_time": {"column": "at"},
            "refused": "quarantine",
            **source,
        },
        "feature_groups": [
            {"name": f"{NAME}_agg", "key": ["card"], "window": {"size": "1m"}, "aggregates": {"n": "count"}}
        ],
    }


class Topic:
    """A topic of two partitions on the real broker."""

    def __init__(self, stack: Stack, name: str, *, create: bool = True) -> None:
        self.conf, self.name = {"bootstrap.servers": stack.config.kafka_bootstrap}, name
        if create:
            admin = AdminClient(self.conf)
            (made,) = admin.create_topics([NewTopic(name, 2, 1)]).values()
            made.result(30)

    def put(self, partition: int, values: Sequence[bytes | None]) -> list[int]:
        """Write the values; their offsets."""
        offsets: list[int] = []
        producer = Producer(self.conf)
        for value in values:
            producer.produce(
                self.name,
                value=value,
                partition=partition,
                timestamp=BASE,
                on_delivery=lambda error, record: offsets.append(record.offset()),
            )
        assert producer.flush(30) == 0
        return offsets

    def commit(self, group: str, *offsets: int) -> None:
        consumer = Consumer({**self.conf, "group.id": group})
        places = [TopicPartition(self.name, number, offset) for number, offset in enumerate(offsets)]
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()

    def committed(self, group: str) -> list[int]:
        consumer = Consumer({**self.conf, "group.id": group})
        places = consumer.committed([TopicPartition(self.name, number) for number in (0, 1)], timeout=30)
        consumer.close()
        return [place.offset for place in places]

    def search(self, group: str = "nobody", **kwargs: Any) -> Search:
        return find_poison(self.conf, self.name, group, value_check(Pipeline.parse(spec()).source), **kwargs)


@pytest.fixture(scope="module")
def topic(stack: Stack) -> Topic:
    return Topic(stack, f"poison_{RUN}")


def test_a_clean_topic(topic: Topic) -> None:
    topic.put(0, [GOOD] * 5000)
    topic.put(1, [GOOD, None, GOOD])
    assert topic.search() == Search((), 5003, True)


def test_the_first_of_each_partition_is_found(topic: Topic) -> None:
    topic.put(0, [BAD, GOOD, b""])
    topic.put(1, [b"", BAD])
    found = topic.search()
    assert [(record.partition, record.offset, record.value) for record in found.records] == [
        (0, 5000, BAD),
        (1, 3, b""),
    ]
    assert found.records[0].timestamp == BASE
    assert found.complete


def test_the_search_begins_where_the_job_stands(topic: Topic) -> None:
    topic.commit("job", 5001, 4)
    assert [(r.partition, r.offset) for r in topic.search("job").records] == [(0, 5002), (1, 4)]
    assert topic.committed("job") == [5001, 4], "the search commits nothing"
    # A job that was started further back: nothing is found from the commits on, but before them.
    topic.commit("beyond", 5003, 5)
    assert [(r.partition, r.offset) for r in topic.search("beyond").records] == [(0, 5000), (1, 3)]


def test_a_search_is_bounded(topic: Topic) -> None:
    found = topic.search(seconds=0.0)
    assert not found.complete


def test_a_topic_that_is_not_there(stack: Stack) -> None:
    with pytest.raises(ConfigurationError, match="no Kafka topic 'nowhere'"):
        Topic(stack, "nowhere", create=False).search()


@pytest.fixture(scope="module")
def connections(stack: Stack) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        yield


def register(stack: Stack, data: dict[str, Any]) -> Topic:
    """What the deploy DAG makes before the job; the source topic."""
    pipeline = Pipeline.parse(data)
    HopsworksCreateTopicOperator(
        task_id="topic", topic=pipeline.source.topic, schema=source_avro_schema(pipeline), partitions=2
    ).execute(task_context())
    HopsworksCreateTopicOperator(task_id="quarantine", **quarantine_topic_arguments(pipeline)).execute(task_context())
    for group in pipeline.feature_groups:
        HopsworksCreateFeatureGroupOperator(task_id="group", **feature_group_arguments(pipeline, group)).execute(
            task_context()
        )
    return Topic(stack, pipeline.source.topic, create=False)


def cancel_jobs(stack: Stack, name: str) -> None:
    for job_id, state in jobs(stack, name).items():
        if state not in ("FINISHED", "CANCELED", "FAILED"):
            requests.patch(f"{stack.config.flink_url}/jobs/{job_id}?mode=cancel", timeout=30)


@pytest.fixture(scope="module")
def events(stack: Stack, connections: None) -> Iterator[Topic]:
    """The source topic of a pipeline whose job runs, in the end at least."""
    yield register(stack, spec())
    cancel_jobs(stack, Pipeline.parse(spec()).job_name)


def event(**values: Any) -> bytes:
    return avro({**EVENT, "at": BASE, "card": 1, **values})


def deploy(**kwargs: Any) -> dict[str, Any]:
    arguments = {"grace_period": 2.0, "poll_interval": 0.5, "timeout": 180, "flink_configuration": OFTEN}
    arguments |= {"pipeline": spec(), **kwargs}
    return FlinkDeployFeaturePipelineOperator(task_id="deploy", **arguments).execute(task_context())


def deploy_over_failing(data: dict[str, Any]) -> dict[str, Any]:
    """As a task with retries: a job that fails again and again seems to run in between, and its savepoint fails."""
    deployed: dict[str, Any] = {}

    def once() -> None:
        try:
            deployed.update(deploy(pipeline=data))
        except FlinkSavepointError as error:
            raise AssertionError(str(error)) from error

    eventually(once)
    return deployed


def test_a_job_that_fails_at_a_record_names_it(events: Topic) -> None:
    job_id = deploy()["job_id"]
    events.put(0, [event(card=100)] * 3)
    (offset,) = events.put(1, [BAD])
    place = f"topic {events.name}, partition 1, offset {offset}: {REASON}"
    sensor = FlinkJobHealthSensor(
        task_id="health", pipeline=spec(), max_restarts=0, poke_interval=0.5, timeout=5, deferrable=False
    )

    def is_ill() -> None:
        # Until the first failure is on record the job is healthy.
        try:
            sensor.execute(task_context())
        except AirflowSensorTimeout:
            return
        raise AssertionError("the job is healthy")

    eventually(is_ill)
    # Flink itself names it, to those who look at the job.
    assert f"java.io.IOException: {place}" in str(FlinkHook().client.exceptions(job_id))
    timed_out = {"status": "timeout", "reason": "it restarts", "facts": {"job_id": job_id}}
    with pytest.raises(AirflowSensorTimeout) as told:
        sensor.execute_complete(task_context(), timed_out)
    assert place in str(told.value)
    assert "6e 6f 74 20 61 76 72 6f" in str(told.value)
    assert "source.schema" in str(told.value)

    with pytest.raises(FlinkJobFailed) as caught:
        # Longer than the job runs between two failures: it must not pass for healthy.
        deploy(timeout=24, grace_period=12.0)
    assert place in str(caught.value)
    assert "6e 6f 74 20 61 76 72 6f" in str(caught.value)


def quarantined(events: Topic, data: dict[str, Any] | None = None) -> dict[tuple[int, int], dict[str, Any]]:
    """What the quarantine topic holds, by the place in the source topic; what a restart wrote twice is the same."""
    pipeline, found = Pipeline.parse(data or spec()), {}
    schema = fastavro.parse_schema(quarantine_avro_schema(pipeline))
    for record in records(events.conf["bootstrap.servers"], str(pipeline.quarantine_topic)):
        row: Any = fastavro.schemaless_reader(io.BytesIO(record.value()), schema, None)
        place = (row["kafka_partition"], row["kafka_offset"])
        assert found.setdefault(place, row) == row
    return found


def test_with_quarantine_the_job_goes_on_from_its_state(events: Topic) -> None:
    deployed = deploy_over_failing(spec(on_decode_error="quarantine"))
    # What runs is replaced; a job that the deployment before has given up, and ended, is followed.
    assert deployed["action"] in ("replaced", "submitted")
    assert deployed["state"] == "restore"

    def poison_is_there() -> None:
        found = quarantined(events)
        assert len(found) == 1
        ((place, row),) = found.items()
        assert place[0] == 1
        assert (row["pipeline"], row["reason"], row["value"], row["event"]) == (NAME, "undecodable", BAD, None)
        assert row["detail"].startswith(REASON)
        assert row["kafka_timestamp"].timestamp() * 1000 == BASE

    eventually(poison_is_there)


def test_what_is_written_is_what_cannot_be_decoded_or_does_not_count(events: Topic) -> None:
    before = set(quarantined(events))
    expected: dict[tuple[int, int], tuple[str, str | None, bytes | None]] = {
        (0, offset): ("undecodable", *written) for offset, written in put_cases(events, "avro").items()
    }
    refused = {
        "at is null": event(at=None),
        "at is not after 1970": event(at=-5),
        "at is further ahead of the Kafka timestamp than max_future": event(at=BASE + 61 * MINUTE),
        "card is null": event(card=None, note="who?"),
        "at is further behind the Kafka timestamp than max_past": event(at=BASE // 1000),
    }
    places = events.put(1, list(refused.values()))
    expected |= {(1, offset): (reason, None, None) for offset, reason in zip(places, refused, strict=True)}
    events.put(1, [event(at=10**17)])
    events.put(0, [event(card=101, at=BASE + MINUTE)] * 4)
    expected[1, places[-1] + 1] = ("at is further ahead of the Kafka timestamp than max_future", None, None)

    def all_are_there() -> None:
        found = {place: row for place, row in quarantined(events).items() if place not in before}
        assert {place: (row["reason"], row["detail"], row["value"]) for place, row in found.items()} == expected
        without_card = json.loads(found[1, places[3]]["event"])
        assert without_card == {**EVENT, "at": BASE, "card": None, "note": "who?"}

    eventually(all_are_there)


def test_supervision_s_sample_is_judged_as_the_job_judges(events: Topic) -> None:
    found = quarantined(events)
    pipeline = Pipeline.parse(spec(on_decode_error="quarantine"))
    told = {
        (record.partition(), record.offset()): list(refused_of(pipeline, [(record.value(), BASE)]).reasons)
        for record in records(events.conf["bootstrap.servers"], events.name)
    }
    assert {place: reasons for place, reasons in told.items() if reasons} == {
        place: [row["reason"]] for place, row in found.items()
    }
    newest = newest_records(events.conf, events.name, BASE, most=10)
    assert len(newest) == 10
    assert {arrived for _, arrived in newest} == {BASE}
    assert newest_records(events.conf, events.name, BASE + 1) == []


def test_the_status_page_has_the_newest_with_their_reasons(events: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline.parse(spec(on_decode_error="quarantine"))
    found = quarantined(events)

    def told(rows: str) -> Any:
        monkeypatch.setenv("AIRFLOW__HOPSWORKS_FLINK__STATUS_SAMPLE_ROWS", rows)
        return looked_around(pipeline)

    status = told("2")
    topic = status.topics["quarantine"]
    assert set(topic["reasons"]) == {row["reason"] for row in found.values()}
    assert topic["records"] >= sum(topic["reasons"].values()) >= len(found)
    assert len(topic["newest"]) == 2
    for one in topic["newest"]:
        row = found[one["partition"], one["offset"]]
        assert (one["reason"], one["detail"]) == (row["reason"], row["detail"] or "")
        assert one["at"] == row["kafka_timestamp"].timestamp()
    json.dumps(status.to_json())
    assert told("0").topics["quarantine"] == {**topic, "newest": []}


def test_back_to_failing_no_window_is_lost(stack: Stack, events: Topic, tmp_path: Any) -> None:
    deployed = deploy()
    assert (deployed["action"], deployed["state"]) == ("replaced", "restore")
    events.put(0, [event(card=101, at=BASE + MINUTE)] * 2)
    events.put(1, [event(card=102, at=BASE + 2 * MINUTE)])
    for partition in (0, 1):
        events.put(partition, [event(card=999, at=BASE + 20 * MINUTE)])

    def counts() -> None:
        with sdk_project(stack, tmp_path) as project:
            frame = project.get_feature_store().get_feature_group(f"{NAME}_agg", version=1).read(online=True)
        found = {row["card"]: row["n"] for row in frame.to_dict("records")}
        assert {card: found.get(card) for card in (100, 101, 102)} == {100: 3, 101: 6, 102: 1}

    eventually(counts)


def put_cases(topic: Topic, encoding: str) -> dict[int, tuple[str, bytes]]:
    """Write what cannot be decoded, among records that can and a tombstone; offset to the reason and the value."""
    cases = [
        case for case in CASES[encoding] if case["schema"] == "event" and "reason" in case and "appended" not in case
    ]
    good = GOOD if encoding == "avro" else json.dumps(EVENT).encode()
    offsets = topic.put(0, [None, *(value_of(case) for case in cases), good])[1:-1]
    assert len(offsets) > 20
    return {offset: (case["reason"], value_of(case)) for offset, case in zip(offsets, cases, strict=True)}


def test_what_is_no_json_event_is_written_with_the_reason(stack: Stack, connections: None) -> None:
    data = {**spec(format="json", on_decode_error="quarantine"), "name": f"{NAME}_json"}
    data["source"]["topic"] += "_json"
    data["feature_groups"][0]["name"] += "_json"
    topic = register(stack, data)
    expected = put_cases(topic, "json")
    deploy(pipeline=data)

    def exactly_these_are_there() -> None:
        rows = quarantined(topic, data).items()
        written = {place[1]: (row["detail"], row["value"]) for place, row in rows if row["reason"] == "undecodable"}
        assert written == expected

    eventually(exactly_these_are_there)
    cancel_jobs(stack, f"{NAME}_json__features")


def test_a_producer_that_appends_a_column_is_noticed(stack: Stack, connections: None, tmp_path: Any) -> None:
    """Its records begin as the others do: a decoder that does not look at the end reads on as if nothing had been."""
    columns = {"k": "bigint", "ts": "bigint", "v": "bigint"}
    data: dict[str, Any] = {
        "name": f"{NAME}_longer",
        "source": {
            "topic": f"{NAME}_longer_events",
            "partitions": 2,
            "schema": columns,
            "event_time": {"column": "ts"},
            "refused": "quarantine",
        },
        "feature_groups": [
            {"name": f"{NAME}_longer_agg", "key": ["k"], "window": {"size": "1m"}, "aggregates": {"n": "count"}}
        ],
    }
    topic = register(stack, data)
    old = {"type": "record", "name": "e", "fields": [{"name": name, "type": ["null", "long"]} for name in columns]}
    new = {**old, "fields": [*old["fields"], {"name": "extra", "type": ["null", "long"]}]}

    def record(minute: int, second: int) -> bytes:
        buffer = io.BytesIO()
        event = {"k": minute, "ts": BASE + minute * MINUTE + second * 1000, "v": second, "extra": 5}
        fastavro.schemaless_writer(buffer, new if minute >= 3 else old, event)
        return buffer.getvalue()

    deploy(pipeline=data)
    values = [record(minute, second) for minute in range(10) for second in range(60)]
    offsets = topic.put(0, values)
    reason = "2 bytes are left after the record; the producer's schema is longer"
    with pytest.raises(FlinkJobFailed) as caught:
        deploy(pipeline=data, timeout=24, grace_period=12.0)
    assert f"topic {topic.name}, partition 0, offset {offsets[180]}: {reason}" in str(caught.value)

    data["source"]["on_decode_error"] = "quarantine"
    deploy_over_failing(data)
    # Closes the windows.
    later = io.BytesIO()
    fastavro.schemaless_writer(later, old, {"k": 99, "ts": BASE + 20 * MINUTE, "v": 0})
    for partition in (0, 1):
        topic.put(partition, [later.getvalue()])

    def all_others_are_kept_and_these_count() -> None:
        kept = {place[1]: (row["detail"], row["value"]) for place, row in quarantined(topic, data).items()}
        assert kept == {offset: (reason, value) for offset, value in zip(offsets[180:], values[180:], strict=True)}
        with sdk_project(stack, tmp_path) as project:
            frame = project.get_feature_store().get_feature_group(f"{NAME}_longer_agg", version=1).read(online=True)
        assert {row["k"]: row["n"] for row in frame.to_dict("records")} == {0: 60, 1: 60, 2: 60}

    eventually(all_others_are_kept_and_these_count)
    cancel_jobs(stack, f"{NAME}_longer__features")
