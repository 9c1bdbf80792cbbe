"""Operators for Flink: the import path that DAGs use."""

from __future__ import annotations

from hopsworks_flink.operators.flink_deploy import FlinkDeployJobOperator
from hopsworks_flink.operators.flink_deploy_pipeline import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.flink_recompute import FlinkRecomputeFeaturesOperator
from hopsworks_flink.operators.flink_run import FlinkRunJobOperator
from hopsworks_flink.operators.flink_stop import FlinkStopJobOperator
from hopsworks_flink.operators.flink_supervise import FlinkSuperviseJobOperator

__all__ = [
    "FlinkDeployFeaturePipelineOperator",
    "FlinkDeployJobOperator",
    "FlinkRecomputeFeaturesOperator",
    "FlinkRunJobOperator",
    "FlinkStopJobOperator",
    "FlinkSuperviseJobOperator",
]
