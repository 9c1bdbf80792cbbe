import json
import subprocess
import sys
from datetime import timedelta

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.plan import compile_plan
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.aggregates import Aggregate
from hopsworks_flink.pipeline.spec.durations import format_duration, parse_duration
from hopsworks_flink.pipeline.spec.loading import load_yaml
from tests.support import REPOSITORY
from tests.support.pipelines import registered

REFERENCE = REPOSITORY / "dags" / "pipelines" / "card_transactions.yaml"
REMOVE = object()

# (place, value put there, what the error must say)
BROKEN = [
    ("name", "Cards", r"name: must be lower case letters.*found: 'Cards'"),
    ("name", REMOVE, r"name: is required"),
    ("owner", "me", r"owner: unknown setting"),
    ("source.topic", "bad topic", r"source\.topic: must be letters, digits, dots.*'bad topic'"),
    ("source.topic", "cards_onlinefs", r"source\.topic: topics ending in '_onlinefs'"),
    ("source.topic", "..", r"source\.topic: Kafka reserves"),
    ("source.partitions", 0, r"source\.partitions: .*greater than or equal to 1 \(found: 0\)"),
    ("source.schema", {}, r"source\.schema: .*at least 1 item"),
    ("source.schema.amount", "decimal", r"source\.schema\.amount: a decimal needs its digits.*found: 'decimal'"),
    ("source.schema.amount", "decimal(39,2)", r"source\.schema\.amount: decimal\(p,s\) has 1 to 38 digits"),
    ("source.schema.amount", "decimal(2,3)", r"source\.schema\.amount: decimal\(p,s\) has 1 to 38 digits"),
    ("source.schema.amount", "varchar(10)", r"amount: must be one of boolean, tinyint.*you may mean string"),
    ("source.schema.amount", "money", r"source\.schema\.amount: must be one of boolean, .*found: 'money'"),
    ("source.schema.amount", "array<double>", r"amount: a pipeline handles scalar types only; send the parts"),
    ("source.schema.amount", 5, r"amount: a type is a text such as bigint or decimal\(10,2\), not int"),
    (
        "source.appended",
        ["at"],
        r"source: appended must name the last columns of schema.*it has at, and schema ends with",
    ),
    ("source.format", "csv", r"source\.format: must be one of 'avro', 'json' or 'protobuf'"),
    ("source.event_time", "datetime", r"source\.event_time: write \{column: …\} with a column.*or kafka_timestamp"),
    ("source.event_time.column", None, r"event_time: column must be a name; for Kafka's timestamp write"),
    ("source.late", "keep", r"source\.late: must be one of 'drop' or 'topic'"),
    ("source.where", "amount >", r"source: where: 'amount >' is not an SQL expression"),
    ("source.where", "amount", r"source: where: must be a condition, such as amount > 0, and is double"),
    ("source.where", "price > 0", r"source: where: column 'price' does not exist; there are tid, datetime"),
    ("source.where", "", r"source\.where: .*at least 1 character"),
    ("source.derive", {"x": "amount * 2"}, r"source\.derive\.x: .*"),
    ("source.derive", {"x": {"expression": "amount"}}, r"source\.derive\.x\.type: is required"),
    (
        "source.derive",
        {"amount": {"expression": "1", "type": "int"}},
        r"source: derive\.amount: a column of the schema has that name",
    ),
    ("source.derive", {"__x": {"expression": "1", "type": "int"}}, r"source\.derive: column name '__x' must be"),
    (
        "source.derive",
        {"x": {"expression": "y", "type": "int"}, "y": {"expression": "1", "type": "int"}},
        r"source: derive\.x: column 'y' does not exist",
    ),
    (
        "source.derive",
        {"x": {"expression": "ok", "type": "date"}},
        r"derive\.x: a value of type boolean cannot be cast",
    ),
    ("history", {"path": ""}, r"history\.path: .*at least 1 character"),
    ("history", {"path": "a\nb"}, r"history\.path: must not hold blanks at its ends, line breaks"),
    ("history", {"path": "/a", "format": "orc"}, r"history\.format: must be one of 'parquet', 'csv' or 'json'"),
    ("feature_groups.0.emit", "always", r"feature_groups\[0\]\.emit: must be one of 'on_window' or 'on_event'"),
    ("feature_groups.0.emit", "on_event", r"emit: on_event looks back from each event: window has a size, no slide"),
    ("feature_groups.0.event_time", "event", r"event_time: event is for features and emit: on_event; windows have"),
    ("feature_groups.0.ttl", "7d", r"feature_groups\[0\]: ttl counts from the event time: add event_time"),
    ("feature_groups.0.upsert_if_newer", True, r"feature_groups\[0\]: upsert_if_newer compares event times"),
    ("feature_groups.0.window", {"size": "1h", "step": "7m"}, r"window: size 1h must be a multiple of step 7m"),
    ("feature_groups.0.window", {"size": "1h", "step": "2h"}, r"window: size 1h must be a multiple of step 2h"),
    ("feature_groups.0.window.step", "1m", r"window: slide and step exclude each other"),
    (
        "feature_groups.0.aggregates.m",
        {"count_distinct": "*"},
        r"count_distinct wants the name of a column; only count",
    ),
    ("feature_groups.0.aggregates.m", {"max": "ok"}, r"max needs a column of numbers, texts, dates or timestamps"),
    ("feature_groups.0.aggregates.m", {"sum": "amount", "avg": "amount"}, r"aggregates\.m: .*is not an aggregate"),
    ("feature_groups.0.aggregates.m", {"where": "ok"}, r"aggregates\.m: .*is not an aggregate"),
    ("feature_groups.0.aggregates.m", {"count": "*", "where": "tid"}, r"m: where: must be a condition.*is string"),
    ("feature_groups.0.aggregates.m", {"count": "*", "default": 1}, r"m: default: count is 0 where there is nothing"),
    ("feature_groups.0.aggregates.m", {"sum": "amount", "default": "x"}, r"m: default: 'x' is not a finite number"),
    ("feature_groups.0.aggregates.m", {"max": "tid", "default": 1}, r"m: default: 1 is not a text; quote it"),
    ("source.schema.window_end", "bigint", r"source\.schema: column name 'window_end' is taken"),
    ("source.schema.a b", "bigint", r"source\.schema: column name 'a b' must be letters"),
    ("source.schema.__key", "bigint", r"source\.schema: column name '__key' must"),
    (
        "source.event_time.column",
        "when",
        r"source: event_time\.column 'when' is not in schema, which has tid, datetime",
    ),
    ("source.event_time.column", "amount", r"event_time\.column 'amount' is double; it must be bigint \(or int\), or"),
    ("source.event_time.unit", "minutes", r"event_time\.unit: must be one of 'seconds', 'milliseconds'"),
    ("source.schema.datetime", "int", r"event_time\.column 'datetime' is int, too small for milliseconds"),
    ("source.max_disorder", 5, r"source\.max_disorder: a duration is a number with a unit.*found: 5"),
    ("source.max_disorder", "5 minutes", r"source\.max_disorder: a duration is a number with a unit"),
    ("source.max_disorder", "99999d", r"source\.max_disorder: a duration of more than ten years"),
    ("source.max_future", "0s", r"source: max_future must be positive"),
    ("source.max_past", "0s", r"source: max_past must be positive, e\.g\. 3650d, or null"),
    ("source.start", "yesterday", r"source\.start: must be one of 'earliest' or 'latest'"),
    ("feature_groups", [], r"feature_groups: .*at least 1 item"),
    ("feature_groups.0.version", 0, r"feature_groups\[0\]\.version: .*greater than or equal to 1"),
    ("feature_groups.0.name", "a" * 64, r"feature_groups\[0\]\.name: must be lower case letters.*at most 63"),
    ("feature_groups.0.key", [], r"feature_groups\[0\]\.key: .*at least 1 item"),
    ("feature_groups.0.key", ["card"], r"feature_groups\[0\]\.key: column 'card' is not in source\.schema"),
    ("feature_groups.0.key", ["amount"], r"feature_groups\[0\]\.key: column 'amount' is double; a key needs"),
    ("feature_groups.0.key", ["cc_num", "cc_num"], r"feature_groups\[0\]: key names a column twice"),
    ("feature_groups.0.window.slide", "3m", r"feature_groups\[0\]\.window: size 10m must be a multiple of slide 3m"),
    ("feature_groups.0.window.slide", "20m", r"feature_groups\[0\]\.window: slide 20m is longer than size 10m"),
    ("feature_groups.0.window.size", "1500ms", r"window: size is 1s500ms; it must be a whole number of seconds"),
    ("feature_groups.0.aggregates", {}, r"feature_groups\[0\]\.aggregates: .*at least 1 item"),
    ("feature_groups.0.aggregates.m", "median", r"feature_groups\[0\]\.aggregates\.m: 'median' is not an aggregate"),
    ("feature_groups.0.aggregates.m", {"p99": "amount"}, r"aggregates\.m: unknown function 'p99'; write count"),
    ("feature_groups.0.aggregates.m", {"avg": "amt"}, r"aggregates\.m: column 'amt' is not in source\.schema"),
    (
        "feature_groups.0.aggregates.m",
        {"avg": "tid"},
        r"aggregates\.m: avg needs a numeric column, and 'tid' is string",
    ),
    ("feature_groups.0.aggregates.m", {"sum": "ok"}, r"aggregates\.m: sum needs a numeric column, and 'ok' is boolean"),
    ("feature_groups.0.aggregates.Mean", "count", r"aggregates\.Mean: must be lower case letters"),
    (
        "feature_groups.0.aggregates.cc_num",
        "count",
        r"feature_groups\[0\]: aggregates\.cc_num: a key column has that name",
    ),
    (
        "feature_groups.0.aggregates.window_end",
        "count",
        r"aggregates\.window_end: the name is taken.*event_time: window_end",
    ),
    ("feature_groups.0.event_time", "datetime", r"feature_groups\[0\]\.event_time: must be window_end or event, or"),
    ("feature_groups.0.description", "x" * 257, r"feature_groups\[0\]\.description: .*at most 256"),
    ("feature_groups.0.online_types", {"m": "varchar(0)"}, r"online_types\.m: varchar\(n\) has 1 to 7500 characters"),
    ("parallelism", 0, r"parallelism.*greater than or equal to 1"),
    ("parallelism", 129, r"parallelism.*less than or equal to 128"),
    ("parallelism", "many", r"parallelism.*'partitions'"),
    (
        "feature_groups.0.online_types",
        {"m": "varchar(7501)"},
        r"has 1 to 7500 characters; for longer strings write",
    ),
    ("feature_groups.0.online_types", {"m": "string"}, r"online_types\.m: must be varchar\(n\) or text, for a string"),
    ("feature_groups.0.online_types", {"m": 500}, r"online_types\.m: an online type is a text such as varchar\(500\)"),
    ("feature_groups.0.online_types", {"x": "text"}, r"\[0\]: online_types\.x: there is no such feature; .*cc_num, n"),
    ("feature_groups.0.online_types", {"n": "text"}, r"online_types\.n: the feature is bigint, which is always bigint"),
    (
        "feature_groups.0.online_types",
        {"cc_num": "varchar(20)"},
        r"\[0\]\.online_types\.cc_num: the feature is bigint, which is always bigint online",
    ),
]
KEYED_BY_TEXT = [
    ({"tid": "text"}, r"online_types\.tid: a key column cannot be text; write varchar\(n\), n at most 768"),
    ({"tid": "timestamp(3)"}, r"online_types\.tid: the feature is string, which can be varchar\(n\) or text online"),
    ({"tid": "varchar(769)"}, r"key: it takes 3076 bytes online, and 3072 are allowed; a varchar\(n\) takes 4n bytes"),
    ({"last": "varchar(7400)"}, r"a row takes 30008 bytes online, and 30000 are allowed; .*or make them text"),
    ({"window_end": "varchar(9)"}, r"window_end: the feature is timestamp, which can be timestamp\(n\) online"),
]


def put(data, place, value):
    *parents, last = place.split(".")
    for part in parents:
        data = data[int(part)] if isinstance(data, list) else data[part]
    if value is REMOVE:
        del data[last]
    else:
        data[last] = value


@pytest.mark.parametrize(
    ("place", "value", "message"), BROKEN, ids=[f"{place}-{n}" for n, (place, *_) in enumerate(BROKEN)]
)
def test_a_broken_pipeline_is_refused_with_place_value_and_remedy(minimal, place, value, message):
    put(minimal, place, value)
    with pytest.raises(PipelineError, match=message):
        Pipeline.parse(minimal)


def keyed_by_text(minimal, **online_types):
    put(minimal, "feature_groups.0.key", ["tid"])
    put(minimal, "feature_groups.0.event_time", "window_end")
    put(minimal, "feature_groups.0.aggregates", {"last": {"last_value": "tid"}})
    put(minimal, "feature_groups.0.online_types", online_types)
    return minimal


@pytest.mark.parametrize(("online_types", "message"), KEYED_BY_TEXT)
def test_online_types_that_do_not_fit_are_refused(minimal, online_types, message):
    with pytest.raises(PipelineError, match=message):
        Pipeline.parse(keyed_by_text(minimal, **online_types))


def test_online_types_are_written_in_one_way(minimal):
    spec = keyed_by_text(minimal, tid=" VARCHAR( 768 )", last="TEXT", window_end="timestamp(0)")
    (group,) = Pipeline.parse(spec).feature_groups
    assert group.online_types == {"tid": "varchar(768)", "last": "text", "window_end": "timestamp"}
    put(spec, "feature_groups.0.online", False)
    with pytest.raises(PipelineError, match="online_types is about the online store, and online is false"):
        Pipeline.parse(spec)


def test_all_problems_are_told_at_once(minimal):
    put(minimal, "name", "Cards")
    put(minimal, "source.partitions", 0)
    with pytest.raises(PipelineError, match=r"(?s)has 2 problems:\n  - name: .*\n  - source\.partitions: "):
        Pipeline.parse(minimal)


def test_the_same_feature_group_twice_is_refused(minimal):
    minimal["feature_groups"] *= 2
    with pytest.raises(PipelineError, match=r"feature_groups\[1\]: cards_10m version 1 is declared twice"):
        Pipeline.parse(minimal)


@pytest.mark.parametrize("data", [None, [], "", 5])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, data):
    file = tmp_path / "p.yaml"
    file.write_text("" if data is None else repr(data))
    with pytest.raises(PipelineError, match="must be a mapping with name, source and feature_groups"):
        Pipeline.from_yaml(file)


def test_a_key_that_stands_twice_in_the_file_is_refused(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("name: a\nname: b\n")
    with pytest.raises(PipelineError, match=r"line 2, column 1: the key 'name' stands twice"):
        Pipeline.from_yaml(file)


@pytest.mark.parametrize("text", ["name: [", "a: !!python/object/apply:os.system ['true']"])
def test_a_file_that_is_no_yaml_or_would_run_code_is_refused(tmp_path, text):
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(PipelineError, match="not valid YAML"):
        Pipeline.from_yaml(file)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: a\nsource: " + "[" * 120_000, "line 2, column 108: nested more than 100 levels deep"),
        ("{a: " * 30_000, "line 1, column 401: nested more than 100 levels deep"),
        ("\n".join(" " * level + "a:" for level in range(500)), "line 101, .*nested more than 100 levels deep"),
        ("- " * 60_000, "line 1, column 201: nested more than 100 levels deep"),
        ("name: " + "9" * 5000, "line 1, column 7: '9{59}…' cannot be read as a number; in quotes it is a text"),
    ],
    ids=["lists", "mappings", "indented", "block", "number"],
)
def test_a_file_that_would_exhaust_or_confuse_the_reader_is_refused(tmp_path, text, sentence):
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(PipelineError, match=f"not valid YAML: {sentence}"):
        Pipeline.from_yaml(file)


def test_aliases_that_multiply_are_refused_in_few_words(tmp_path):
    """Ten times ten times ten …: nothing may write them out."""
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    file = tmp_path / "p.yaml"
    file.write_text(f"a0: &a0 [x]\n{levels}name: *a11\nsource: *a11\nfeature_groups: *a11\n")
    with pytest.raises(PipelineError, match=r"line 6, .*more than 50000 values .*, once aliases are written out"):
        Pipeline.from_yaml(file)


def test_a_long_value_is_shown_by_its_beginning(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(f"name: {'X' * 50_000}\n")
    with pytest.raises(PipelineError, match=r"name: must be lower case .*XXX… \(50002 characters\)") as refused:
        Pipeline.from_yaml(file)
    assert len(str(refused.value)) < 1000


def test_a_number_without_end_is_refused_in_data_as_well(minimal):
    minimal["source"]["partitions"] = 10**5000
    with pytest.raises(PipelineError, match=r"source\.partitions: .*\(found: a number of 16610 bits\)"):
        Pipeline.parse(minimal)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PipelineError, match=r"pipeline file .*nope\.yaml cannot be read"):
        Pipeline.from_yaml(tmp_path / "nope.yaml")


def test_the_reference_pipeline_has_the_columns_of_the_tutorial():
    pipeline = Pipeline.from_yaml(REFERENCE)
    assert [group.full_name for group in pipeline.feature_groups] == [
        "card_transactions_10m_agg_1",
        "card_transactions_10m_agg_2",
    ]
    assert pipeline.feature_groups[0].event_time is None
    assert pipeline.feature_groups[1].event_time_feature == "window_end"


def test_data_of_a_pipeline_reads_back_as_the_same_pipeline():
    pipeline = Pipeline.from_yaml(REFERENCE)
    assert Pipeline.parse(pipeline.to_dict()) == pipeline
    assert Pipeline.parse(pipeline) is pipeline
    assert Pipeline.parse(str(REFERENCE)) == pipeline


def test_a_default_of_a_decimal_has_all_its_digits_or_is_refused(minimal):
    minimal["source"]["schema"]["cents"] = "decimal(38,2)"
    aggregates = load_yaml("{m: {max: cents, default: 12345678901234567.89}}").data
    minimal["feature_groups"][0]["aggregates"] = aggregates
    with pytest.raises(PipelineError, match=r"m: default: .* of a longer number; write its digits in quotes"):
        Pipeline.parse(minimal)
    aggregates["m"]["default"] = "12345678901234567.89"
    pipeline = Pipeline.parse(minimal)
    plan = compile_plan(pipeline, registered(pipeline))
    assert "CAST(12345678901234567.89 AS DECIMAL(38, 2))" in plan.inserts[0]


def test_a_default_that_is_an_empty_text_is_not_lost_on_the_way_to_the_job(minimal):
    minimal["feature_groups"][0]["aggregates"]["last"] = {"last_value": "tid", "default": ""}
    pipeline = Pipeline.parse(minimal)
    assert Pipeline.parse(pipeline.to_dict()) == pipeline


WIDE = """
name: wide
source:
  topic: everything
  format: json
  schema: {tid: string, at: timestamp, shop: string, day: date, amount: "decimal(10, 2)", price: double, raw: binary}
  event_time: {column: at}
  derive:
    cents: {expression: amount * 100, type: bigint}
    whole: {expression: cents / 100, type: double}
  where: "cents > 0 AND shop IS NOT NULL"
  late: topic
feature_groups:
  - name: daily
    key: [shop]
    window: {size: 1d, step: 1h}
    event_time: window_end
    ttl: 7d
    upsert_if_newer: true
    aggregates:
      n: count
      same: {count: "*"}
      big: {count: "*", where: cents > 10000, description: Large ones}
      total: {sum: amount, default: 1.5}
      since: {min: day, default: 2025-01-01}
      last_shop: {last_value: shop}
  - name: recent
    key: [shop, day]
    emit: on_event
    window: {size: 10m}
    event_time: event
    online: false
    aggregates: {spread: {var_pop: whole}, cards: {count_distinct: tid}}
history: {path: /data/events}
parallelism: 3
"""


def test_a_job_has_as_many_subtasks_as_the_file_says_or_as_the_topic_has_partitions(minimal):
    assert Pipeline.parse(minimal).job_parallelism == 1
    minimal["source"]["partitions"] = 6
    assert Pipeline.parse(minimal).job_parallelism == 1
    assert Pipeline.parse({**minimal, "parallelism": 4}).job_parallelism == 4
    assert Pipeline.parse({**minimal, "parallelism": "partitions"}).job_parallelism == 6
    minimal["source"]["partitions"] = 129
    with pytest.raises(PipelineError, match=r"parallelism: source.partitions is 129, .* at most 128 .*write a number"):
        Pipeline.parse({**minimal, "parallelism": "partitions"})


def test_every_setting_is_read_and_written_back(tmp_path):
    file = tmp_path / "wide.yaml"
    file.write_text(WIDE)
    pipeline = Pipeline.from_yaml(file)
    data = pipeline.to_dict()
    assert Pipeline.parse(json.loads(json.dumps(data))) == pipeline
    assert data["source"]["schema"]["amount"] == "decimal(10,2)"
    daily, recent = data["feature_groups"]
    assert daily["aggregates"] == {
        "n": "count",
        "same": "count",
        "big": {"count": "*", "where": "cents > 10000", "description": "Large ones"},
        "total": {"sum": "amount", "default": 1.5},
        "since": {"min": "day", "default": "2025-01-01"},
        "last_shop": {"last_value": "shop"},
    }
    assert recent == {
        "name": "recent",
        "key": ["shop", "day"],
        "emit": "on_event",
        "window": {"size": "10m"},
        "event_time": "event",
        "online": False,
        "aggregates": {"spread": {"var_pop": "whole"}, "cards": {"count_distinct": "tid"}},
    }
    assert pipeline.late_topic == "wide_late"


@pytest.mark.parametrize(
    ("function", "column", "result"),
    [
        ("count", "amount", "bigint"),
        ("count_distinct", "at", "bigint"),
        ("sum", "amount", "decimal(38,2)"),
        ("sum", "cents", "bigint"),
        ("sum", "price", "double"),
        ("avg", "amount", "double"),
        ("var_samp", "cents", "double"),
        ("max", "at", "timestamp"),
        ("min", "shop", "string"),
        ("first_value", "day", "date"),
        ("last_value", "amount", "decimal(10,2)"),
    ],
)
def test_types_of_features(tmp_path, function, column, result):
    file = tmp_path / "wide.yaml"
    file.write_text(WIDE)
    columns = Pipeline.from_yaml(file).source.all_columns
    aggregate = Aggregate.model_validate({function: column})
    assert str(aggregate.result_type(columns)) == result


@pytest.mark.parametrize("column", ["raw", "at"])
def test_keys_whose_text_clients_do_not_agree_on_are_refused(tmp_path, column):
    file = tmp_path / "wide.yaml"
    file.write_text(WIDE.replace("key: [shop]", f"key: [{column}]"))
    with pytest.raises(PipelineError, match=rf"key: column '{column}' is .*whose text in a record key"):
        Pipeline.from_yaml(file)


def test_kafkas_timestamp_as_event_time(minimal):
    minimal["source"]["event_time"] = "kafka_timestamp"
    pipeline = Pipeline.parse(minimal)
    assert pipeline.source.event_time.column is None
    assert pipeline.to_dict()["source"]["event_time"] == "kafka_timestamp"


def test_a_pipeline_without_expressions_does_not_import_the_parser():
    code = (
        "import sys\nfrom hopsworks_flink.pipeline.spec import Pipeline\n"
        f"Pipeline.from_yaml({str(REFERENCE)!r})\nsys.exit('sqlglot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(REPOSITORY / "plugins")})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("10m", 600), ("1h30m", 5400), ("7d", 604800), ("0s", 0), ("90s", 90)],
)
def test_durations(text, seconds):
    duration = parse_duration(text)
    assert duration == timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration
