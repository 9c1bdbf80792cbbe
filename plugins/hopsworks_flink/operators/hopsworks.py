"""Operators for Hopsworks: the import path that DAGs use."""

from __future__ import annotations

from hopsworks_flink.operators.hopsworks_materialize import HopsworksMaterializeFeatureGroupOperator
from hopsworks_flink.operators.hopsworks_registry import (
    HopsworksCreateFeatureGroupOperator,
    HopsworksCreateTopicOperator,
)
from hopsworks_flink.operators.hopsworks_run import HopsworksRunJobOperator

__all__ = [
    "HopsworksCreateFeatureGroupOperator",
    "HopsworksCreateTopicOperator",
    "HopsworksMaterializeFeatureGroupOperator",
    "HopsworksRunJobOperator",
]
