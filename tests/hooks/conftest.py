from tests.hooks.fixtures import brisk, flink, jars_dir, program
from tests.hooks.hopsworks_fixtures import asleep, hopsworks, hopsworks_home

__all__ = ["asleep", "brisk", "flink", "hopsworks", "hopsworks_home", "jars_dir", "program"]
