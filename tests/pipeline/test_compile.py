import json
from datetime import timedelta

import pytest
import sqlglot

from hopsworks_flink.clients.hopsworks.shapes import appended_fields
from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.plan import (
    Begin,
    begin_values,
    bindings,
    compile_plan,
    feature_statements,
    record_headers,
    secret_values,
)
from hopsworks_flink.pipeline.resources import (
    avro_name,
    feature_group_arguments,
    source_avro_schema,
)
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.features import source_table
from hopsworks_flink.pipeline.sql.late import late_topic_arguments
from hopsworks_flink.pipeline.types import sql_interval, sql_literal
from tests.support.pipelines import EVERYTHING, PLAIN, REFERENCE, registered


def sql_of(pipeline, engine):
    pipeline = pipeline.model_copy(update={"engine": engine})
    plan = compile_plan(pipeline, registered(pipeline))
    texts = [step if isinstance(step, str) else json.dumps(step, indent=2) for step in plan.statements]
    return "\n\n".join([*texts, *plan.inserts])


both_engines = pytest.mark.parametrize("engine", ["native", "sql"])


@pytest.fixture
def everything():
    """A pipeline that uses every type, function, unit and form of window."""
    columns = {
        "day": "int",
        "shop": "string",
        "vip": "boolean",
        "at": "bigint",
        "small": "int",
        "big": "bigint",
        "ratio": "float",
        "amount": "double",
    }
    return {
        "name": "everything",
        "source": {
            "topic": "all.types-1",
            "schema": columns,
            "event_time": {"column": "at", "unit": "microseconds"},
            "max_disorder": "1500ms",
            "idle_timeout": None,
            "start": "latest",
        },
        "feature_groups": [
            {
                "name": "by_shop_and_vip",
                "key": ["vip", "shop", "day"],
                "window": {"size": "1d"},
                "event_time": "window_end",
                "aggregates": {
                    "n": "count",
                    "n_amount": {"count": "amount"},
                    "sum_small": {"sum": "small"},
                    "sum_ratio": {"sum": "ratio"},
                    "avg_big": {"avg": "big"},
                    "avg_amount": {"avg": "amount"},
                    "min_small": {"min": "small"},
                    "max_ratio": {"max": "ratio"},
                    "sd_small": {"stddev_samp": "small"},
                    "sdp_amount": {"stddev_pop": "amount"},
                },
            },
            {
                "name": "by_shop",
                "version": 3,
                "key": ["shop"],
                "window": {"size": "250h", "slide": "7500s"},
                "aggregates": {"n": "count"},
            },
        ],
    }


@both_engines
def test_sql_of_the_reference_pipeline(snapshot, engine):
    assert sql_of(Pipeline.from_yaml(REFERENCE), engine) == snapshot


@both_engines
def test_sql_of_every_type_and_function(snapshot, everything, engine):
    assert sql_of(Pipeline.parse(everything), engine) == snapshot


@pytest.mark.parametrize("unit", ["seconds", "milliseconds", "microseconds"])
def test_event_time_is_guarded_in_its_own_unit(snapshot, minimal, unit):
    minimal["source"]["event_time"]["unit"] = unit
    assert compile_plan(p := Pipeline.parse(minimal), registered(p)).statements[0] == snapshot


def test_select_statements_parse_as_sql(everything):
    plan = compile_plan(p := Pipeline.parse(everything), registered(p))
    for statement in plan.inserts:
        select = statement.partition("\n")[2]
        assert sqlglot.parse_one(select.replace("TABLE `", "`"), read="spark")


def test_feature_group_arguments(everything):
    p = Pipeline.parse(everything)
    arguments = feature_group_arguments(p, p.feature_groups[0])
    assert arguments["primary_key"] == ["vip", "shop", "day"]
    assert arguments["event_time"] == "window_end"
    types = {feature["name"]: feature["type"] for feature in arguments["features"]}
    assert types == {
        "vip": "boolean",
        "shop": "string",
        "day": "int",
        "n": "bigint",
        "n_amount": "bigint",
        "sum_small": "bigint",
        "sum_ratio": "double",
        "avg_big": "double",
        "avg_amount": "double",
        "min_small": "int",
        "max_ratio": "float",
        "sd_small": "double",
        "sdp_amount": "double",
        "window_end": "timestamp",
    }


def test_the_tutorials_four_columns():
    p = Pipeline.from_yaml(REFERENCE)
    features = feature_group_arguments(p, p.feature_groups[0])["features"]
    assert [(f["name"], f["type"]) for f in features] == [
        ("cc_num", "bigint"),
        ("num_trans_per_10m", "bigint"),
        ("avg_amt_per_10m", "double"),
        ("stdev_amt_per_10m", "double"),
    ]


def test_source_schema_has_null_first_in_every_column():
    assert source_avro_schema(Pipeline.from_yaml(REFERENCE)) == {
        "type": "record",
        "name": "credit_card_transactions",
        "fields": [
            {"name": "tid", "type": ["null", "string"]},
            {"name": "datetime", "type": ["null", "long"]},
            {"name": "cc_num", "type": ["null", "long"]},
            {"name": "amount", "type": ["null", "double"]},
        ],
    }


@pytest.mark.parametrize(("topic", "name"), [("a.b-c", "a_b_c"), ("1st", "_1st")])
def test_topic_names_become_avro_names(topic, name):
    assert avro_name(topic) == name


def test_plan_hash_is_stable_and_says_what_runs(minimal):
    pipeline = Pipeline.parse(minimal)
    first = compile_plan(pipeline, registered(pipeline))
    assert first.hash == compile_plan(Pipeline.parse(pipeline.to_dict()), registered(pipeline)).hash
    minimal["source"]["max_disorder"] = "6s"
    assert compile_plan(Pipeline.parse(minimal), registered(pipeline)).hash != first.hash
    assert compile_plan(pipeline, registered(pipeline, subject_id=99)).hash != first.hash


def test_plan_hash_ignores_what_does_not_change_the_job(minimal):
    pipeline = Pipeline.parse(minimal)
    minimal["description"] = "words for people"
    minimal["source"]["partitions"] = 8
    assert (
        compile_plan(Pipeline.parse(minimal), registered(pipeline)).hash
        == compile_plan(pipeline, registered(pipeline)).hash
    )


def test_values_follow_the_order_of_the_registered_schema(minimal):
    pipeline = Pipeline.parse(minimal)
    (ref,) = registered(pipeline)
    schema = json.loads(ref.avro_schema)
    schema["fields"].reverse()
    plan = compile_plan(pipeline, registered(pipeline, avro_schema=json.dumps(schema)))
    assert "(`__key`, `__headers`, `mean`, `n`, `cc_num`)" in plan.inserts[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields.pop(), "mean is not registered"),
        (
            lambda fields: fields.append({"name": "x", "type": ["null", "long"]}),
            "x is registered but not in the pipeline",
        ),
        (lambda fields: fields[1].update(type=["null", "int"]), r'n is registered as \["null", "int"\]'),
    ],
)
def test_a_registered_group_with_other_features_is_refused(minimal, change, message):
    pipeline = Pipeline.parse(minimal)
    schema = json.loads(registered(pipeline)[0].avro_schema)
    change(schema["fields"])
    with pytest.raises(PipelineError, match=message):
        compile_plan(pipeline, registered(pipeline, avro_schema=json.dumps(schema)))


def test_a_group_that_is_not_registered_is_named(minimal):
    with pytest.raises(PipelineError, match=r"not registered in the feature store: cards_10m_1\. Create"):
        compile_plan(Pipeline.parse(minimal), [])


def test_bindings_fill_every_placeholder_and_nothing_else(minimal):
    from feature_pipeline import bind

    pipeline = Pipeline.parse(minimal)
    plan = compile_plan(pipeline, registered(pipeline))
    values = bindings(pipeline, source_kafka=PLAIN, sink_kafka=PLAIN, ingestion_ids={"cards_10m_1": 7})["values"]
    bound = [bind(statement, values) for statement in [*plan.statements, *plan.inserts] if isinstance(statement, str)]
    assert "$" not in json.dumps([step for step in plan.statements if isinstance(step, dict)])
    assert not [statement for statement in bound if "$" in statement]
    assert "'properties.bootstrap.servers' = 'broker:9092'" in bound[0]
    assert "'onlineIngestionId', ENCODE('7', 'UTF-8')" in bound[-1]


def test_bindings_want_every_ingestion_id(minimal):
    with pytest.raises(PipelineError, match="no online ingestion id for cards_10m_1"):
        bindings(Pipeline.parse(minimal), source_kafka=PLAIN, sink_kafka=PLAIN, ingestion_ids={})


def test_odd_characters_in_a_password_stay_what_they_are(minimal):
    from feature_pipeline import bind

    odd = """$a ${b} 'quoted' "double" \\ back"""
    kafka = {"bootstrap.servers": "b:1", "ssl.key.password": odd}
    bound = bindings(Pipeline.parse(minimal), source_kafka=kafka, sink_kafka=PLAIN, ingestion_ids={"cards_10m_1": 1})
    text = bind("${source_kafka}", bound["values"])
    assert sqlglot.parse_one(f"SELECT {sql_literal(odd)}", read="postgres").expressions[0].name == odd
    assert f"'properties.ssl.key.password' = {sql_literal(odd)}" in text
    assert odd in bound["secrets"]


def test_secrets_are_all_but_the_settings_known_to_be_harmless():
    jaas = 'a.ScramLoginModule required username="me" password="p\\"w";'
    client = {
        "bootstrap.servers": "b:1",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": jaas,
        "ssl.keystore.key": "K",
    }
    assert secret_values([client]) == [jaas, 'p\\"w', "K"]


@pytest.mark.parametrize(
    ("duration", "literal"),
    [
        (timedelta(seconds=5), "INTERVAL '5' SECOND"),
        (timedelta(minutes=10), "INTERVAL '10' MINUTE"),
        (timedelta(minutes=90), "INTERVAL '90' MINUTE"),
        (timedelta(seconds=7500), "INTERVAL '125' MINUTE(3)"),
        (timedelta(days=2), "INTERVAL '2' DAY"),
        (timedelta(milliseconds=1500), "INTERVAL '1.500' SECOND(2, 3)"),
        (timedelta(seconds=99, milliseconds=1), "INTERVAL '99.001' SECOND(2, 3)"),
        (timedelta(hours=26, milliseconds=1), "INTERVAL '1 02:00:00.001' DAY TO SECOND(3)"),
        (timedelta(days=100, seconds=61, milliseconds=1), "INTERVAL '100 00:01:01.001' DAY(3) TO SECOND(3)"),
        (timedelta(0), "INTERVAL '0' DAY"),
    ],
)
def test_interval_literals(duration, literal):
    assert sql_interval(duration) == literal


@both_engines
def test_sql_of_every_ability(snapshot, engine):
    assert sql_of(Pipeline.from_yaml(EVERYTHING), engine) == snapshot


def test_statements_of_every_ability_parse_as_sql():
    plan = compile_plan(p := Pipeline.from_yaml(EVERYTHING), registered(p))
    for statement in plan.inserts:
        select = statement.partition("\n")[2]
        assert sqlglot.parse_one(select.replace("TABLE `", "`"), read="spark")


def test_storage_of_every_ability():
    p = Pipeline.from_yaml(EVERYTHING)
    hourly, recent, sliding = (record_headers(g, r) for g, r in zip(p.feature_groups, registered(p), strict=True))
    assert (hourly["upsertIfNewer"], "storage" in hourly) == ("1", False)
    assert (recent["storage"], "onlineIngestionId" in recent) == ("offline", False)
    assert (sliding["storage"], "onlineIngestionId" in sliding) == ("online", True)
    assert feature_group_arguments(p, p.feature_groups[0])["ttl"] == 30 * 86400
    assert feature_group_arguments(p, p.feature_groups[1])["online_enabled"] is False
    values = bindings(p, source_kafka=PLAIN, sink_kafka=PLAIN, ingestion_ids={"shop_hourly_1": 1, "card_sliding_1": 2})
    assert "online_ingestion_id_shop_recent_2" not in values["values"]


def test_a_rewarmed_job_emits_only_what_was_not_out_yet():
    p = Pipeline.from_yaml(EVERYTHING)
    values = begin_values(p, Begin(watermark=1_700_000_000_123, replay=True))
    # Growing windows and events: after the watermark. Sliding ones: those that begin a size before it.
    assert values["windows_from_shop_hourly_1"] == "2023-11-14 22:13:20.123"
    assert values["windows_from_shop_recent_2"] == "2023-11-14 22:13:20.123"
    assert values["windows_from_card_sliding_1"] == "2023-11-14 22:03:20.123"
    day_and_hour = 1_700_000_000_123 - 86_400_000 - 3_600_000
    assert f"'scan.startup.timestamp-millis' = '{day_and_hour}'" in values["source_start"]


def test_columns_of_the_late_topic():
    p = Pipeline.from_yaml(EVERYTHING)
    arguments = late_topic_arguments(p)
    assert (arguments["topic"], arguments["partitions"]) == ("everything_late", 1)
    fields = {field["name"]: field["type"][1] for field in arguments["schema"]["fields"]}
    assert fields["amount"] == {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
    assert list(fields)[:4] == ["lateness_ms", "kafka_partition", "kafka_offset", "kafka_timestamp"]


def test_the_late_topic_gets_what_the_source_gets_at_its_end(minimal):
    minimal["source"]["late"] = "topic"
    before = late_topic_arguments(Pipeline.parse(minimal))
    minimal["source"] |= {"schema": {**minimal["source"]["schema"], "shop": "string"}, "appended": ["shop"]}
    after = late_topic_arguments(Pipeline.parse(minimal))
    assert after["on_drift"] == "append"
    assert appended_fields(before["schema"], after["schema"]) == ["shop"]


def test_kafkas_timestamp_needs_no_guard_against_the_future(minimal):
    minimal["source"]["event_time"] = "kafka_timestamp"
    source = compile_plan(p := Pipeline.parse(minimal), registered(p)).statements[0]
    assert "`__event_time` AS CASE WHEN `__kafka_timestamp` > TO_TIMESTAMP_LTZ(0, 3) THEN `__kafka_timestamp`" in source
    assert "BETWEEN" not in source


def test_a_row_for_each_event_does_not_wait_for_others(minimal):
    windows = compile_plan(p := Pipeline.parse(minimal), registered(p))
    minimal["feature_groups"][0].update(emit="on_event", window={"size": "10m"})
    events = compile_plan(p := Pipeline.parse(minimal), registered(p))
    assert "pipeline.auto-watermark-interval" not in windows.table_config
    assert events.table_config["pipeline.auto-watermark-interval"] == "50 ms"
    (waits, soon) = (next(sql for sql in plan.statements if "linger" in sql) for plan in (windows, events))
    assert "'properties.linger.ms' = '50'" in waits
    assert "'properties.linger.ms' = '10'" in soon


def test_batch_mode_orders_events_by_a_number_and_refuses_what_flink_cannot_do(minimal):
    group = minimal["feature_groups"][0]
    group.update(emit="on_event", window={"size": "10m"})
    p = Pipeline.parse(minimal)
    _, _, (insert,) = feature_statements(p, p.feature_groups, registered(p), record_headers, bounded=True)
    assert "ORDER BY `__milliseconds` RANGE BETWEEN 600000 PRECEDING AND CURRENT ROW" in insert
    group["aggregates"]["cards"] = {"count_distinct": "tid"}
    p = Pipeline.parse(minimal)
    with pytest.raises(PipelineError, match=r"cards_10m_1\.cards: Flink cannot compute count_distinct"):
        feature_statements(p, p.feature_groups, registered(p), record_headers, bounded=True)


@pytest.mark.parametrize(("disorder", "milliseconds"), [("0s", 1000), ("3s", 1500), ("5s", 2500), ("5m", 10_000)])
def test_new_partitions_are_found_before_their_events_are_late(minimal, disorder, milliseconds):
    minimal["source"]["max_disorder"] = disorder
    source = source_table(Pipeline.parse(minimal))
    assert f"'scan.topic-partition-discovery.interval' = '{milliseconds} ms'" in source
