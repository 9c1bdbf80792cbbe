"""Records of a topic: how they were written, which columns are read from them, and when they happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from hopsworks_flink.pipeline.spec.base import MESSAGE_NAME, Model, Topic, check_names
from hopsworks_flink.pipeline.spec.source import protobuf
from hopsworks_flink.pipeline.spec.source.avro import parse_schema, reading_problems
from hopsworks_flink.pipeline.spec.source.columns import Column, Unwrap, path_problems
from hopsworks_flink.pipeline.spec.source.event_time import EventTime
from hopsworks_flink.pipeline.spec.source.expressions import checked
from hopsworks_flink.pipeline.types import TIMESTAMP, FeatureType

#: Settings that say how records were written, of one format; what is read from them is elsewhere.
WRITTEN = ("framing", "avro_schema", "descriptor", "message", "registry", "schema_ids")


class Records(Model):
    """What is said of a topic whose records are read: those of events, and those of versions.

    :param topic: name of the topic.
    :param format: of the records' values: ``avro`` (plain binary, unless a setting below says more), ``json`` or
        ``protobuf``.
    :param framing: ``confluent``: five bytes stand before each record, a zero byte and the schema's id in a registry;
        with Protobuf, which message of the schema it is as well.
    :param avro_schema: the schema that records were written with, where they are not plain: then each column is read
        from the field of its name, or of its path.
    :param descriptor: of the messages of Protobuf: the file beside this one that ``protoc --include_imports -o FILE``
        has made. A pipeline that has been read holds its content, ``base64:…``.
    :param message: full name of the message that records are, such as ``shop.Order``.
    :param registry: Airflow connection of the schema registry that has the schemas that records were written with.
    :param schema_ids: the ids that are right, in framing without a registry; empty: any.
    :param declared: (``schema`` in the file) columns in the order of the Avro record, each nullable.
    :param appended: the last of the columns, which records of an older schema lack; such a record is read with null for
        what it ends before. For plain Avro; JSON records may lack any column.
    :param event_time: what says when an event happened.
    """

    topic: Topic
    format: Literal["avro", "json", "protobuf"] = "avro"
    framing: Literal["confluent"] | None = None
    avro_schema: dict[str, Any] | None = None
    descriptor: str | None = Field(default=None, min_length=1, max_length=1_000_000)
    message: str | None = Field(default=None, pattern=MESSAGE_NAME, max_length=1000)
    registry: str | None = Field(default=None, min_length=1, max_length=250)
    schema_ids: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default_factory=list, max_length=1000)
    declared: dict[str, Column] = Field(alias="schema", min_length=1)
    appended: list[str] = Field(default_factory=list)
    event_time: EventTime

    @field_validator("topic")
    @classmethod
    def _free_name(cls, topic: str) -> str:
        if topic in (".", ".."):
            raise ValueError("Kafka reserves the names '.' and '..'")
        return topic

    _names_of_columns = field_validator("declared")(check_names)

    @property
    def envelope(self) -> Unwrap | None:
        """The envelope that records are in; None: they are in none."""
        return None

    @property
    def columns(self) -> dict[str, FeatureType]:
        """Columns of the topic with their types."""
        # Of one that is wrong, which is told there, the type is None.
        return {name: column.type if column else None for name, column in self.declared.items()}  # type: ignore[misc]

    @property
    def value_columns(self) -> dict[str, Column]:
        """Columns of the records' values: without those of keys and headers."""
        return {name: column for name, column in self.declared.items() if column is None or not column.is_beside}

    @property
    def beside_columns(self) -> dict[str, Column]:
        """Columns of the records' keys and headers."""
        return {name: column for name, column in self.declared.items() if column is not None and column.is_beside}

    @property
    def time_columns(self) -> list[str]:
        """The columns that say when something happened."""
        if self.event_time.expression is None:
            return [self.event_time.column] if self.event_time.column is not None else []
        from hopsworks_flink.pipeline.expressions import Expression

        return sorted(Expression.parse(self.event_time.expression, self.columns).columns)

    @property
    def has_key_column(self) -> bool:
        """Whether a column is the records' key."""
        return any(column.key for column in self.beside_columns.values())

    @property
    def has_names(self) -> bool:
        """Whether the fields of records have names: not those of plain Avro."""
        return self.format != "avro" or self.avro_schema is not None or self.registry is not None

    @property
    def protobuf_message(self) -> protobuf.Message | None:
        """What of a message of Protobuf is read; None: records are of another format."""
        if self.descriptor is None or self.message is None:
            return None
        return protobuf.parse_message(self.descriptor, self.message, self.value_columns, self.envelope)[0]

    def record_problems(self) -> Iterator[str]:
        """What is wrong between the settings of the records. Event time and columns that are wrong may be None."""
        if not self.declared:
            return
        yield from self._path_problems()
        yield from self._avro_problems()
        yield from self._protobuf_problems()
        yield from self._appended_problems()
        yield from self._event_time_problems()

    def _path_problems(self) -> Iterator[str]:
        if not self.value_columns:
            yield "schema needs a column of the records' values, beside those of keys and headers"
        if len(keys := [name for name, column in self.beside_columns.items() if column.key]) > 1:
            yield f"schema.{keys[1]}: {keys[0]} is the record's key already"
        named = [name for name, column in self.declared.items() if column and column.path is not None]
        if named and self.format == "avro" and not self.has_names:
            yield (
                f"schema.{named[0]}.path: a record of plain Avro is the columns in their order; give the schema that "
                "records were written with (avro_schema, or registry), or remove path"
            )
        yield from path_problems(self.declared, self.envelope)

    def _avro_problems(self) -> Iterator[str]:
        for name in ("framing", "avro_schema", "registry", "schema_ids"):
            protobuf_too = name in ("framing", "schema_ids") and self.format == "protobuf"
            if getattr(self, name) and self.format != "avro" and not protobuf_too:
                yield f"{name} is about Avro, and format is {self.format}; remove it"
                return
        if self.envelope is not None and not self.has_names:
            yield (
                "unwrap reads an envelope by the names of its fields, which plain Avro has not; give the schema that "
                "records were written with (avro_schema, or registry)"
            )
        if self.registry is not None:
            if self.avro_schema is not None:
                yield "registry and avro_schema both say what records were written with; remove one of them"
            if self.framing is None:
                yield "registry: the schemas' ids stand in front of the records; add framing: confluent"
        if self.schema_ids and (self.registry is not None or self.framing is None):
            yield "schema_ids is for framing without a registry; remove it"
        if self.avro_schema is not None:
            try:
                schema = parse_schema(self.avro_schema)
            except ValueError as error:
                yield f"avro_schema {error}"
            else:
                yield from reading_problems(schema, self.value_columns, self.envelope)

    def _protobuf_problems(self) -> Iterator[str]:
        if self.format == "protobuf":
            yield from protobuf.reading_problems(self.descriptor, self.message, self.value_columns, self.envelope)
            return
        for name in ("descriptor", "message"):
            if getattr(self, name) is not None:
                yield f"{name} is about Protobuf, and format is {self.format}; remove it, or write format: protobuf"

    def _appended_problems(self) -> Iterator[str]:
        if not self.appended:
            return
        if self.format == "json":
            yield "appended is about plain Avro; a record of JSON may lack any column: remove it"
            return
        if self.has_names:
            yield "appended is about plain Avro; what a record's own schema lacks is null: remove it"
            return
        columns = list(self.value_columns)
        if self.appended != columns[1:][-len(self.appended) :]:
            yield (
                f"appended must name the last columns of schema in their order, and not all; it has "
                f"{', '.join(self.appended)}, and schema ends with {', '.join(columns[-len(self.appended) :])}"
            )
        if self.event_time is not None and self.event_time.column in self.appended:
            yield f"appended: every record needs the column {self.event_time.column!r}, which event_time reads"

    def _event_time_problems(self) -> Iterator[str]:
        if self.event_time is None:
            return
        if self.event_time.expression is not None:
            if problem := self._time_expression_problem(self.event_time.expression):
                yield f"event_time.expression: {problem}"
            return
        if (column := self.event_time.column) is None:
            return
        if column not in self.columns:
            yield f"event_time.column {column!r} is not in schema, which has {', '.join(self.columns)}"
            return
        declared = self.columns[column]
        if declared is None:
            return
        if declared == TIMESTAMP:
            if "unit" in self.event_time.model_fields_set:
                yield f"event_time.unit is for integer columns, and {column!r} is timestamp; remove it"
        elif declared.name not in ("int", "bigint"):
            yield f"event_time.column {column!r} is {declared}; it must be bigint (or int), or timestamp"
        elif declared.name == "int" and self.event_time.unit != "seconds":
            yield (
                f"event_time.column {column!r} is int, too small for {self.event_time.unit} since 1970; "
                "declare it bigint"
            )

    def _time_expression_problem(self, text: str) -> str | None:
        def check(expression: Any) -> None:
            kind = expression.type
            # What whole numbers give may be a decimal without digits after the point.
            whole = kind is not None and (kind.is_integer or (kind.is_decimal and not kind.scale))
            if not whole and kind != TIMESTAMP:
                raise ValueError(f"must be bigint or timestamp, and is {kind or 'NULL'}: CAST it, such as to bigint")
            if kind == TIMESTAMP and self.event_time and "unit" in self.event_time.model_fields_set:
                raise ValueError("is timestamp, and event_time.unit is for integers; remove unit")

        return checked(text, self.columns, check)
