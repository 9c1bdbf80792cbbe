"""The pipeline file as Python objects: what it may hold, and what is checked when it is read."""

from hopsworks_flink.pipeline.spec.groups import FeatureGroup, Window
from hopsworks_flink.pipeline.spec.pipeline import LATE_COLUMNS, MOST_PARALLEL, History, Pipeline, job_name_of
from hopsworks_flink.pipeline.spec.source import Source

__all__ = ["LATE_COLUMNS", "MOST_PARALLEL", "FeatureGroup", "History", "Pipeline", "Source", "Window", "job_name_of"]
