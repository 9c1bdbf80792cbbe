"""Versions joined to events: what the file may say, the SQL of both modes, what is state, and what is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import yaml

from hopsworks_flink.cli.compiling import compiled_text
from hopsworks_flink.exceptions import ConfigurationError, HopsworksConflictError, PipelineError
from hopsworks_flink.pipeline.interval import Interval
from hopsworks_flink.pipeline.plan import Begin, FeatureGroupRef, begin_values, compile_plan
from hopsworks_flink.pipeline.recompute import (
    PartitionHistory,
    compile_recompute,
    lost_versions,
    recomputable,
    refuse_lost_versions,
)
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.state import state_outcome, state_signature
from hopsworks_flink.testing import evaluate
from tests.support import REPOSITORY
from tests.support.pipelines import registered

MINUTE = 60_000
START = 1_740_830_400_000
DAY = Interval(datetime(2025, 3, 1, tzinfo=timezone.utc), datetime(2025, 3, 2, tzinfo=timezone.utc))
EXAMPLE = REPOSITORY / "dags" / "pipelines" / "examples" / "card_spending.yaml"
TAKEN = ("v", "most", "currency")
LIMITS: dict[str, Any] = {
    "topic": "card_limits",
    "schema": {"card": {"type": "bigint", "key": True}, "most": "double", "currency": "string"},
    "by": {"card": "card"},
}


def spec(joins: Any = None, **source: Any) -> dict[str, Any]:
    return {
        "name": "p",
        "source": {
            "topic": "t",
            "schema": {"card": "bigint", "at": "bigint", "tid": "string", "v": "double"},
            "event_time": {"column": "at"},
            "join": {"limits": copy.deepcopy(LIMITS)} if joins is None else joins,
            **source,
        },
        "feature_groups": [
            {"name": "g", "key": ["card"], "features": {name: name for name in TAKEN}, "event_time": "event"}
        ],
    }


def joined(**changes: Any) -> dict[str, Any]:
    return {"limits": {**copy.deepcopy(LIMITS), **changes}}


def statements(pipeline: Pipeline, *, batch: bool) -> str:
    if not batch:
        plan = compile_plan(pipeline, registered(pipeline))
    else:
        groups, parts = recomputable(pipeline), [PartitionHistory(0, 0, 2, 7, None)]
        versions = {name: [PartitionHistory(0, 0, 0, 9, None)] for name in pipeline.source.join}
        plan = compile_recompute(pipeline, registered(pipeline), groups, DAY, parts, versions)
    _, *others = plan.statements
    return "\n\n".join(one if isinstance(one, str) else yaml.safe_dump(one, sort_keys=False) for one in others)


@pytest.mark.parametrize("batch", [False, True], ids=["stream", "batch"])
def test_sql_of_the_example(snapshot: Any, batch: bool) -> None:
    assert statements(Pipeline.from_yaml(EXAMPLE), batch=batch) == snapshot


def test_the_stream_reads_every_version_wherever_its_events_begin() -> None:
    values = begin_values(Pipeline.parse(spec()), Begin("latest", START, replay=True))
    assert values["join_limits_start"] == "'scan.startup.mode' = 'earliest-offset'"


def test_two_joins_of_which_one_is_by_a_column_of_the_other() -> None:
    rates = {
        "topic": "demo_rates_onlinefs",
        "broker": "feature_store",
        "schema": {"name": "string", "rate": "double", "at": "timestamp"},
        "event_time": {"column": "at"},
        "by": {"currency": "name"},
        "columns": {"factor": "rate"},
        "required": True,
    }
    made = spec({**joined(), "rates": rates}, deduplicate={"by": "tid", "within": "1m"}, refused="quarantine")
    made["source"]["derive"] = {"used": {"expression": "v * factor / most", "type": "double"}}
    pipeline = Pipeline.parse(made)
    plan = compile_plan(pipeline, registered(pipeline))
    text = "\n".join(map(str, plan.statements))
    steps = [one["join"] for one in plan.statements if "join" in one and not isinstance(one, str)]
    # Duplicates are left out before, conditions and derived columns come behind.
    assert [(step["events"], step["view"]) for step in steps] == [
        ("t once", "t with limits"),
        ("t with limits", "t with rates"),
    ]
    assert "CREATE TEMPORARY VIEW `t once` AS\nSELECT * FROM (\n  SELECT *, MIN(`__rank`)" in text
    assert "FROM `t with rates`" in text
    assert "  AND `__has_rates`" in text
    assert "AND `__has_limits`" not in text
    rates_table = next(one for one in plan.statements if "TABLE `rates topic`" in one)
    assert "${sink_kafka}" in rates_table
    assert "${source_kafka}" not in rates_table
    assert "WHEN NOT `__has_rates` THEN 'join.rates has no version'" in plan.inserts[-1]
    rows = evaluate(
        pipeline,
        [{"card": 1, "at": START, "tid": tid, "v": 6.0} for tid in "aab"] + [{"card": 2, "at": START, "tid": "c"}],
        {
            "limits": [{"card": 1, "most": 4.0, "currency": "SEK", "__kafka_timestamp": 1}],
            "rates": [{"name": "SEK", "rate": 0.5, "at": "2020-01-01T00:00:00Z"}],
        },
    )
    assert [(row["card"], row["most"]) for row in rows["g_1"]] == [(1, 4.0), (1, 4.0)]


RATES: dict[str, Any] = {
    "topic": "demo_onlinefs",
    "broker": "feature_store",
    "feature_group": "rates_1",
    "schema": {"name": "string", "rate": "double", "pages": "binary", "window_end": "timestamp"},
    "event_time": {"column": "window_end"},
    "by": {"tid": "name"},
    "columns": "rate",
}
#: As Hopsworks has it registered.
RATES_FIELDS = {
    "name": ["null", "string"],
    "rate": ["null", "double"],
    "pages": ["null", {"type": "array", "items": ["null", "string"]}],
    "window_end": ["null", {"type": "long", "logicalType": "timestamp-micros"}],
}


def rates(fields: dict[str, Any], **changes: Any) -> tuple[Pipeline, list[FeatureGroupRef]]:
    """A pipeline that joins rows of a group, and what the platform says of its groups."""
    pipeline = Pipeline.parse(spec({"rates": RATES | changes}) | {"feature_groups": GROUPS_OF_RATES})
    *own, ref = registered(pipeline)
    schema = {"fields": [{"name": name, "type": kind} for name, kind in fields.items()]}
    return pipeline, [*own, replace(ref, topic="demo_onlinefs", avro_schema=json.dumps(schema))]


@pytest.mark.parametrize("batch", [False, True], ids=["stream", "batch"])
def test_rows_of_one_feature_group_among_others(batch: bool) -> None:
    pipeline, refs = rates(RATES_FIELDS)
    text = compile_plan(pipeline, refs).to_json()
    if batch:
        parts = [PartitionHistory(0, 0, 2, 7, None)]
        text = compile_recompute(pipeline, refs, recomputable(pipeline), DAY, parts, {"rates": parts}).to_json()
    assert f"'hopsworks-events.feature-group' = '{refs[-1].feature_group_id}'" in text
    assert "'hopsworks-events.feature-group' = '0'" in compiled_text(pipeline)
    assert outcome(pipeline.to_dict(), Pipeline.parse(pipeline.to_dict()).to_dict()) == "keeps"
    # Declared first here, and then appended there: the same rows are read before and after.
    longer = {**RATES["schema"], "spread": "float"}
    pipeline, refs = rates(RATES_FIELDS, schema=longer, appended=["spread"])
    before = compile_plan(pipeline, refs)
    pipeline, refs = rates({**RATES_FIELDS, "spread": ["null", "float"]}, schema=longer, appended=["spread"])
    assert compile_plan(pipeline, refs).hash == before.hash


@pytest.mark.parametrize(
    ("fields", "changes", "problem"),
    [
        (RATES_FIELDS, {"topic": "other"}, "topic is other, and its rows are in demo_onlinefs. Correct the join"),
        (
            {**RATES_FIELDS, "more": ["null", "int"]},
            {},
            "schema has name, rate, pages, window_end, and its features are, in this order, name, rate, pages, "
            "window_end, more. Correct",
        ),
        (dict(reversed(RATES_FIELDS.items())), {}, "its features are, in this order, window_end, pages, rate, name"),
        (
            {**RATES_FIELDS, "rate": ["null", "float"]},
            {},
            'rate is registered as ["null", "float"], and schema says ["null", "double"]',
        ),
    ],
)
def test_rows_of_a_feature_group_that_cannot_be_read(fields: Any, changes: Any, problem: str) -> None:
    with pytest.raises(HopsworksConflictError) as caught:
        compile_plan(*rates(fields, **changes))
    assert "pipeline p: source.join.rates: feature group rates_1 cannot be read so: " in str(caught.value)
    assert problem in str(caught.value)


def test_a_feature_group_that_is_not_registered_is_not_joined() -> None:
    pipeline, refs = rates(RATES_FIELDS)
    with pytest.raises(PipelineError, match="not registered in the feature store: rates_1"):
        compile_plan(pipeline, refs[:-1])


@pytest.mark.parametrize("batch", [False, True], ids=["stream", "batch"])
def test_native_windows_read_joined_events(batch: bool) -> None:
    made = yaml.safe_load(EXAMPLE.read_text())
    group = made["feature_groups"][0]
    group.pop("on_empty")
    group["aggregates"] = {"n": "count", "most": {"max": "used"}}
    pipeline = Pipeline.parse({**made, "engine": "native"})
    assert [group.name for group in pipeline.native_groups] == ["card_spending"]
    text = statements(pipeline, batch=batch)
    assert ("join:" in text, "windows:" in text) == (not batch, not batch)
    said = "-- join limits: with either engine by this package's operator"
    assert said in compiled_text(pipeline)


# --- what an event gets ---------------------------------------------------------------------------------------------


def test_what_holds_at_the_time_of_an_event() -> None:
    versions = [
        {"card": 1, "most": 2.0, "__kafka_timestamp": START + 2 * MINUTE},
        {"card": 1, "most": 1.0, "__kafka_timestamp": START},
        {"card": 1, "most": 3.0, "__kafka_timestamp": START + 2 * MINUTE},
        {"card": 1, "__tombstone": True, "__kafka_timestamp": START + 4 * MINUTE},
        {"card": 2, "most": 5.0, "__kafka_timestamp": START + 9 * MINUTE},
        {"card": None, "most": 6.0, "__kafka_timestamp": START},
    ]
    events = [{"card": 1, "at": START + minute * MINUTE, "tid": "", "v": 0.0} for minute in (-1, 0, 1, 2, 3, 4, 5)]
    rows = evaluate(spec(), [*events, {"card": 2, "at": START}], {"limits": versions})["g_1"]
    assert [row["most"] for row in rows] == [None, 1.0, 1.0, 3.0, 3.0, None, None, None]
    rows = evaluate(spec(joined(required=True)), events, {"limits": versions})["g_1"]
    assert [row["most"] for row in rows] == [1.0, 1.0, 3.0, 3.0]
    assert not evaluate(spec(joined(required=True)), events)["g_1"]


def test_a_version_may_hold_from_a_time_of_its_own_even_one_to_come() -> None:
    since = {**LIMITS["schema"], "since": "bigint"}
    made = spec(joined(schema=since, event_time={"column": "since", "unit": "seconds"}, columns=["most", "currency"]))
    versions = [{"card": 1, "most": 1.0, "since": START // 1000 + 60, "__kafka_timestamp": 1}]
    events = [{"card": 1, "at": START + minute * MINUTE} for minute in (0, 1)]
    assert [row["most"] for row in evaluate(made, events, {"limits": versions})["g_1"]] == [None, 1.0]


@pytest.mark.parametrize(
    ("versions", "problem"),
    [
        ({"limit": []}, "pipeline p has no join 'limit'; it has limits"),
        ({"limits": [{"crad": 1}]}, r"joined.limits\[0\] has 'crad', which is not a column of the source"),
        ({"limits": [{"card": 1}]}, r"joined.limits\[0\] has no __kafka_timestamp, which is the event time"),
        ({"limits": [{"card": "x", "__kafka_timestamp": 1}]}, r"joined.limits\[0\].card: "),
    ],
)
def test_versions_that_evaluate_refuses(versions: Any, problem: str) -> None:
    with pytest.raises(PipelineError, match=problem):
        evaluate(spec(), [], versions)


# --- what a file may say --------------------------------------------------------------------------------------------


def test_a_column_alone_where_both_are_called_so() -> None:
    pipeline = Pipeline.parse(spec(joined(by="card", columns="most"), where="most > 1") | {"feature_groups": GROUPS})
    join = pipeline.source.join["limits"]
    assert (join.by, join.taken) == ({"card": "card"}, {"most": "most"})
    assert Pipeline.parse(pipeline.to_dict()) == pipeline


GROUPS_OF_RATES = [{"name": "g", "key": ["card"], "features": {"rate": "rate"}, "event_time": "event"}]
GROUPS = [{"name": "g", "key": ["card"], "window": {"size": "1h"}, "aggregates": {"most": {"max": "most"}}}]


@pytest.mark.parametrize(
    ("join", "problem"),
    [
        ({"by": "tid"}, "source.join.limits: by: 'tid' is not in its schema, which has card, most, currency"),
        ({"by": {"crad": "card"}}, "join.limits.by: 'crad' is no column of the events, which have card, at, tid, v"),
        ({"by": {"tid": "card"}}, "'tid' is string, and 'card' in its schema bigint; declare both as the same type"),
        ({"by": {"v": "most"}}, "by: 'most' is double; it needs values that compare exactly"),
        ({"columns": {"v": "most"}}, "the events have a column 'v' already; give it another one: {other: most}"),
        ({"columns": ["mots"]}, "columns: 'mots' is not in its schema"),
        ({"schema": {"card": "bigint"}}, "an event would get none; schema needs a column beside those of by"),
        ({"event_time": {"column": "since"}}, "event_time.column 'since' is not in schema"),
        ({"unwrap": "debezium"}, "unwrap: change events are no versions: let the connector write the row alone"),
        (
            {"registry": "r"},
            "join.limits.registry: the schemas' ids stand in front of the records; add framing: confluent",
        ),
        ({"registry": "r", "framing": "confluent", "schema_ids": [1]}, "join.limits.schema_ids is for framing without"),
        ({"format": "protobuf"}, "join.limits.descriptor"),
        ({"message": "shop.Limit"}, "join.limits.message is about Protobuf, and format is avro"),
        ({"where": "most > 1"}, "where: write a condition over the joined columns in source.where"),
        ({"on_decode_error": "quarantine"}, "on_decode_error: a version that cannot be decoded fails the job"),
        ({"idle_timeout": "1m"}, "idle_timeout: a joined topic holds no watermark back"),
        ({"format": "json", "appended": ["currency"]}, "join.limits.appended is about plain Avro"),
        ({"topic": ".."}, "Kafka reserves the names"),
        (
            {"schema": {"card": "bigint", "window_end": "timestamp"}},
            "join.limits: columns: the name 'window_end' is taken by the window functions; list the columns",
        ),
        ({"feature_group": "limits_1"}, "its topic is on the feature store's broker; add broker: feature_store"),
        ({"feature_group": "limits"}, "must be a feature group with its version, such as orders_1"),
        (
            {"feature_group": "limits_1", "broker": "feature_store", "format": "json"},
            "feature_group: its rows are plain Avro; remove format",
        ),
    ],
)
def test_what_is_refused(join: dict[str, Any], problem: str) -> None:
    with pytest.raises(PipelineError) as caught:
        Pipeline.parse(spec(joined(**join)))
    assert problem in str(caught.value)


def test_columns_that_a_wrong_join_would_bring_are_not_missed() -> None:
    made = spec(joined(topic="a b"), derive={"used": {"expression": "v / most", "type": "double"}})
    with pytest.raises(PipelineError) as caught:
        Pipeline.parse(made)
    assert len(str(caught.value).splitlines()) == 2


def test_a_group_of_columns_alone_is_not_wrong_for_a_join_that_is() -> None:
    made = spec(joined(by=["crad"])) | {"feature_groups": [{**GROUPS_OF_RATES[0], "features": ["v"]}]}
    with pytest.raises(PipelineError) as caught:
        Pipeline.parse(made)
    assert len(str(caught.value).splitlines()) == 2


def test_a_derived_column_has_another_name_than_a_joined_one() -> None:
    with pytest.raises(PipelineError, match=r"derive.most: a joined column has that name already; rename one"):
        Pipeline.parse(spec(derive={"most": {"expression": "v", "type": "double"}}))


def test_freshness_needs_an_event_that_is_not_refused() -> None:
    made = spec(joined(required=True)) | {"freshness": "1m"}
    with pytest.raises(PipelineError, match=r"the canary's event has no version in join.limits, which is required"):
        Pipeline.parse(made)
    Pipeline.parse(spec() | {"freshness": "1m"})


# --- state and history ----------------------------------------------------------------------------------------------


def outcome(before: Any, after: Any) -> str:
    one, other = (state_signature(Pipeline.parse(made)).marks() for made in (before, after))
    return state_outcome(other, one)[0]


def test_what_becomes_of_state_when_a_join_changes() -> None:
    other = copy.deepcopy(LIMITS["schema"]) | {"unused": "string"}
    columns = {"columns": ["most", "currency"]}
    assert outcome(spec(), spec()) == "keeps"
    assert outcome(spec(joined(**columns)), spec(joined(schema=other, **columns))) == "keeps"
    assert outcome(spec(), spec(max_disorder="9s", idle_timeout=None)) == "keeps"
    # Events wait with all their columns.
    longer = {"card": "bigint", "at": "bigint", "tid": "string", "v": "double", "w": "double"}
    for after in (
        spec(joined(topic="others")),
        spec(joined(required=True)),
        spec(joined(event_time={"expression": "CAST(most AS bigint)"})),
        spec({"other": joined()["limits"]}),
        spec(schema=longer),
        spec(late="topic"),
        spec(on_decode_error="quarantine"),
    ):
        assert outcome(spec(), after) == "rewarms"
    plain = spec({}) | {"feature_groups": [{**GROUPS[0], "aggregates": {"most": {"max": "v"}}}]}
    assert outcome(plain, {**plain, "source": {**plain["source"], "join": joined()}}) == "rewarms"


LOCAL = {"type": "timestamp", "zone": "Europe/Stockholm"}
BOTH = {"card": "bigint", "tid": "string", "most": "double", "least": "double", "since": LOCAL}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"columns": ["most", "least"]}, {"columns": ["least", "most"]}),
        ({}, {"schema": dict(reversed(BOTH.items()))}),
        ({}, {"by": ["tid", "card"]}),
        ({"columns": "most"}, {"columns": "most", "schema": {**BOTH, "since": {**LOCAL, "zone": "UTC"}}}),
        ({"columns": "most"}, {"columns": "most", "schema": {**BOTH, "since": {**LOCAL, "path": "valid.since"}}}),
        (
            {"columns": "most", "event_time": {"expression": "COALESCE(since, since)"}},
            {
                "columns": "most",
                "event_time": {"expression": "COALESCE(since, since)"},
                "schema": {**BOTH, "since": {**LOCAL, "zone": "UTC"}},
            },
        ),
    ],
    ids=["columns", "schema", "by", "zone", "path", "expression"],
)
def test_what_state_holds_by_its_place_or_since_a_time_is_rewarmed(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Restored, a version would belong to another key, hold since another time, or have its columns mixed up."""
    facts = {"format": "json", "schema": BOTH, "event_time": {"column": "since"}, "by": ["card", "tid"]}
    one, other = (spec(joined(**facts | changes)) | {"feature_groups": GROUPS} for changes in (before, after))
    assert outcome(one, one) == "keeps"
    assert outcome(one, other) == "rewarms"


def test_joins_in_another_order_are_rewarmed() -> None:
    """The events of each wait with the columns of those before."""
    two = {**joined(columns=["most"]), "tiers": {**LIMITS, "topic": "tiers", "columns": ["currency"]}}
    assert outcome(spec(two), spec(dict(reversed(two.items())))) == "rewarms"


def test_versions_that_a_topic_has_lost() -> None:
    whole, cut = [PartitionHistory(0, 0, 0, 9, None)], [PartitionHistory(0, 4, 4, 9, START)]
    first = START - 60 * MINUTE
    assert lost_versions("limits", whole) is None
    refuse_lost_versions("limits", whole, None, DAY, first)
    # Compacted later than the first event that matters: all that it asks for is there.
    refuse_lost_versions("limits", [], first, DAY, first)
    # With compact,delete what was not replaced may be gone all the same.
    for kept in (None, first):
        with pytest.raises(ConfigurationError, match=r"before offset 4 of partition 0.*or retention.ms=-1") as caught:
            refuse_lost_versions("limits", cut, kept, DAY, first)
        assert "allow_deleted recomputes nevertheless" in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"versions that were replaced before 2025-03-01T11:00:00.001.*may be"):
        refuse_lost_versions("limits", whole, first + 1, DAY, first)


def test_the_interval_reads_versions_between_offsets_too() -> None:
    text = statements(Pipeline.from_yaml(EXAMPLE), batch=True)
    assert "'scan.bounded.specific-offsets' = 'partition:0,offset:9'" in text
    assert "join_limits_start" not in text


def test_versions_are_kept_for_the_longest_window_or_a_day() -> None:
    def keep(size: str) -> timedelta:
        made = spec() | {"feature_groups": [{**GROUPS[0], "window": {"size": size}}]}
        pipeline = Pipeline.parse(made)
        steps = [one for one in compile_plan(pipeline, registered(pipeline)).statements if isinstance(one, dict)]
        (step,) = (one for one in steps if "join" in one)
        return timedelta(milliseconds=step["join"]["keep"])

    assert (keep("1h"), keep("3d")) == (timedelta(days=1), timedelta(days=3))
