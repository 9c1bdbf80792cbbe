"""Where events come from: the topic, its columns, and what is made of them before they are aggregated."""

from hopsworks_flink.pipeline.spec.source.columns import Column
from hopsworks_flink.pipeline.spec.source.event_time import KAFKA_TIMESTAMP, EventTime
from hopsworks_flink.pipeline.spec.source.expressions import expression_problem
from hopsworks_flink.pipeline.spec.source.join import Join
from hopsworks_flink.pipeline.spec.source.records import WRITTEN, Records
from hopsworks_flink.pipeline.spec.source.topic import Deduplicate, Derived, Source

__all__ = [
    "KAFKA_TIMESTAMP",
    "WRITTEN",
    "Column",
    "Deduplicate",
    "Derived",
    "EventTime",
    "Join",
    "Records",
    "Source",
    "expression_problem",
]
