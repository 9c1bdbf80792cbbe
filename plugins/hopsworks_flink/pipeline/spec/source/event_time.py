"""What says when an event happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_serializer, model_validator

from hopsworks_flink.pipeline.spec.base import Model
from hopsworks_flink.pipeline.spec.source.columns import Unit

KAFKA_TIMESTAMP = "kafka_timestamp"


class EventTime(Model):
    """What says when an event happened: a column, an expression, or the record (``kafka_timestamp``).

    :param column: an ``int`` or ``bigint`` column holding time since the epoch (UTC), or a ``timestamp`` column.
    :param expression: SQL over the columns of the schema, of one of these types, in place of a column.
    :param unit: what an integer counts; says nothing about the others.
    """

    column: str | None
    expression: str | None = Field(default=None, min_length=1, max_length=10_000)
    unit: Unit = "milliseconds"

    @model_validator(mode="before")
    @classmethod
    def _word(cls, data: Any) -> Any:
        if data == KAFKA_TIMESTAMP:
            return {"column": None}
        if isinstance(data, str):
            raise ValueError("write {column: …} with a column of the schema, {expression: …}, or kafka_timestamp")
        if isinstance(data, Mapping):
            if data.get("column", "") is None:
                raise ValueError("column must be a name; for Kafka's timestamp write event_time: kafka_timestamp")
            if "expression" in data:
                if "column" in data:
                    raise ValueError("has column and expression; remove one of them")
                return {**data, "column": None}
        return data

    @model_serializer
    def _as_written(self) -> str | dict[str, str]:
        if self.is_kafka_timestamp:
            return KAFKA_TIMESTAMP
        what = {"column": self.column} if self.column is not None else {"expression": str(self.expression)}
        return what if self.unit == "milliseconds" else {**what, "unit": self.unit}

    @property
    def is_kafka_timestamp(self) -> bool:
        """Whether it is the record's own timestamp."""
        return self.column is None and self.expression is None

    @property
    def name(self) -> str:
        """What reasons call it."""
        return self.column if self.column is not None else "event_time"
