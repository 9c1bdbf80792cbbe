"""Assets: static, unique, and kept by Airflow as they are written."""

from __future__ import annotations

import pytest

from hopsworks_flink.assets import feature_group_asset, flink_job_asset, hopsworks_job_asset

pytestmark = pytest.mark.airflow


def test_addresses_are_kept() -> None:
    group = feature_group_asset("cards_10m", 2, project="demo", host="prod.example")
    assert (group.name, group.uri) == (
        "feature_group.demo.cards_10m.v2",
        "x-hopsworks://prod.example/p/demo/fg/cards_10m/2",
    )
    job = hopsworks_job_asset("train model", project="demo")
    assert job.uri == "x-hopsworks://hopsworks/p/demo/job/train%20model"
    assert flink_job_asset("cards").uri == "x-flink://flink/job/cards"


def test_same_names_same_asset() -> None:
    assert feature_group_asset("a", 1, project="p") == feature_group_asset("a", 1, project="p")
    different = {feature_group_asset("a", v, project=p).name for v in (1, 2) for p in ("p", "q")}
    assert len(different) == 4


def test_empty_name() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        feature_group_asset(" ", 1, project="demo")
