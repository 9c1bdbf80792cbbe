"""Feature groups without windows: what a file may say about them, and what follows from it."""

import copy
import json
from datetime import datetime, timezone

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.interval import Interval
from hopsworks_flink.pipeline.plan import Begin, begin_values, compile_plan, replay_since
from hopsworks_flink.pipeline.recompute import PartitionHistory, compile_recompute
from hopsworks_flink.pipeline.resources import feature_group_arguments, features, online_warnings
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.quarantine import quarantine_insert
from hopsworks_flink.testing import evaluate
from tests.support.pipelines import registered

NOON = 1_735_732_800_000
SPEC = {
    "name": "payments",
    "source": {
        "topic": "payments",
        "schema": {"id": "string", "at": "bigint", "currency": "string", "amount": "double", "item": "int"},
        "event_time": {"column": "at"},
        "refused": "quarantine",
        "derive": {"cents": {"expression": "ROUND(amount * 100)", "type": "bigint"}},
    },
    "feature_groups": [
        {
            "name": "payments_clean",
            "key": ["id"],
            "features": {
                "currency": "UPPER(currency)",
                "amount": {"expression": "amount", "type": "float", "description": "as paid"},
                "cents": "cents",
                "large": "cents > 10000",
                "cost": "LEFT(currency, 1) || '$1'",
            },
            "event_time": "event",
        },
        {"name": "by_currency", "key": ["currency"], "window": {"size": "1m"}, "aggregates": {"n": "count"}},
    ],
}


def changed(**group):
    spec = copy.deepcopy(SPEC)
    spec["feature_groups"][0].update(group)
    spec["feature_groups"][0] = {name: value for name, value in spec["feature_groups"][0].items() if value is not None}
    return spec


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ({"window": {"size": "1m"}}, "window is for windows, and features are made of one event each; remove window"),
        ({"aggregates": {"n": "count"}}, "aggregates is for windows"),
        ({"emit": "on_event"}, "emit is for windows"),
        ({"event_time": "window_end"}, "event_time: window_end is for windows; with features write event_time: event"),
        ({"features": None}, "window is required; a group has window and aggregates, or features"),
        ({"features": {}}, r"features: .*at least 1 item"),
        ({"features": ["amount", "amount"]}, r"features: a column is named twice"),
        ({"features": ["amount", "id"]}, r"features\.id: a key column is a feature already; remove it here"),
        ({"features": ["amount", "price"]}, r"features\.price: .*column 'price' does not exist"),
        ({"features": {"x": "amount >"}}, r"features\.x: .*is not an SQL expression"),
        ({"features": {"x": "NULL"}}, r"features\.x: NULL has no type; write \{expression: …, type: …\}"),
        ({"features": {"x": 3}}, r"features\.x: .*must be a text, and YAML reads `3` as a number"),
        ({"features": {"x": {"expression": "amount", "type": "decimal(9,2)"}}}, r"features\.x: .*cannot be cast"),
        ({"features": {"X": "amount"}}, r"features\.X: must be lower case letters"),
        ({"features": {"event_time": "at"}}, "event_time adds a feature 'event_time'; rename the other one, or this"),
        ({"online_types": {"n": "text"}}, r"online_types\.n: there is no such feature; there are id, currency"),
    ],
)
def test_what_is_refused(group, told):
    with pytest.raises(PipelineError, match=told):
        Pipeline.parse(changed(**group))


def test_a_file_reads_back_as_it_was():
    pipeline = Pipeline.parse(SPEC)
    assert Pipeline.parse(pipeline.to_dict()) == pipeline
    listed = Pipeline.parse(changed(features=["currency", "cents"]))
    assert Pipeline.parse(json.loads(json.dumps(listed.to_dict()))) == listed


def test_types_are_those_of_the_expressions():
    pipeline = Pipeline.parse(SPEC)
    assert [(one.name, one.type) for one in features(pipeline, pipeline.feature_groups[0])] == [
        ("id", "string"),
        ("currency", "string"),
        ("amount", "float"),
        ("cents", "bigint"),
        ("large", "boolean"),
        ("cost", "string"),
        ("event_time", "timestamp"),
    ]
    arguments = feature_group_arguments(pipeline, pipeline.feature_groups[0])
    assert arguments["event_time"] == "event_time"
    assert arguments["features"][2]["description"] == "as paid"


def test_the_statement_of_a_row(snapshot):
    pipeline = Pipeline.parse(SPEC)
    plan = compile_plan(pipeline, registered(pipeline))
    assert plan.inserts[0] == snapshot
    # One scan, whatever the groups are.
    assert sum("'connector' = 'kafka'" in str(one) and "scan." in str(one) for one in plan.statements) == 1


def test_an_event_without_key_is_refused_as_elsewhere():
    assert "WHEN `id` IS NULL THEN 'id is null'" in quarantine_insert(Pipeline.parse(SPEC))


def test_a_rewarmed_job_writes_again_what_it_reads_again():
    pipeline = Pipeline.parse(SPEC)
    values = begin_values(pipeline, Begin(watermark=NOON, replay=True))
    assert list(values) == ["windows_from_by_currency_1", "source_start"]
    alone = Pipeline.parse({**SPEC, "feature_groups": SPEC["feature_groups"][:1]})
    assert replay_since(alone, NOON) == NOON - 3_600_000


def test_a_recompute_makes_the_rows_of_events_in_its_interval():
    pipeline = Pipeline.parse(SPEC)
    day = Interval(datetime(2025, 1, 1, tzinfo=timezone.utc), datetime(2025, 1, 2, tzinfo=timezone.utc))
    group = pipeline.feature_groups[0]
    plan = compile_recompute(pipeline, registered(pipeline), [group], day, [PartitionHistory(0, 0, 0, 9, None)])
    start, end = day.start_ms * 1000, day.end_ms * 1000
    assert plan.inserts[0].endswith(f"WHERE `event_time` >= {start} AND `event_time` < {end}")


def test_strings_that_may_be_too_long_online():
    pipeline = Pipeline.parse(SPEC)
    told = online_warnings(pipeline, pipeline.feature_groups[0], {})
    assert [warning.split("'")[1] for warning in told] == ["id", "currency"]
    assert "LEFT(UPPER(currency), 100)" in told[1]


def test_an_event_without_a_required_feature_is_refused():
    spec = changed(features={"amount": {"expression": "amount", "type": "int", "required": True}})
    pipeline = Pipeline.parse(spec)
    assert Pipeline.parse(pipeline.to_dict()) == pipeline
    value = "CASE WHEN `amount` > -2147483649.0e0 AND `amount` < 2147483648.0e0 THEN CAST(`amount` AS INT) END"
    assert f"WHERE {value} IS NOT NULL" in compile_plan(pipeline, registered(pipeline)).inserts[0]
    assert f"WHEN {value} IS NULL THEN 'payments_clean_1.amount is null'" in quarantine_insert(pipeline)
    events = [{"id": name, "at": NOON, "amount": amount} for name, amount in (("a", 1.5), ("b", 1e10), ("c", None))]
    assert [row["id"] for row in evaluate(pipeline, events)["payments_clean_1"]] == ["a"]


def test_evaluated_rows_stand_in_the_order_of_arrival():
    events = [
        {"id": "a", "at": NOON + 9, "currency": "eur", "amount": 1.5},
        {"id": None, "at": NOON, "currency": "eur"},
        {"id": "a", "at": NOON, "currency": None, "amount": float("nan")},
        {"id": "b", "at": NOON, "currency": "ß", "amount": 1e39},
    ]
    rows = evaluate(Pipeline.parse(SPEC), events)["payments_clean_1"]
    moment = datetime(2025, 1, 1, 12, tzinfo=timezone.utc)
    nothing = dict.fromkeys(("currency", "amount", "cents", "large", "cost"))
    assert rows == [
        {
            "id": "a",
            "currency": "EUR",
            "amount": 1.5,
            "cents": 150,
            "large": False,
            "cost": "e$1",
            "event_time": moment.replace(microsecond=9000),
        },
        {"id": "a", **nothing, "event_time": moment},
        {
            **{"id": "b", **nothing, "event_time": moment},
            **{"currency": "SS", "cost": "ß$1", "large": None, "cents": None},
        },
    ]
