"""What an explanation makes of topics and stores that disagree, or go on (integration/values/test_explain.py has all).

The topics are librdkafka's own broker for tests, on a socket; stores and Flink answer what a test says.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer

from hopsworks_flink.cli.explaining import to_text
from hopsworks_flink.clients.flink.jobs import FlinkJob
from hopsworks_flink.clients.hopsworks.event_time import EventTime
from hopsworks_flink.clients.kafka import span
from hopsworks_flink.exceptions import HopsworksNotFoundError
from hopsworks_flink.health.explanation import Explanation
from hopsworks_flink.pipeline.plan import FeatureGroupRef
from hopsworks_flink.pipeline.recompute import PartitionHistory
from hopsworks_flink.pipeline.resources import feature_group_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.late import late_avro_schema
from hopsworks_flink.pipeline.types import avro_type
from hopsworks_flink.tasks import source_events
from hopsworks_flink.tasks.explaining import Asked, Explainer

MINUTE = 60_000
# A whole minute, some hours ago.
NOON = int(time.time()) // 60 * MINUTE - 180 * MINUTE
ROWS = "rows_onlinefs"
# Broker -> topic and partition -> Kafka timestamp of each record.
WRITTEN: dict[str, dict[tuple[str, int], list[int]]] = {}
ID = 7


def pipeline(group: dict[str, Any], **source: Any) -> Pipeline:
    return Pipeline.parse(
        {
            "name": "cards",
            "source": {
                "topic": "events",
                "format": "json",
                "schema": {"card": "bigint", "at": "bigint", "amount": "double"},
                "event_time": {"column": "at"},
                "max_disorder": "5s",
                **source,
            },
            "feature_groups": [{"name": "cards", "key": ["card"], **group}],
        }
    )


class World:
    """A broker, two stores and a job. Times are milliseconds after `NOON`."""

    def __init__(self, pipe: Pipeline, watermark: int = 60 * MINUTE) -> None:
        self.pipeline, (self.group,) = pipe, pipe.feature_groups
        self.producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        (address,) = self.producer.list_topics(timeout=10).brokers.values()
        self.conf = {"bootstrap.servers": f"{address.host}:{address.port}"}
        self.online: list[dict[str, Any]] = []
        self.offline: list[dict[str, Any]] = []
        self.told = NOON + watermark
        WRITTEN[self.conf["bootstrap.servers"]] = {}
        for topic in ("events", ROWS, "cards_late"):
            self.produce(topic, None, 0)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        stamp: int,
        headers: Mapping[str, str] | None = None,
        partition: int = 0,
    ) -> None:
        beside = [(name, text.encode()) for name, text in (headers or {}).items()]
        self.producer.produce(topic, value, partition=partition, timestamp=stamp, headers=beside)
        assert self.producer.flush(10) == 0
        WRITTEN[self.conf["bootstrap.servers"]].setdefault((topic, partition), []).append(stamp)

    # --- what there is ---

    def event(
        self, after: int, arrived: int | None = None, card: int = 1, amount: float | None = 1.0, partition: int = 0
    ) -> None:
        stamp = NOON + (after if arrived is None else arrived)
        self.produce_event({"card": card, "at": NOON + after, "amount": amount}, stamp, partition)

    def produce_event(self, event: Mapping[str, Any], stamp: int, partition: int = 0) -> None:
        self.produce("events", json.dumps(event).encode(), stamp, partition=partition)

    def late(self, behind: int, offset: int, **event: Any) -> None:
        """A late event of a file with these columns."""
        kinds = {int: "bigint", float: "double", str: "string"}
        schema = {name: kinds[type(value)] for name, value in event.items()}
        pipe = pipeline(WINDOWS, schema=schema, late="topic")
        stamp = datetime.fromtimestamp(NOON / 1000, timezone.utc)
        row = {"kafka_partition": 0, "kafka_offset": offset, "kafka_timestamp": stamp, "lateness_ms": behind}
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(late_avro_schema(pipe)), {**event, **row})
        self.produce("cards_late", buffer.getvalue(), NOON)

    def row(self, after: int | None, card: int = 1, **features: Any) -> dict[str, Any]:
        """A row of the group."""
        row: dict[str, Any] = {"card": card, **features}
        if self.group.event_time is not None and after is not None:
            row[self.group.event_time.feature] = datetime.fromtimestamp((NOON + after) / 1000, timezone.utc)
        return row

    def write(self, row: Mapping[str, Any], arrived: int, ingestion: int = 42) -> None:
        """A row into the group's topic, as the job does."""
        schema = feature_group_avro_schema(self.pipeline, self.group, "demo")
        kinds = self.group.feature_types(self.pipeline.source.all_columns)
        for field in schema["fields"]:
            if kinds[field["name"]].element is not None:
                field["type"] = ["null", "bytes"]
        values = {name: encoded(value, kinds[name]) for name, value in row.items()}
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), values)
        headers = {"featureGroupId": str(ID), "onlineIngestionId": str(ingestion)}
        self.produce(ROWS, buffer.getvalue(), NOON + arrived, headers)

    # --- what is asked: as the session and the hook ---

    def kafka_config(self) -> dict[str, str]:
        return self.conf

    def get_feature_group(self, name: str, version: int) -> Any:
        class Registered:
            _online_topic_name = ROWS

        return Registered()

    def describe(self, registered: Any) -> FeatureGroupRef:
        schema = json.dumps(feature_group_avro_schema(self.pipeline, self.group, "demo"))
        return FeatureGroupRef(119, ID, self.group.name, self.group.version, ROWS, 1, schema)

    def rows_of(
        self,
        registered: Any,
        key: Mapping[str, Any],
        *,
        online: bool,
        within: tuple[EventTime, float, float] | None = None,
    ) -> list[dict[str, Any]]:
        rows = [row for row in (self.online if online else self.offline) if key.items() <= row.items()]
        if within is not None:
            column, first, last = within
            begin, end = (datetime.fromtimestamp(at, timezone.utc) for at in (first, last))
            rows = [row for row in rows if begin <= row[column.name] <= end]
        return rows

    @property
    def jobs(self) -> Any:
        class Jobs:
            def materialization(self, registered: Any) -> Any:
                raise HopsworksNotFoundError("none")

        return Jobs()

    def jobs_named(self, name: str) -> list[FlinkJob]:
        return [FlinkJob("j", name, "RUNNING", marks={"online_ingestion.cards_1": "42"})]

    def job_marks(self, job_id: str) -> dict[str, str]:
        return {}

    def watermark(self, job_id: str) -> int:
        return self.told

    def explainer(self) -> Explainer:
        world: Any = self
        return Explainer(self.pipeline, world, world, self.conf, hopsworks_conn_id="", margin=timedelta(hours=1))


def encoded(value: Any, kind: Any) -> Any:
    if kind.element is None:
        return value
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(avro_type(kind)), value)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def by_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """That broker knows neither offsets by time nor settings of topics."""

    def histories(conf: Any, topic: str, since: int, until: int | None = None) -> list[PartitionHistory]:
        found = []
        for (name, partition), stamps in WRITTEN[conf["bootstrap.servers"]].items():
            first = next((offset for offset, stamp in enumerate(stamps) if stamp >= since), len(stamps))
            end = next((offset for offset, stamp in enumerate(stamps) if until and stamp >= until), len(stamps))
            if name == topic:
                found.append(PartitionHistory(partition, 0, min(first, end), end, 1))
        return found

    monkeypatch.setattr(span, "partition_histories", histories)
    monkeypatch.setattr(source_events, "kept_since", lambda *_: None)


def causes(one: Explanation) -> dict[str, tuple[str, ...]]:
    return {finding.cause: finding.where for finding in one.findings}


def now() -> int:
    return int(time.time() * 1000)


ON_EVENT: dict[str, Any] = {
    "emit": "on_event",
    "window": {"size": "1m"},
    "event_time": "event",
    "aggregates": {"n": "count"},
}
SESSIONS: dict[str, Any] = {"window": {"gap": "1m"}, "event_time": "window_end", "aggregates": {"n": "count"}}
WINDOWS: dict[str, Any] = {"window": {"size": "1m"}, "event_time": "window_end", "aggregates": {"n": "count"}}


# --- times that are no whole seconds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "served"), [(ON_EVENT, 30_000), (SESSIONS, 90_000)])
@pytest.mark.parametrize(("n", "cause"), [(2, {}), (9, {"unexplained": ("online",)})])
def test_an_audit_looks_at_the_row_that_is_served_with_whole_seconds(
    group: dict[str, Any], served: int, n: int, cause: dict[str, Any]
) -> None:
    world = World(pipeline(group))
    world.event(1_200)
    world.event(30_500)
    world.online = [world.row(served, n=n)]
    world.offline = [world.row(served + 500, n=2)]
    explainer = world.explainer()
    for settled in (now(), NOON + served):
        *_, asked = explainer.rows_to_audit(world.group, (1,), now(), settled)
        (found,) = explainer.explain(world.group, [asked], always=False)
        assert "online" in found.compared
        assert (found.facts.at, causes(found)) == (NOON + served + 500, cause)


def test_of_two_events_in_a_second_the_one_that_is_served() -> None:
    world = World(pipeline(ON_EVENT))
    world.event(30_200)
    world.online = [world.row(30_000, n=1)]
    explainer = world.explainer()
    asked = explainer.rows_to_audit(world.group, (1,), now(), NOON)[1:]
    world.event(30_700)
    world.online = [world.row(30_000, n=2)]
    (found,) = explainer.explain(world.group, asked, always=False)
    assert (found.facts.at, found.compared, causes(found)) == (NOON + 30_200, ["online"], {})


def test_the_last_event_of_a_key_may_be_of_long_before() -> None:
    world = World(pipeline(ON_EVENT))
    world.event(1000)
    world.online = [world.row(1000, n=1)]
    world.offline = [world.row(1000, n=1)]
    (found,) = world.explainer().explain(world.group, [Asked((1,), now())])
    assert (found.facts.at, found.compared, causes(found)) == (NOON + 1000, ["online", "offline"], {})


# --- stores that go on ------------------------------------------------------------------------------------------------


def test_an_audit_looks_at_the_row_that_it_saw_first() -> None:
    world = World(pipeline(WINDOWS))
    world.event(1000)
    world.online = [world.row(60_000, n=9)]
    explainer = world.explainer()
    asked = explainer.rows_to_audit(world.group, (1,), now(), NOON)[1:]
    world.online = [world.row(120_000, n=1)]
    (found,) = explainer.explain(world.group, asked, always=False)
    assert (found.compared, causes(found)) == (["online"], {"unexplained": ("online",)})


def test_a_later_row_is_not_said_to_be_as_recomputed() -> None:
    world = World(pipeline(WINDOWS))
    world.event(1000)
    world.online = [world.row(120_000, n=9)]
    world.offline = [world.row(60_000, n=1)]
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + MINUTE)])
    text = to_text(found)
    assert "Nothing differs: offline as recomputed." in text
    assert text.endswith("Online is a later row, which was not compared.")


@pytest.mark.parametrize(("served", "cause"), [(2, {}), (1, {}), (9, {"another_writer": ("online",)})])
def test_without_event_time_what_is_served_may_be_newer_than_flinks_figure(served: int, cause: dict[str, Any]) -> None:
    world = World(pipeline({**WINDOWS, "event_time": None}), watermark=119_000)
    world.event(1000)
    world.event(61_000)
    world.event(62_000)
    world.online = [world.row(None, n=served)]
    for n in (1, 2):
        world.write(world.row(None, n=n), n * MINUTE)
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + 5 * MINUTE, ("online",))])
    assert causes(found) == cause


@pytest.mark.parametrize("arrived", [4000, 2500])
def test_without_event_time_the_row_of_the_event_that_was_read_last_is_the_newest(arrived: int) -> None:
    world = World(pipeline({"features": ["amount"]}))
    world.event(2000, arrived=3000, amount=1.0)
    world.event(1000, arrived=arrived, amount=2.0)
    for amount, expected in ((2.0, {}), (1.0, {"online_behind": ("online",)})):
        world.online = [world.row(None, amount=amount)]
        world.write(world.row(None, amount=1.0), 3100)
        world.write(world.row(None, amount=2.0), 4100)
        (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + 5 * MINUTE, ("online",))])
        assert causes(found) == expected


def test_an_event_that_came_a_moment_ago_need_not_be_served() -> None:
    world = World(pipeline({"features": ["amount"]}))
    world.event(2000, amount=1.0)
    after = now() - NOON
    world.event(after, amount=2.0)
    world.online = [world.row(None, amount=1.0)]
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + 5 * MINUTE, ("online",))])
    assert causes(found) == {}


def test_a_row_of_an_event_that_was_not_read_is_not_called_stale() -> None:
    world = World(pipeline({"features": ["amount"]}))
    world.event(2000)
    world.online = [world.row(None, amount=1.0)]
    (found,) = world.explainer().explain(world.group, [Asked((1,), now(), ("online",))])
    assert (found.compared, causes(found)) == ([], {})
    assert found.unknown[0].startswith("what is online: its event came before those that were read")


# --- what is emitted when ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "at"), [(ON_EVENT, 1000), (SESSIONS, 61_000), (WINDOWS, 60_000)])
@pytest.mark.parametrize("open_", [True, False])
def test_a_row_is_missing_only_when_the_watermark_has_come_to_it(group: dict[str, Any], at: int, open_: bool) -> None:
    last = at - 1 if group is WINDOWS else at
    world = World(pipeline(group), watermark=last - open_)
    world.event(1000)
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + at, ("offline",))])
    assert causes(found) == {"window_open" if open_ else "unexplained": ("offline",)}


# --- events -----------------------------------------------------------------------------------------------------------

HOUR = NOON // (60 * MINUTE) * 60 * MINUTE - NOON


@pytest.mark.parametrize(
    ("group", "events", "at", "shown"),
    [
        ({**WINDOWS, "window": {"size": "1h", "step": "1m"}}, [HOUR - 5000, HOUR, HOUR + 5000], HOUR + MINUTE, [1, 2]),
        (SESSIONS, [1000, 61_001, 121_001, 130_000], 190_000, [1, 2, 3]),
        ({**WINDOWS, "on_empty": "zero"}, [1000], 2 * MINUTE, []),
        (ON_EVENT, [999, 1000, 61_000, 61_001], 61_000, [1, 2]),
    ],
)
def test_the_events_of_the_row_are_shown(group: dict[str, Any], events: list[int], at: int, shown: list[int]) -> None:
    world = World(pipeline(group))
    for after in events:
        world.event(after)
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + at, ("offline",))])
    assert [one.time for one in found.events] == [NOON + events[one] for one in shown]
    assert found.facts.recomputed is not None
    assert found.facts.recomputed.values["n"] == len(shown)


def test_an_event_that_lacks_a_required_feature_is_refused() -> None:
    world = World(pipeline({"features": {"amount": {"expression": "amount", "required": True}}, "event_time": "event"}))
    world.event(1000, amount=None)
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + MINUTE, ("online",))])
    assert causes(found) == {"refused_event": ("events",)}
    assert [one.outcome for one in found.events] == ["cards_1.amount is null"]


def test_of_events_that_were_sent_twice_the_one_of_the_lower_partition_counts() -> None:
    group = {**WINDOWS, "aggregates": {"total": {"sum": "amount"}}}
    world = World(pipeline(group, deduplicate={"by": "card", "within": "1m"}))
    world.event(1000, arrived=1000, amount=5.0, partition=1)
    world.event(1000, arrived=3000, amount=9.0)
    world.online = [world.row(60_000, total=9.0)]
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + MINUTE, ("online",))])
    assert causes(found) == {}
    assert [(one.partition, one.outcome) for one in found.events] == [(1, "duplicate"), (0, "counted")]


# --- rows that are not online -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [WINDOWS, ON_EVENT])
@pytest.mark.parametrize("served", [True, False])
def test_an_audit_sees_that_the_online_store_stands_still(group: dict[str, Any], served: bool) -> None:
    world = World(pipeline(group))
    times = (60_000, 300_000) if group is WINDOWS else (1000, 241_000)
    for after, at in zip((1000, 241_000), times, strict=True):
        world.event(after)
        world.write(world.row(at, n=1), at + 5000)
    world.offline = [world.row(at, n=1) for at in times]
    world.online = [world.row(times[0], n=1)] if served else []
    explainer = world.explainer()
    asked = explainer.rows_to_audit(world.group, (1,), now(), NOON + 5 * MINUTE)
    found = explainer.explain(world.group, asked, always=False)
    own = [{}] if served and group is WINDOWS else []
    assert [causes(one) for one in found] == [{"online_behind": ("online",)}, *own]


def test_an_audit_of_a_silent_key() -> None:
    world = World(pipeline(ON_EVENT))
    world.event(1000)
    world.online, world.offline = [world.row(1000, n=1)], [world.row(1000, n=2)]
    explainer = world.explainer()
    found = explainer.explain(world.group, explainer.rows_to_audit(world.group, (1,), now(), now()), always=False)
    assert [causes(one) for one in found] == [{"unexplained": ("offline",)}]


@pytest.mark.parametrize(("ttl", "expected"), [("1h", {}), ("1d", {"online_behind": ("online",)})])
def test_a_row_that_has_expired_need_not_be_online(ttl: str, expected: dict[str, Any]) -> None:
    world = World(pipeline({**WINDOWS, "ttl": ttl}))
    world.event(1000)
    world.write(world.row(60_000, n=1), MINUTE)
    world.offline = [world.row(60_000, n=1)]
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + MINUTE)])
    assert causes(found) == expected
    assert found.compared == (["offline"] if ttl == "1h" else ["online", "offline"])


def test_a_row_of_days_ago_is_not_explained_without_its_event() -> None:
    world = World(pipeline(ON_EVENT))
    world.online = [world.row(-3 * 24 * 60 * MINUTE, n=1)]
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON, ("online",))])
    assert (found.compared, causes(found)) == ([], {})
    assert found.unknown[0].startswith("what is online: its event came before those that were read")


def test_late_events_of_a_file_with_other_columns_are_passed_over() -> None:
    world = World(pipeline(WINDOWS, late="topic"))
    world.event(1000)
    world.event(2000)
    world.late(8, 1, shop="a shop", card=1, at=NOON)
    world.late(8, 1, card=1, at=NOON, amount=1.0, shop="a shop", city="a city")
    world.late(7000, 2, card=1, at=NOON, amount=1.0)
    world.online = [world.row(60_000, n=1)]
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + MINUTE, ("online",))])
    assert [one.behind for one in found.events] == [None, 7000]
    assert causes(found) == {"late_event": ("online",)}


# --- arrays -----------------------------------------------------------------------------------------------------------

LISTS = {
    "amounts": {"last_n": "amount", "n": 3},
    "days": {"last_n": "day", "n": 3},
    "times": {"first_n": "seen", "n": 3},
}


@pytest.mark.parametrize(
    ("served", "written", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], {"not_materialized": ("offline",)}),
        ([1.0, 9.0], [1.0, 2.0], {"another_writer": ("online",), "not_materialized": ("offline",)}),
        ([1.0], [1.0], {"unexplained": ("online",), "not_materialized": ("offline",)}),
    ],
)
def test_arrays_are_compared(served: list[float], written: list[float], expected: dict[str, Any]) -> None:
    schema = {"card": "bigint", "at": "bigint", "amount": "double", "day": "date", "seen": "timestamp"}
    world = World(pipeline({**WINDOWS, "aggregates": LISTS}, schema=schema))
    for amount in (1.0, 2.0):
        day, seen = "2025-03-01", "2025-03-01T12:00:00Z"
        world.produce_event({"card": 1, "at": NOON + 1000, "amount": amount, "day": day, "seen": seen}, NOON + 1000)
    others = {"days": [date(2025, 3, 1)] * 2, "times": [datetime(2025, 3, 1, 12, tzinfo=timezone.utc)] * 2}
    kinds = world.group.feature_types(world.pipeline.source.all_columns)
    values = {"amounts": served, **others}
    world.online = [world.row(60_000, **{name: encoded(value, kinds[name]) for name, value in values.items()})]
    world.write(world.row(60_000, amounts=written, **others), MINUTE)
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + MINUTE)])
    assert causes(found) == expected
    assert found.facts.online is not None
    assert found.facts.online.row is not None
    assert found.facts.online.row.values["amounts"] == served


def test_bytes_that_are_no_array_differ() -> None:
    world = World(pipeline({**WINDOWS, "aggregates": {"amounts": LISTS["amounts"]}}))
    world.event(1000)
    world.online = [world.row(60_000, amounts=b"\x02\x09")]
    (found,) = world.explainer().explain(world.group, [Asked((1,), NOON + MINUTE, ("online",))])
    assert causes(found) == {"unexplained": ("online",)}
    assert "differs" in to_text(found)
