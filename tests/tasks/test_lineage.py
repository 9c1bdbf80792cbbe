"""What OpenLineage's own provider makes of the operators and assets, by its extractors, as its client's JSON."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from hopsworks_flink.assets import feature_group_asset, flink_job_asset, hopsworks_job_asset, topic_asset
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator, FlinkRecomputeFeaturesOperator
from hopsworks_flink.operators.hopsworks import (
    HopsworksCreateFeatureGroupOperator,
    HopsworksCreateTopicOperator,
    HopsworksMaterializeFeatureGroupOperator,
)
from hopsworks_flink.operators.kafka import KafkaCreateTopicOperator
from hopsworks_flink.operators.simulate import FlinkSimulateEventsOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_topic_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import REPOSITORY
from tests.support.pipelines import EVERYTHING, MINIMAL, REFERENCE

pytest.importorskip("airflow.providers.openlineage", reason="only the newest Airflow is tested with it")
pytestmark = pytest.mark.airflow

EXAMPLES = REPOSITORY / "dags" / "pipelines" / "examples"
KAFKA, HOPSWORKS = "kafka://kafka:9092", "hopsworks://hopsworks"


def told(operator: Any, *, complete: bool = False) -> dict[str, Any]:
    """The datasets of an event that OpenLineage's client would send, as JSON: through the provider's own extractor."""
    from airflow.providers.openlineage.extractors.base import DefaultExtractor
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.serde import Serde

    extractor = DefaultExtractor(operator)
    found = extractor.extract_on_complete(None) if complete else extractor.extract()
    assert found is not None, "the provider only warns of what goes wrong"
    event = RunEvent(
        eventType=RunState.COMPLETE,
        eventTime=datetime(2025, 3, 1, tzinfo=timezone.utc).isoformat(),
        run=Run("0195a000-0000-7000-8000-000000000000"),
        job=Job("airflow", operator.task_id),
        inputs=found.inputs,
        outputs=found.outputs,
    )
    return json.loads(Serde.to_json(event))


def columns(dataset: dict[str, Any]) -> dict[str, str]:
    return {field["name"]: field["type"] for field in dataset["facets"]["schema"]["fields"]}


def origins(dataset: dict[str, Any]) -> dict[str, list[tuple[str, str, str]]]:
    """Feature → column, type and subtype of what is done with it."""
    return {
        feature: [
            (field["field"], field["transformations"][0]["type"], field["transformations"][0]["subtype"])
            for field in found["inputFields"]
        ]
        for feature, found in dataset["facets"]["columnLineage"]["fields"].items()
    }


def deployment(pipeline: Any) -> Any:
    return FlinkDeployFeaturePipelineOperator(task_id="deploy", pipeline=pipeline)


def test_a_streaming_job_leads_from_topic_to_feature_groups() -> None:
    for complete in (False, True):
        event = told(deployment(str(REFERENCE)), complete=complete)
        (topic,) = event["inputs"]
        assert (topic["namespace"], topic["name"]) == (KAFKA, "credit_card_transactions")
        assert columns(topic) == {"tid": "string", "datetime": "bigint", "cc_num": "bigint", "amount": "double"}
        assert [(one["namespace"], one["name"]) for one in event["outputs"]] == [
            (HOPSWORKS, "fg/card_transactions_10m_agg/1"),
            (HOPSWORKS, "fg/card_transactions_10m_agg/2"),
        ]
        group = event["outputs"][1]
        assert columns(group)["window_end"] == "timestamp"
        assert origins(group) == {
            "cc_num": [("cc_num", "DIRECT", "IDENTITY")],
            "avg_amt_per_10m": [("amount", "DIRECT", "AGGREGATION")],
            "stdev_amt_per_10m": [("amount", "DIRECT", "AGGREGATION")],
            "window_end": [("datetime", "DIRECT", "TRANSFORMATION")],
        }
        decided = group["facets"]["columnLineage"]["dataset"]
        assert [(one["field"], one["transformations"][0]["subtype"]) for one in decided] == [
            ("cc_num", "GROUP_BY"),
            ("datetime", "WINDOW"),
        ]
        assert {(one["namespace"], one["name"]) for one in decided} == {(KAFKA, "credit_card_transactions")}


def test_columns_that_are_derived_and_conditions_lead_to_the_topics_columns() -> None:
    event = told(deployment(str(EVERYTHING)))
    assert event["outputs"][-1]["name"] == "everything_late"
    hourly = next(one for one in event["outputs"] if one["name"] == "fg/shop_hourly/1")
    assert ("quantity", "DIRECT", "AGGREGATION") in origins(hourly)["turnover"], "total is amount times quantity"
    assert ("amount", "DIRECT", "AGGREGATION") in origins(hourly)["turnover"]
    assert {how for _, kind, how in origins(hourly)["large_orders"] if kind == "INDIRECT"} == {"CONDITIONAL"}
    known = columns(event["inputs"][0])
    for output in event["outputs"][:-1]:
        assert {column for found in origins(output).values() for column, _, _ in found} <= set(known)
        assert set(origins(output)) <= set(columns(output))


def test_a_time_since_an_event_is_made_of_the_events_time() -> None:
    (group,) = MINIMAL["feature_groups"]
    aggregates = {"quiet": {"time_since_last": "*"}, "unpaid": {"time_since_last": "amount"}}
    event = told(deployment({**MINIMAL, "feature_groups": [{**group, "aggregates": aggregates}]}))
    found = origins(event["outputs"][0])
    assert found["quiet"] == [("datetime", "DIRECT", "AGGREGATION")]
    assert found["unpaid"] == [("datetime", "DIRECT", "AGGREGATION"), ("amount", "INDIRECT", "CONDITIONAL")]


def test_joined_columns_lead_to_their_topic() -> None:
    event = told(deployment(str(EXAMPLES / "card_spending.yaml")))
    _, limits = event["inputs"]
    assert (limits["name"], columns(limits)["card_limit"]) == ("card_limits", "double")
    found = event["outputs"][0]["facets"]["columnLineage"]
    made = {(one["name"], one["field"]) for one in found["fields"]["used_1h"]["inputFields"]}
    assert made == {("card_limits", "card_limit"), ("credit_card_transactions", "amount")}
    decided = {(one["transformations"][0]["subtype"], one["name"], one["field"]) for one in found["dataset"]}
    assert ("JOIN", "credit_card_transactions", "cc_num") in decided


def test_features_of_single_events() -> None:
    group = {"name": "plain", "key": ["cc_num"], "features": {"amount": "amount", "cents": "amount * 100"}}
    event = told(deployment({**MINIMAL, "feature_groups": [group]}))
    assert origins(event["outputs"][0]) == {
        "cc_num": [("cc_num", "DIRECT", "IDENTITY")],
        "amount": [("amount", "DIRECT", "IDENTITY")],
        "cents": [("amount", "DIRECT", "TRANSFORMATION")],
    }


def test_registration_and_topics() -> None:
    pipeline = Pipeline.from_yaml(REFERENCE)
    group = feature_group_arguments(pipeline, pipeline.feature_groups[0])
    (made,) = told(HopsworksCreateFeatureGroupOperator(task_id="t", **group))["outputs"]
    assert (made["namespace"], made["name"]) == (HOPSWORKS, "fg/card_transactions_10m_agg/1")
    assert columns(made)["avg_amt_per_10m"] == "double"
    (topic,) = told(HopsworksCreateTopicOperator(task_id="t", **source_topic_arguments(pipeline)))["outputs"]
    assert columns(topic) == {"tid": "string", "datetime": "long", "cc_num": "long", "amount": "double"}
    (bare,) = told(KafkaCreateTopicOperator(task_id="t", topic="orders"))["outputs"]
    assert (bare["namespace"], bare["name"]) == (KAFKA, "orders")
    (events,) = told(FlinkSimulateEventsOperator(task_id="t", pipeline=str(REFERENCE)))["outputs"]
    assert (events["name"], columns(events)["amount"]) == ("credit_card_transactions", "double")


@pytest.mark.parametrize(
    ("path", "namespace", "name"),
    [
        ("s3://bucket/events/*.csv", "s3://bucket", "events/*.csv"),
        ("s3a://bucket/events/part-?.csv", "s3://bucket", "events/part-?.csv"),
        ("hdfs://name:8020/events/50%25#1", "hdfs://name:8020", "events/50%25#1"),
        ("/data/events/part-?.csv", "file", "/data/events/part-?.csv"),
        ("file:///data/events", "file", "/data/events"),
    ],
)
def test_files_of_a_history_have_the_names_of_openlineage(path: str, namespace: str, name: str) -> None:
    """https://openlineage.io/docs/spec/naming"""
    files = {**Pipeline.from_yaml(REFERENCE).to_dict(), "history": {"path": path, "format": "csv"}}
    (read,) = told(FlinkRecomputeFeaturesOperator(task_id="t", pipeline=files))["inputs"]
    assert (read["namespace"], read["name"]) == (namespace, name)


def test_rows_that_were_recomputed_and_materialized() -> None:
    recompute = FlinkRecomputeFeaturesOperator(task_id="t", pipeline=str(REFERENCE))
    assert "outputStatistics" not in told(recompute)["outputs"][0].get("outputFacets", {})
    recompute._rows = {"card_transactions_10m_agg_2": 1010}
    (output,) = told(recompute, complete=True)["outputs"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 1010
    assert origins(output)["avg_amt_per_10m"] == [("amount", "DIRECT", "AGGREGATION")]

    materialize = HopsworksMaterializeFeatureGroupOperator(task_id="t", name="cards", version="3")
    materialize._columns, materialize._rows = [("cc_num", "bigint", ""), ("n", "bigint", "count of events")], 42
    event = told(materialize, complete=True)
    assert [one["name"] for one in (*event["inputs"], *event["outputs"])] == ["fg/cards/3", "fg/cards/3/offline"]
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 42
    assert origins(event["outputs"][0])["n"] == [("n", "DIRECT", "IDENTITY")]


def test_assets_of_any_task_are_the_same_datasets() -> None:
    """Inlets and outlets of tasks that say nothing themselves: converters are found by the scheme in the metadata."""
    from airflow.providers.openlineage.utils.utils import translate_airflow_asset

    def dataset(asset: Any) -> tuple[str, str] | None:
        found = translate_airflow_asset(asset, None)
        return found and (found.namespace, found.name)

    assert dataset(feature_group_asset("a b", 1, project="p")) == (HOPSWORKS, "p/p/fg/a b/1")
    assert dataset(topic_asset("orders")) == (KAFKA, "orders")
    assert dataset(hopsworks_job_asset("train")) is None
    assert dataset(flink_job_asset("cards")) is None


def test_nothing_secret_is_told() -> None:
    source = {**MINIMAL["source"], "registry": "schemas", "framing": "confluent"}
    operator = deployment({**MINIMAL, "source": source})
    operator.flink_configuration = {"my.password": "marker-5523"}
    assert "marker-5523" not in json.dumps(told(operator))
