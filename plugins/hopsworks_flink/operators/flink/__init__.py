"""Operators for Flink: the import path that DAGs use."""

from __future__ import annotations

from hopsworks_flink.operators.flink.deploy import FlinkDeployJobOperator
from hopsworks_flink.operators.flink.deploy_pipeline import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.flink.recompute import FlinkRecomputeFeaturesOperator
from hopsworks_flink.operators.flink.run import FlinkRunJobOperator
from hopsworks_flink.operators.flink.stop import FlinkStopJobOperator
from hopsworks_flink.operators.flink.supervise import FlinkSuperviseJobOperator
from hopsworks_flink.operators.flink.undeploy import FlinkUndeployFeaturePipelineOperator

__all__ = [
    "FlinkDeployFeaturePipelineOperator",
    "FlinkDeployJobOperator",
    "FlinkRecomputeFeaturesOperator",
    "FlinkRunJobOperator",
    "FlinkStopJobOperator",
    "FlinkSuperviseJobOperator",
    "FlinkUndeployFeaturePipelineOperator",
]
