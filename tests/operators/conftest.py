from tests.hooks.fixtures import brisk, flink, jars_dir, program, variables
from tests.hooks.hopsworks_fixtures import asleep, hopsworks, hopsworks_home
from tests.operators.deploying import make, memory

__all__ = [
    "asleep",
    "brisk",
    "flink",
    "hopsworks",
    "hopsworks_home",
    "jars_dir",
    "make",
    "memory",
    "program",
    "variables",
]
