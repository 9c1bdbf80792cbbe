"""Bytes on the online topic, fixed here and held against the encoder of the feature store's own SDK.

That Flink writes the same bytes is shown on a real broker by the integration tests.
"""

import datetime
import json

import pytest

from hopsworks_flink.pipeline.plan import record_headers
from hopsworks_flink.pipeline.resources import feature_group_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.pipelines import REFERENCE, registered

END = datetime.datetime(2025, 3, 1, 12, 10, tzinfo=datetime.timezone.utc)

GOLDEN = [
    (
        0,
        {"cc_num": 4444000000000003, "num_trans_per_10m": 3, "avg_amt_per_10m": 12.5, "stdev_amt_per_10m": 0.5},
        "0286808e96ecf2e40f020602000000000000294002000000000000e03f",
    ),
    (
        0,
        {"cc_num": -1, "num_trans_per_10m": 1, "avg_amt_per_10m": 0.0, "stdev_amt_per_10m": None},
        "02010202020000000000000000" + "00",
    ),
    (
        1,
        {
            "cc_num": 1,
            "num_trans_per_10m": 2,
            "avg_amt_per_10m": None,
            "stdev_amt_per_10m": None,
            "window_end": END,
        },
        "020202040000" + "02" + "80d8f3d5d9d19706",
    ),
]


@pytest.mark.parametrize(("position", "row", "expected"), GOLDEN)
def test_value_bytes(position, row, expected):
    from hsfs.core import kafka_engine

    pipeline = Pipeline.from_yaml(REFERENCE)
    schema = feature_group_avro_schema(pipeline, pipeline.feature_groups[position], "demo_featurestore")
    writer = kafka_engine._get_encoder_func(json.dumps(schema))
    assert kafka_engine._encode_row({}, writer, dict(row)).hex() == expected


def test_headers_are_those_of_the_sdk():
    pipeline = Pipeline.from_yaml(REFERENCE)
    assert record_headers(pipeline.feature_groups[0], registered(pipeline)[0]) == {
        "projectId": "119",
        "featureGroupId": "13",
        "subjectId": "5",
        "onlineIngestionId": "${online_ingestion_id_card_transactions_10m_agg_1}",
    }
