"""What tests of feature logic need: the features of a pipeline for given events, without Kafka, Flink or Hopsworks."""

from hopsworks_flink.testing.evaluation import evaluate

__all__ = ["evaluate"]
