"""Operators for Hopsworks: the import path that DAGs use."""

from __future__ import annotations

from hopsworks_flink.operators.hopsworks.delete import HopsworksDeleteOperator
from hopsworks_flink.operators.hopsworks.materialize import HopsworksMaterializeFeatureGroupOperator
from hopsworks_flink.operators.hopsworks.registry import (
    HopsworksCreateFeatureGroupOperator,
    HopsworksCreateTopicOperator,
)
from hopsworks_flink.operators.hopsworks.run import HopsworksRunJobOperator

__all__ = [
    "HopsworksCreateFeatureGroupOperator",
    "HopsworksCreateTopicOperator",
    "HopsworksDeleteOperator",
    "HopsworksMaterializeFeatureGroupOperator",
    "HopsworksRunJobOperator",
]
