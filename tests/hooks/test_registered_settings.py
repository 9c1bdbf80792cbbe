"""What a file says about a group beyond its features: through the unmodified SDK into the local server, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hopsworks_flink.clients.hopsworks.session import HopsworksSession
from hopsworks_flink.exceptions import HopsworksConflictError, HopsworksNotFoundError, PipelineError
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.hopsworks_server import LocalHopsworks

SETTINGS: dict[str, Any] = {
    "description": "What cards have spent",
    "tags": {"owner": "risk", "pii": {"level": 2, "fields": ["card"]}, "tier": 1, "release": "1.0"},
    "parents": ["payments_1"],
    "partition_key": ["day"],
    "time_travel_format": "HUDI",
    "topic_name": "spent_onlinefs",
    "online_config": {"online_comments": ["NDB_TABLE=READ_BACKUP=1"], "primary_key_index_type": "ORDERED"},
    "statistics_config": {"histograms": True, "columns": ["n"]},
}


def spec(**group: Any) -> dict[str, Any]:
    return {
        "name": "cards",
        "source": {
            "topic": "payments",
            "schema": {"card": "bigint", "at": "bigint", "day": "date", "amount": "double"},
            "event_time": {"column": "at"},
        },
        "feature_groups": [
            {
                "name": "spent",
                "key": ["card", "day"],
                "window": {"size": "10m"},
                "aggregates": {"n": {"count": "*", "description": "payments"}, "mean": {"avg": "amount"}},
                **group,
            }
        ],
    }


def arguments(**group: Any) -> dict[str, Any]:
    pipeline = Pipeline.parse(spec(**group))
    made = feature_group_arguments(pipeline, pipeline.feature_groups[0])
    # As Airflow keeps them between parsing and running.
    return dict(json.loads(json.dumps(made)))


@pytest.fixture
def session(hopsworks: LocalHopsworks) -> Any:
    with HopsworksHook().session() as session:
        raw = {"primary_key": ["card"], "features": [{"name": "card", "type": "bigint"}]}
        session.create_feature_group(name="payments", version=1, **raw)
        yield session


def registered(session: HopsworksSession) -> Any:
    return session.get_feature_group("spent", 1)


def test_everything_is_registered_and_is_found_there(session: HopsworksSession) -> None:
    wanted = arguments(**SETTINGS)
    group, created = session.create_feature_group(**wanted)
    assert created
    assert session.differences(group, wanted) == []
    assert session.missing_words(group, wanted).told() == []
    # Read by the SDK, not by what compares.
    found = registered(session)
    assert (found.description, found.topic_name, found._online_topic_name) == (
        "What cards have spent",
        "spent_onlinefs",
        "spent_onlinefs",
    )
    assert found.get_tags() == SETTINGS["tags"]
    assert [parent.name for parent in found.get_parent_feature_groups().accessible] == ["payments"]
    assert [feature.name for feature in found.columns if feature.partition] == ["day"]
    assert found.online_config.online_comments == ["NDB_TABLE=READ_BACKUP=1"]
    assert found.online_config.primary_key_index_type == "ORDERED"
    assert found.statistics_config.to_dict() == {
        "enabled": True,
        "correlations": False,
        "histograms": True,
        "exactUniqueness": False,
        "columns": ["n"],
    }
    assert {feature.name: feature.description for feature in found.columns} == {
        "card": "",
        "day": "",
        "n": "payments",
        "mean": "avg of amount",
    }


def test_a_file_that_says_nothing_asks_for_nothing(session: HopsworksSession) -> None:
    session.create_feature_group(**arguments(**SETTINGS))
    plain = arguments()
    session.check_feature_group(registered(session), plain)
    assert session.missing_words(registered(session), plain).told() == []


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        (
            "parents",
            ["payments_1", "spent_1"],
            r"parents is \['payments_1'\], wanted \['payments_1', 'spent_1'\] \(it st",
        ),
        ("partition_key", ["card"], r"partition_key is \['day'\], wanted \['card'\]"),
        ("time_travel_format", "NONE", r"time_travel_format is 'HUDI', wanted 'NONE'"),
        ("topic_name", "other_onlinefs", r"topic_name is 'spent_onlinefs', wanted 'other_onlinefs'"),
        ("online_config", {"table_space": "ts_1"}, r"online_config is \{.*\}, wanted \{'table_space': 'ts_1'\}"),
    ],
)
def test_what_stays_as_the_group_was_made(session: HopsworksSession, setting: str, value: Any, told: str) -> None:
    session.create_feature_group(**arguments(**SETTINGS))
    wanted = arguments(**{**SETTINGS, setting: value})
    (difference,) = session.differences(registered(session), wanted)
    with pytest.raises(HopsworksConflictError, match=told):
        session.check_feature_group(registered(session), wanted)
    with pytest.raises(HopsworksConflictError, match=setting):
        session.lacking_features(registered(session), wanted)
    assert difference.startswith(f"{setting} is ")


def test_words_tags_and_statistics_are_written_to_a_group_that_exists(session: HopsworksSession) -> None:
    session.create_feature_group(**arguments())
    registered(session).add_tag("theirs", "kept")
    wanted = arguments(
        description="new",
        tags={"owner": "risk"},
        statistics_config=True,
        aggregates={"n": {"count": "*", "description": "how many"}, "mean": {"avg": "amount"}},
    )
    words = session.missing_words(registered(session), wanted)
    assert words.told() == [
        "description: 'new'",
        "description of 'n': 'how many'",
        "tag 'owner': 'risk'",
        "statistics_config: {'enabled': True, 'correlations': False, 'histograms': False, 'exact_uniqueness': False, "
        "'columns': [], 'kll': False, 'histogram_bins': None}",
    ]
    assert session.differences(registered(session), wanted) == []
    session.write_words(registered(session), words)
    found = registered(session)
    assert session.missing_words(found, wanted).told() == []
    assert found.get_tags() == {"owner": "risk", "theirs": "kept"}
    assert found.get_feature("mean").description == "avg of amount"


def test_a_parent_must_be_there(session: HopsworksSession) -> None:
    with pytest.raises(HopsworksNotFoundError, match="'nowhere' version 3 does not exist"):
        session.create_feature_group(**arguments(parents=["nowhere_3"]))
    with pytest.raises(HopsworksNotFoundError):
        registered(session)


def test_a_wider_group_is_refused_with_words(session: HopsworksSession) -> None:
    session.create_feature_group(**arguments())
    with pytest.raises(HopsworksConflictError, match=r"'mean' \(double\) exists there only.* would set to null"):
        session.check_feature_group(registered(session), arguments(aggregates={"n": "count"}))


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ({"parents": ["payments"]}, r"parents\[0\]: must be a feature group with its version, such as orders_1"),
        ({"partition_key": ["shop"]}, r"partition_key: 'shop': there is no such feature; there are card, day, n, mean"),
        ({"statistics_config": {"columns": ["x"]}}, r"statistics_config\.columns: 'x': there is no such feature"),
        ({"topic_name": "spent"}, "topic_name 'spent' must end with _onlinefs: the online store reads no other topics"),
        (
            {"online_config": {"table_space": "x"}, "online": False},
            "online_config is about the online store, and online",
        ),
        ({"time_travel_format": "ICE"}, r"time_travel_format: must be one of 'HUDI', 'DELTA' or 'NONE'"),
    ],
)
def test_what_a_file_is_refused_for(group: dict[str, Any], told: str) -> None:
    with pytest.raises(PipelineError, match=told):
        Pipeline.parse(spec(**group))
