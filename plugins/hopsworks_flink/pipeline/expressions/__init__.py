"""SQL expressions of a pipeline file: parsed, checked, and written for Flink and for DuckDB."""

from hopsworks_flink.pipeline.expressions.expression import Expression, converted

__all__ = ["Expression", "converted"]
