"""Where events come from: the topic, its columns, and what is made of them before they are aggregated."""

from hopsworks_flink.pipeline.spec.source.columns import Column
from hopsworks_flink.pipeline.spec.source.topic import (
    KAFKA_TIMESTAMP,
    Deduplicate,
    Derived,
    EventTime,
    Source,
    expression_problem,
)

__all__ = ["KAFKA_TIMESTAMP", "Column", "Deduplicate", "Derived", "EventTime", "Source", "expression_problem"]
