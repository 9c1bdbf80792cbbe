"""Files as the past of a pipeline: paths and patterns, and the table over them."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone

import pytest

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline import recompute as history
from hopsworks_flink.pipeline.plan import FeatureGroupRef
from hopsworks_flink.pipeline.recompute import Interval, PartitionHistory
from hopsworks_flink.pipeline.resources import feature_group_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.spec.paths import split_pattern

DAY = Interval(datetime(2025, 3, 1, tzinfo=timezone.utc), datetime(2025, 3, 2, tzinfo=timezone.utc))


@pytest.mark.parametrize("path", ["/data/events", "file:///data/events", "s3://bucket/events/part-0.csv", "/data/a b"])
def test_paths_without_wildcards(path):
    assert split_pattern(path) == (path, None)


@pytest.mark.parametrize(
    ("path", "folder", "matching", "others"),
    [
        (
            "/data/*.csv",
            "/data",
            ["/data/a.csv", "file:/data/a.csv"],
            ["/data/b/a.csv", "/data/a.csv.tmp", "/data/acsv"],
        ),
        ("/data/**/*.csv", "/data", ["/data/a/b/c.csv"], ["/data/a/b/c.txt"]),
        (
            "s3://bucket/events/dt=2025-03-*/part-??.json",
            "s3://bucket/events",
            ["/events/dt=2025-03-01/part-00.json", "s3://bucket/events/dt=2025-03-31/part-07.json"],
            ["/events/dt=2025-04-01/part-00.json", "/events/dt=2025-03-01/part-000.json"],
        ),
        ("/d.t/x+(1)*", "/d.t", ["/d.t/x+(1)y"], ["/dat/x+(1)y", "/d.t/xx1y"]),
    ],
)
def test_patterns(path, folder, matching, others):
    found, pattern = split_pattern(path)
    assert found == folder
    for file in matching:
        assert re.fullmatch(pattern, file), file
    for file in others:
        assert not re.fullmatch(pattern, file), file


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("data/events", "must be absolute"),
        ("~/events", "must be absolute"),
        ("/data/../etc", "must not hold '..'"),
        ("/data/{a,b}.csv", "patterns know"),
        ("/data/[ab].csv", "patterns know"),
        ("s3://key:marker-8714@bucket/events", "must not hold credentials"),
        ("/*.csv", "needs a folder"),
        ("s3://*/events", "needs a folder"),
    ],
)
def test_paths_that_are_refused(minimal, path, problem):
    minimal["history"] = {"path": path}
    with pytest.raises(PipelineError, match=f"history.path: .*{problem}") as caught:
        Pipeline.parse(minimal)
    assert "8714" not in str(caught.value)


@pytest.fixture
def pipeline(minimal):
    minimal["feature_groups"][0]["event_time"] = "window_end"
    minimal["history"] = {"path": "/data/it's/*.csv", "format": "csv"}
    return Pipeline.parse(minimal)


def plan_of(pipeline, partitions=None):
    (group,) = pipeline.feature_groups
    schema = json.dumps(feature_group_avro_schema(pipeline, group, "fs"))
    ref = FeatureGroupRef(119, 13, group.name, group.version, "demo_onlinefs", 7, schema)
    return history.compile_recompute(pipeline, [ref], [group], DAY, partitions)


def test_the_table_over_files_has_the_topics_columns_and_guards(pipeline):
    table, view, *rest = plan_of(pipeline).statements
    # What lies in a file has no time of arrival that it could be too old for.
    ageless = pipeline.model_copy(update={"source": pipeline.source.model_copy(update={"max_past": None})})
    topic, *topics_rest = plan_of(ageless, [PartitionHistory(0, 0, 0, 9, 1)]).statements
    assert rest == topics_rest
    end = "TO_TIMESTAMP_LTZ(1740873600000, 3)"
    stand_in = f"`__kafka_timestamp` AS {end}"
    name = pipeline.source.topic
    expected = topic.partition("\n) WITH (")[0].replace(f"`{name}`", f"`{name} files`")
    expected = expected.replace("`__kafka_timestamp` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL", stand_in)
    # Flink refuses a computed column that reads another one.
    expected = expected.replace("<= `__kafka_timestamp`", f"<= {end}")
    assert expected.count("__kafka_timestamp") == 1
    assert stand_in in expected
    body, _, options = table.partition("\n) WITH (\n")
    assert body == expected
    assert options == (
        "  'connector' = 'filesystem',\n  'path' = '/data/it''s',\n  'format' = 'hopsworks-files',\n"
        "  'hopsworks-files.encoding' = 'csv',\n  'source.path.regex-pattern' = '.*/data/it''s/[^/]*\\.csv'\n)"
    )
    # Ten minutes, the size of a window, before the day.
    assert view.endswith(
        "WHERE `__event_time` >= TO_TIMESTAMP_LTZ(1740786600000, 3)"
        " AND `__event_time` <= TO_TIMESTAMP_LTZ(1740873600000, 3)"
    )
    assert "kafka" not in "".join(plan_of(pipeline).statements[:2]).replace("__kafka_timestamp", "")


@pytest.mark.parametrize("header", [True, False])
def test_a_header_line_is_an_option_of_the_format(minimal, header):
    minimal["feature_groups"][0]["event_time"] = "window_end"
    minimal["history"] = {"path": "/data/events", "format": "csv", "header": header}
    pipeline = Pipeline.parse(minimal)
    assert ("'hopsworks-files.header' = 'true'" in plan_of(pipeline).statements[0]) is header
    assert Pipeline.parse(pipeline.to_dict()) == pipeline


@pytest.mark.parametrize("name", ["parquet", "json"])
def test_only_csv_has_a_header(minimal, name):
    minimal["history"] = {"path": "/data/events", "format": name, "header": True}
    with pytest.raises(PipelineError, match=f"history: header is about CSV, and format is {name}; remove header"):
        Pipeline.parse(minimal)


def test_files_hold_rows_without_the_envelope_of_changes(minimal):
    minimal["feature_groups"][0]["event_time"] = "window_end"
    minimal["history"] = {"path": "/data/events", "format": "json"}
    minimal["source"]["format"], minimal["source"]["unwrap"] = "json", "debezium"
    minimal["source"]["schema"] |= {
        "datetime": {"type": "timestamp", "unit": "milliseconds", "path": "$.source.ts_ms"},
        "amount": {"type": "double", "path": "sum.total"},
    }
    minimal["source"]["event_time"] = {"column": "datetime"}
    # What the envelope says has its own name, as in CSV and Parquet: looked for below `source`, it would be null, and
    # no event would count.
    assert (
        """'hopsworks-files.columns' = '{"amount": {"path": ["sum", "total"]}, "datetime": {"unit": "milliseconds"}}'"""
        in plan_of(Pipeline.parse(minimal)).statements[0]
    )


def test_files_have_no_kafka_timestamp(minimal):
    minimal["feature_groups"][0]["event_time"] = "window_end"
    minimal["source"]["event_time"] = "kafka_timestamp"
    minimal["history"] = {"path": "/data/events"}
    with pytest.raises(
        PipelineError, match=r"files have no Kafka timestamp.*a column or an expression as source\.event_time"
    ):
        plan_of(Pipeline.parse(minimal))
