"""Every type and form of feature on a real Flink: values as DuckDB computes them, bytes as the SDK encodes them.

One pipeline reads Avro and one JSON, from the same events. The tests build on each other.
"""

from __future__ import annotations

import base64
import io
import json
import math
import random
import uuid
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import fastavro
import pytest
import requests
from confluent_kafka import Producer

from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator, HopsworksCreateTopicOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.late import late_avro_schema, late_topic_arguments
from hopsworks_flink.testing import evaluate
from tests.support.fixtures import set_connection, task_context
from tests.support.live.jobs import OFTEN
from tests.support.live.platform import ends, eventually, jobs, looked_around, records, sdk_project

pytestmark = pytest.mark.timeout(600)

COLUMNS = {
    "id": "string",
    "at": "timestamp",
    "shop": "string",
    "vip": "boolean",
    "tiny": "tinyint",
    "small": "smallint",
    "n": "int",
    "big": "bigint",
    "f": "float",
    "x": "double",
    "amount": "decimal(10,2)",
    "wide": "decimal(38,10)",
    "day": "date",
    "seen": "timestamp",
    "raw": "binary",
}
ORDERED = ("id", "tiny", "small", "n", "big", "f", "x", "amount", "wide", "day", "seen")
FLUSH = "flush"
# Of this run: a stack may hold what an earlier one has written.
RUN = uuid.uuid4().hex[:6]
START = datetime.now(timezone.utc).replace(second=0, microsecond=0) - timedelta(hours=2)


def specification(form: str) -> dict[str, Any]:
    """The pipeline that reads events of a format."""
    values: dict[str, Any] = {"n_events": "count", "vips": {"count": "*", "where": "vip"}}
    for column in ORDERED:
        values[f"min_{column}"] = {"min": column}
        values[f"max_{column}"] = {"max": column}
    for column in (*ORDERED, "vip"):
        values[f"first_{column}"] = {"first_value": column}
        values[f"last_{column}"] = {"last_value": column, "where": "n IS NOT NULL"}
        values[f"distinct_{column}"] = {"count_distinct": column}
    for column in ("tiny", "n", "f", "x", "amount"):
        for function in ("sum", "avg", "stddev_samp", "stddev_pop", "var_samp", "var_pop"):
            values[f"{function}_{column}"] = {function: column}
    values["zeros"] = {"count_distinct": "nothing"}
    values["sum_or_zero"] = {"sum": "amount", "where": "amount > 50", "default": "0.5"}
    recent = {name: values[name] for name in values if not name.startswith("first_")}
    return {
        "name": f"wide_{form}_{RUN}",
        "source": {
            "topic": f"wide_{form}_{RUN}",
            "format": form,
            "schema": COLUMNS,
            "event_time": {"column": "at"},
            "derive": {
                "total": {"expression": "amount * n", "type": "decimal(20,2)"},
                "hour": {"expression": "EXTRACT(hour FROM seen)", "type": "int"},
                # Never null, as Flink knows: a deviation of it still is, where there is one event.
                "never_null": {"expression": "COALESCE(n, 7)", "type": "int"},
                # Zeros of both signs, which are one value.
                "nothing": {"expression": "x * 0", "type": "double"},
                "label": {"expression": "UPPER(LEFT(id, 2)) || '$' || '''' || CAST(n AS string)", "type": "string"},
            },
            "where": "shop <> 'no''where'",
            "max_disorder": "5s",
            "late": "topic",
        },
        "feature_groups": [
            {
                "name": f"wide_{form}_types_{RUN}",
                "key": ["shop"],
                "window": {"size": "5m"},
                "event_time": "window_end",
                "aggregates": values,
            },
            {
                "name": f"wide_{form}_keys_{RUN}",
                "key": ["vip", "tiny", "small", "n", "big", "amount", "day", "label"],
                "window": {"size": "20m", "step": "5m"},
                "event_time": "window_end",
                "upsert_if_newer": True,
                "ttl": "30d",
                "aggregates": {
                    "n_events": "count",
                    "spent": {"sum": "total", "default": 0},
                    "h": {"max": "hour"},
                    "var": {"var_samp": "never_null"},
                    "sd": {"stddev_samp": "never_null", "default": -1},
                },
            },
            {
                "name": f"wide_{form}_recent_{RUN}",
                "key": ["shop"],
                "emit": "on_event",
                "window": {"size": "3m"},
                "event_time": "event",
                "online": False,
                "aggregates": recent,
            },
        ],
    }


def made_events() -> list[dict[str, Any]]:
    """Events in the order of their arrival, disordered by less than the bound; then one that is late."""
    random_ = random.Random(11)

    def event(number: int, at: datetime, shop: str) -> dict[str, Any]:
        some = {
            "vip": random_.random() < 0.5,
            "tiny": random_.randrange(-128, 128),
            "small": random_.choice([-32768, 0, 32767]),
            "n": random_.choice([1, -5, 2_147_483_647]),
            "big": random_.choice([9_007_199_254_740_993, -1, 12]),
            "f": random_.choice([0.1, -3.4e10, 1e-30, 2.5]),
            "x": random_.choice(
                [1e6 + random_.random() * 1e-3, 9e11, -5.25, 1e-6, round(random_.expovariate(0.02), 2)]
            ),
            "amount": Decimal(random_.randrange(-9_999, 99_999_999)).scaleb(-2),
            "wide": Decimal(random_.randrange(-(10**18), 10**18)).scaleb(-10),
            "day": date(1969, 12, 31) + timedelta(days=random_.randrange(30_000)),
            "seen": at - timedelta(microseconds=random_.randrange(10**15)),
            "raw": random_.randbytes(5),
        }
        for column in [*some]:
            if random_.random() < 0.1:
                some[column] = None
        return {"id": f"é{number}", "at": at, "shop": shop, **some}

    events = []
    for number in range(600):
        at = START + timedelta(seconds=number * 2) - timedelta(microseconds=random_.randrange(4_000_000))
        if number % 10 == 0 and events:
            at = events[-1]["at"]
        events.append(event(number, at, random_.choice(["a", "b", "çö", "no'where"])))
    events.append({**event(600, START + timedelta(minutes=25), FLUSH), "vip": None})
    events.append({**event(601, START + timedelta(minutes=60), FLUSH), "vip": None})
    return events


# Of every type, and one value is missing.
LATE = {
    "id": "late",
    "at": START + timedelta(seconds=1, microseconds=5),
    "shop": "a",
    "vip": False,
    "tiny": -128,
    "small": 32767,
    "big": 2**63 - 1,
    "f": -0.5,
    "x": 1e-300,
    "amount": Decimal("-1.10"),
    "wide": Decimal("1234567890123456789012345678.0123456789"),
    "day": date(1969, 7, 20),
    "seen": datetime(1969, 7, 20, 20, 17, 40, 123456, tzinfo=timezone.utc),
    "raw": b"\x00\xff",
}


class Wide:
    """Both pipelines, and what they have received."""

    def __init__(self, stack: Any, certificates: Any) -> None:
        self.stack, self.certificates = stack, certificates
        self.pipelines = {form: Pipeline.parse(specification(form)) for form in ("avro", "json")}
        self.events = made_events()
        # The topic is the whole project's: what others have written is neither read nor decoded.
        self.before: dict[str, dict[int, int]] = {}
        self.written: dict[str, list[Any]] = {}

    def deploy(self, pipeline: Pipeline) -> None:
        """Everything that the deploy DAG does."""
        source = pipeline.source
        topics = [{"topic": source.topic, "schema": source_avro_schema(pipeline)}, late_topic_arguments(pipeline)]
        for topic in topics:
            HopsworksCreateTopicOperator(task_id="topic", **topic).execute(task_context())
        for group in pipeline.feature_groups:
            arguments = feature_group_arguments(pipeline, group)
            told = HopsworksCreateFeatureGroupOperator(task_id=group.full_name, **arguments).execute(task_context())
            topic = told["topic"]
            self.before.setdefault(topic, ends(self.stack.config.kafka_bootstrap, topic))
        assert self.start(pipeline)["action"] == "submitted"

    def start(self, pipeline: Pipeline, **arguments: Any) -> dict[str, Any]:
        """The job, as the pipeline says."""
        waiting = {"grace_period": 1.0, "poll_interval": 0.5, "timeout": 120, "flink_configuration": OFTEN}
        operator = FlinkDeployFeaturePipelineOperator(
            task_id="deploy", pipeline=pipeline.to_dict(), **waiting, **arguments
        )
        return operator.execute(task_context())

    def produce(self, form: str, events: list[dict[str, Any]]) -> None:
        pipeline = self.pipelines[form]
        producer = Producer({"bootstrap.servers": self.stack.config.kafka_bootstrap, "enable.idempotence": True})
        schema = fastavro.parse_schema(source_avro_schema(pipeline))
        for event in events:
            value = as_json(event) if form == "json" else as_avro(event, schema)
            stamp = round(event["at"].timestamp() * 1000)
            producer.produce(pipeline.source.topic, value=value, partition=0, timestamp=stamp)
        assert producer.flush(60) == 0

    def rows(self, form: str) -> dict[str, list[dict[str, Any]]]:
        """What the groups' online topics hold, decoded by the schemas that the platform has registered."""
        pipeline = self.pipelines[form]
        with sdk_project(self.stack, self.certificates) as project:
            store = project.get_feature_store()
            groups = [store.get_feature_group(g.name, g.version) for g in pipeline.feature_groups]
            schemas = {
                g.id: (f"{g.name}_{g.version}", fastavro.parse_schema(json.loads(g.avro_schema))) for g in groups
            }
            topics = {g._online_topic_name for g in groups}
        found: dict[str, list[dict[str, Any]]] = {g.full_name: [] for g in pipeline.feature_groups}
        self.written[form] = []
        for topic in topics:
            for record in records(self.stack.config.kafka_bootstrap, topic, self.before[topic]):
                number = int(dict(record.headers())["featureGroupId"])
                if number in schemas:
                    name, schema = schemas[number]
                    row = fastavro.schemaless_reader(io.BytesIO(record.value()), schema)
                    found[name].append(row)
                    self.written[form].append((name, number, record, row))
        return found


def as_avro(event: dict[str, Any], schema: Any) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, event)
    return buffer.getvalue()


def as_json(event: dict[str, Any]) -> bytes:
    def text(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        return value.isoformat() if isinstance(value, date) else value

    # The digits of a decimal as they are: json would make a double of them.
    fields = [
        f"{json.dumps(name)}: {value if isinstance(value, Decimal) else json.dumps(text(value))}"
        for name, value in event.items()
    ]
    return ("{" + ", ".join(fields) + "}").encode()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return one == other


def assert_rows(found: list[dict[str, Any]], expected: list[dict[str, Any]], key: list[str]) -> None:
    def place(row: dict[str, Any]) -> Any:
        return tuple(str(row[name]) for name in key)

    found, expected = sorted(found, key=place), sorted(expected, key=place)
    assert [place(row) for row in found] == [place(row) for row in expected]
    for row, wanted in zip(found, expected, strict=True):
        different = {name: (row[name], wanted[name]) for name in wanted if not same(row[name], wanted[name])}
        assert not different, (place(row), different)


@pytest.fixture(scope="module")
def wide(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        wide = Wide(stack, tmp_path_factory.mktemp("certificates"))
        for form, pipeline in wide.pipelines.items():
            wide.deploy(pipeline)
            wide.produce(form, wide.events)
        yield wide
        for pipeline in wide.pipelines.values():
            for job_id in jobs(stack, pipeline.job_name):
                requests.patch(f"{stack.config.flink_url}/jobs/{job_id}?mode=cancel", timeout=30)


def assert_features(wide: Wide, form: str, events: list[dict[str, Any]], watermark: datetime) -> None:
    """Each row until a watermark is in the topic, once and no other, with the values that DuckDB computes."""
    pipeline = wide.pipelines[form]
    expected = evaluate(pipeline, events)

    def check() -> None:
        found = wide.rows(form)
        for group in pipeline.feature_groups:
            stamp = str(group.event_time_feature)
            wanted = [row for row in expected[group.full_name] if row[stamp] <= watermark]
            assert wanted
            assert_rows(found[group.full_name], wanted, [*group.key, stamp])

    eventually(check)


@pytest.mark.parametrize("form", ["avro", "json"])
def test_values_are_those_of_an_independent_computation(wide: Wide, form: str) -> None:
    assert_features(wide, form, wide.events, START + timedelta(minutes=60, seconds=-5))


@pytest.mark.parametrize("form", ["avro", "json"])
def test_bytes_keys_and_headers_are_the_sdks(wide: Wide, form: str) -> None:
    from hsfs.core import kafka_engine

    pipeline = wide.pipelines[form]
    by_name = {group.full_name: group for group in pipeline.feature_groups}
    writers = {}
    assert len(wide.written[form]) > 500
    with sdk_project(wide.stack, wide.certificates) as project:
        store = project.get_feature_store()
        for group in pipeline.feature_groups:
            registered = store.get_feature_group(group.name, group.version)
            writers[registered.id] = kafka_engine._get_writer_function(registered)[1]
    for name, number, record, row in wide.written[form]:
        assert record.value() == kafka_engine._encode_row({}, writers[number], dict(row)), row
        key = "".join(str(row[column]) for column in sorted(by_name[name].key))
        assert record.key().decode() == key
        headers = dict(record.headers())
        assert ("upsertIfNewer" in headers) == by_name[name].upsert_if_newer
        assert headers.get("storage") == (None if by_name[name].online else b"offline")
        assert ("onlineIngestionId" in headers) == by_name[name].online


@pytest.mark.parametrize("form", ["avro", "json"])
def test_a_late_event_is_in_the_late_topic_with_its_coordinates(
    wide: Wide, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = wide.pipelines[form]
    assert pipeline.late_topic
    wide.produce(form, [{**LATE, "shop": "no'where"}, LATE])
    schema = fastavro.parse_schema(late_avro_schema(pipeline))

    def check() -> None:
        found = records(wide.stack.config.kafka_bootstrap, str(pipeline.late_topic))
        assert len(found) == 1
        row = fastavro.schemaless_reader(io.BytesIO(found[0].value()), schema)
        assert {name: row[name] for name in LATE} == LATE
        assert row["n"] is None
        assert (row["kafka_partition"], row["kafka_offset"]) == (0, len(wide.events) + 1)
        assert row["kafka_timestamp"] == START + timedelta(seconds=1)
        # Behind the watermark, which is just below the newest event less the disorder.
        watermark = START + timedelta(minutes=60) - timedelta(seconds=5, milliseconds=1)
        assert row["lateness_ms"] == (watermark - START - timedelta(seconds=1)) // timedelta(milliseconds=1)

    eventually(check, 30)
    # The status page shows it.
    monkeypatch.setenv("AIRFLOW__HOPSWORKS_FLINK__STATUS_SAMPLE_ROWS", "2")
    topic = looked_around(pipeline).topics["late"]
    (shown,) = topic["newest"]
    assert (topic["records"], topic["reasons"]) == (1, {"late": 1})
    assert (shown["partition"], shown["offset"]) == (0, len(wide.events) + 1)
    assert shown["at"] == (START + timedelta(seconds=1)).timestamp()
    assert shown["detail"] == "3594 s behind the watermark"
    assert shown["value"].startswith('{"id": "late", ')
