"""Every operator of the package, with the arguments that it needs."""

from __future__ import annotations

from typing import Any

from hopsworks_flink._compat import BaseOperator
from hopsworks_flink.operators import audit, flink, freshness, hopsworks, kafka, simulate
from hopsworks_flink.sensors import flink as flink_sensors
from hopsworks_flink.sensors import hopsworks as hopsworks_sensors

OPERATORS: dict[type[BaseOperator], dict[str, Any]] = {
    audit.AuditFeaturesOperator: {"pipeline": {"name": "p"}},
    flink.FlinkDeployJobOperator: {"job_name": "j", "program": "feature_pipeline"},
    flink.FlinkDeployFeaturePipelineOperator: {"pipeline": {"name": "p"}},
    flink.FlinkRecomputeFeaturesOperator: {"pipeline": {"name": "p"}},
    flink.FlinkRunJobOperator: {"job_name": "j", "program": "feature_pipeline"},
    flink.FlinkStopJobOperator: {"job_name": "j"},
    flink.FlinkUndeployFeaturePipelineOperator: {"job_name": "j"},
    flink_sensors.FlinkJobHealthSensor: {"job_name": "j"},
    flink.FlinkSuperviseJobOperator: {"pipeline": {"name": "p"}},
    freshness.MeasureFreshnessOperator: {"pipeline": {"name": "p"}},
    simulate.FlinkSimulateEventsOperator: {"pipeline": {"name": "p"}},
    hopsworks.HopsworksCreateFeatureGroupOperator: {
        "name": "n",
        "version": 1,
        "features": [{"name": "a", "type": "bigint"}],
        "primary_key": ["a"],
    },
    hopsworks.HopsworksCreateTopicOperator: {"topic": "t", "schema": {"type": "record"}},
    hopsworks.HopsworksDeleteOperator: {"feature_groups": ["n_1"]},
    hopsworks.HopsworksMaterializeFeatureGroupOperator: {"name": "n", "version": 1},
    hopsworks.HopsworksRunJobOperator: {"job_name": "j"},
    kafka.KafkaCreateTopicOperator: {"topic": "t"},
    hopsworks_sensors.FeatureFreshnessSensor: {"name": "n", "version": 1, "max_age": 60},
    hopsworks_sensors.HopsworksExecutionSensor: {"job_name": "j", "execution_id": 1},
}
# These make their job out of a pipeline: name, program and files follow from it.
FROM_PIPELINE = (
    flink.FlinkDeployFeaturePipelineOperator,
    flink.FlinkRecomputeFeaturesOperator,
    simulate.FlinkSimulateEventsOperator,
)
