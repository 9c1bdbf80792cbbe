"""Assets: static, unique, named as lineage tools name them, and kept by Airflow as they are written."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Asset

from hopsworks_flink.assets import (
    feature_group_asset,
    flink_job_asset,
    hopsworks_job_asset,
    offline_table_asset,
    topic_asset,
)

pytestmark = pytest.mark.airflow


def test_addresses_are_kept() -> None:
    group = feature_group_asset("cards_10m", 2, project="demo", host="Prod.example:443")
    assert (group.name, group.uri) == (
        "feature_group.demo.cards_10m.v2",
        "hopsworks://prod.example:443/p/demo/fg/cards_10m/2",
    )
    assert offline_table_asset("cards_10m", 2).uri == "hopsworks://hopsworks/fg/cards_10m/2/offline"
    job = hopsworks_job_asset("train model", project="demo")
    assert job.uri == "hopsworks://hopsworks/p/demo/job/train%20model"
    assert flink_job_asset("cards").uri == "x-flink://flink/job/cards"
    assert topic_asset("orders").uri == "kafka://kafka:9092/orders"


def test_places_are_settings(monkeypatch: Any) -> None:
    monkeypatch.setenv("AIRFLOW__HOPSWORKS_FLINK__LINEAGE_KAFKA", "broker-1.example:9093")
    monkeypatch.setenv("AIRFLOW__HOPSWORKS_FLINK__LINEAGE_HOPSWORKS", "hops.example:443/fraud")
    assert topic_asset("orders").uri == "kafka://broker-1.example:9093/orders"
    assert feature_group_asset("a", 1).uri == "hopsworks://hops.example:443/p/fraud/fg/a/1"
    assert feature_group_asset("a", 1, project="other").uri == "hopsworks://hops.example:443/p/other/fg/a/1"
    monkeypatch.setenv("AIRFLOW__HOPSWORKS_FLINK__LINEAGE_KAFKA", "me:secret-1@broker:9093")
    assert "secret-1" not in topic_asset("orders").uri


def test_same_names_same_asset() -> None:
    assert feature_group_asset("a", 1, project="p") == feature_group_asset("a", 1, project="p")
    made = [
        make("a", v, project=p) for make in (feature_group_asset, offline_table_asset) for v in (1, 2) for p in "pq"
    ]
    assert len({one.name for one in made}) == len({one.uri for one in made}) == 8


def test_empty_name() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        feature_group_asset(" ", 1, project="demo")


@pytest.mark.parametrize(
    "uri", ["hopsworks://host/cards/1", "hopsworks:///fg/cards/1", "hopsworks://host/fg/cards/x", "hopsworks://host"]
)
def test_airflow_refuses_another_address_in_hopsworks(uri: str) -> None:
    """It asks this package by the scheme that the provider's metadata names."""
    with pytest.raises(ValueError, match="an address in Hopsworks is hopsworks://host/p/project/fg/name/version"):
        Asset(name="a", uri=uri)
