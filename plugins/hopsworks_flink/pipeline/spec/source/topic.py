"""Where events come from: the topic, its columns, and what is made of them before they are aggregated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from hopsworks_flink.pipeline.spec.base import LONGEST_TOPIC, MESSAGE_NAME, Model, Name, Topic, check_column_name
from hopsworks_flink.pipeline.spec.durations import Duration
from hopsworks_flink.pipeline.spec.problems import refuse
from hopsworks_flink.pipeline.spec.source import protobuf
from hopsworks_flink.pipeline.spec.source.avro import parse_schema, reading_problems
from hopsworks_flink.pipeline.spec.source.columns import Column, Unwrap, path_problems
from hopsworks_flink.pipeline.spec.source.event_time import EventTime
from hopsworks_flink.pipeline.spec.source.join import RECORDS, Join
from hopsworks_flink.pipeline.types import BOOLEAN, TIMESTAMP, FeatureType, Type


class Deduplicate(Model):
    """Which events count once, however often they are sent.

    :param by: columns of the schema that name an event: events that have the same values there, none of them null.
    :param within: how long after another one such an event may happen and be left out.
    """

    by: Annotated[list[str], WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1})]
    within: Duration

    @field_validator("by", mode="before")
    @classmethod
    def _one(cls, by: Any) -> Any:
        if not by:
            raise ValueError("must name a column, or several")
        return [by] if isinstance(by, str) else by


class Derived(Model):
    """A column computed from the event's other columns.

    :param expression: SQL over the columns of the schema and the derived columns before this one.
    :param type: what the value is cast to.
    """

    expression: str = Field(min_length=1, max_length=10_000)
    type: Type


class Source(Model):
    """The Kafka topic that events arrive on, as records of Avro, as JSON objects, or as messages of Protobuf.

    :param topic: name of the topic; also the subject of its schema.
    :param partitions: number of partitions when the topic is created.
    :param replication: replication factor when the topic is created.
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
    :param unwrap: ``debezium``: records are change events, of which the row after an insert or an update is the event;
        deletes are left out.
    :param declared: (``schema`` in the file) columns in the order of the Avro record, each nullable.
    :param appended: the last of the columns, which records of an older schema lack; such a record is read with null for
        what it ends before. For plain Avro; JSON records may lack any column.
    :param event_time: what says when an event happened.
    :param deduplicate: which events count once, however often they are sent; None: each event counts.
    :param join: topics with versions of what belongs to an event's key, by a name: their columns become the event's.
    :param derive: columns computed from these, in order.
    :param where: SQL condition; an event for which it is not true is left out, though it moves the watermark.
    :param max_disorder: how late an event may arrive behind the newest one and still count.
    :param max_future: how far an event's time may lie ahead of its Kafka timestamp before it is ignored.
    :param max_past: how far it may lie behind; None: any distance. Says nothing about files of a history, whose events
        have no Kafka timestamp.
    :param idle_timeout: after this time without events a partition no longer holds the watermark back.
    :param start: where a job without earlier state begins to read; not part of the job's identity.
    :param on_decode_error: what a record does that cannot be decoded: ``fail`` the job, which then names it, or go to
        ``quarantine``, the topic ``<topic>_quarantine``, while the job goes on.
    :param refused: what becomes of events without key or with a refused event time: ``drop``, or ``quarantine``.
    :param late: what becomes of events behind the watermark: ``drop``, or ``topic`` writes them to a topic as well.
    """

    topic: Topic
    partitions: int = Field(default=1, ge=1, le=10_000)
    replication: int = Field(default=1, ge=1, le=100)
    format: Literal["avro", "json", "protobuf"] = "avro"
    framing: Literal["confluent"] | None = None
    avro_schema: dict[str, Any] | None = None
    descriptor: str | None = Field(default=None, min_length=1, max_length=1_000_000)
    message: str | None = Field(default=None, pattern=MESSAGE_NAME, max_length=1000)
    registry: str | None = Field(default=None, min_length=1, max_length=250)
    schema_ids: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default_factory=list, max_length=1000)
    unwrap: Unwrap | None = None
    declared: dict[str, Column] = Field(alias="schema", min_length=1)
    appended: list[str] = Field(default_factory=list)
    event_time: EventTime
    deduplicate: Deduplicate | None = None
    join: dict[Name, Join] = Field(default_factory=dict, max_length=10)
    derive: dict[str, Derived] = Field(default_factory=dict)
    where: str | None = Field(default=None, min_length=1, max_length=10_000)
    max_disorder: Duration = timedelta(seconds=5)
    max_future: Duration = timedelta(hours=1)
    # A wrong unit puts events into 1970; whoever replays a decade keeps within it.
    max_past: Duration | None = timedelta(days=3650)
    idle_timeout: Duration | None = timedelta(seconds=30)
    start: Literal["earliest", "latest"] = "earliest"
    on_decode_error: Literal["fail", "quarantine"] = "fail"
    refused: Literal["drop", "quarantine"] = "drop"
    late: Literal["drop", "topic"] = "drop"

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
    def has_key_column(self) -> bool:
        """Whether a column is the records' key."""
        return any(column.key for column in self.beside_columns.values())

    @property
    def joined_columns(self) -> dict[str, FeatureType]:
        """Columns of the topic and those that are joined, with their types: what derived ones may name."""
        joined = {name: kind for join in self.join.values() if join for name, kind in join.types.items()}
        return {**self.columns, **joined}

    @property
    def all_columns(self) -> dict[str, FeatureType]:
        """Columns of the topic, joined and derived ones, with types: what keys, aggregates and conditions may name."""
        return {**self.joined_columns, **{name: _type_of(column) for name, column in self.derive.items()}}

    @property
    def has_names(self) -> bool:
        """Whether the fields of records have names: not those of plain Avro."""
        return self.format != "avro" or self.avro_schema is not None or self.registry is not None

    @property
    def registries(self) -> list[str]:
        """Airflow connections of the schema registries that its topic's records and those of joined topics need."""
        named = [self.registry, *(join.registry for join in self.join.values())]
        return list(dict.fromkeys(one for one in named if one is not None))

    @property
    def is_ours(self) -> bool:
        """Whether records can be written by what the file says: JSON and plain Avro."""
        if self.format == "protobuf":
            return False
        return self.avro_schema is None and self.framing is None and self.unwrap is None

    @property
    def quarantine_topic(self) -> str | None:
        """Topic for what does not count; None if such events are dropped and such records fail the job."""
        wanted = "quarantine" in (self.on_decode_error, self.refused)
        return f"{self.topic}_quarantine" if wanted else None

    @field_validator("topic")
    @classmethod
    def _topic(cls, topic: str) -> str:
        if topic in (".", ".."):
            raise ValueError("Kafka reserves the names '.' and '..'")
        if topic.endswith("_onlinefs"):
            raise ValueError("topics ending in '_onlinefs' are read by the online feature store; choose another name")
        return topic

    @field_validator("declared", "derive")
    @classmethod
    def _column_names(cls, columns: dict[str, Any]) -> dict[str, Any]:
        for name in columns:
            check_column_name(name)
        return columns

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        refuse(self.problems())
        return self

    def problems(self) -> Iterator[str]:
        """What is wrong between the settings. Event time, columns and derived columns that are wrong may be None."""
        if self.declared:
            yield from self._path_problems()
            yield from self._avro_problems()
            yield from self._protobuf_problems()
            yield from self._appended_problems()
            yield from self._event_time_problems()
            yield from self._duplicate_problems()
            yield from self._join_problems()
            yield from self._expression_problems()
        if self.on_decode_error == "quarantine" and self.refused == "drop" and "refused" in self.model_fields_set:
            yield "refused: drop contradicts on_decode_error: quarantine, which writes both; remove it"
        if self.quarantine_topic and len(self.quarantine_topic) > LONGEST_TOPIC:
            yield f"topic is too long for its quarantine topic, {self.quarantine_topic!r}"
        if self.max_future <= timedelta(0):
            yield "max_future must be positive, e.g. 1h"
        if self.max_past is not None and self.max_past <= timedelta(0):
            yield "max_past must be positive, e.g. 3650d, or null for events of any age"
        kafkas = self.event_time is not None and self.event_time.is_kafka_timestamp
        if self.max_past is not None and kafkas and "max_past" in self.model_fields_set:
            yield "max_past compares event time and Kafka timestamp, which are the same here; remove it"
        if self.idle_timeout is not None and self.idle_timeout <= timedelta(0):
            yield "idle_timeout must be positive, or null to wait for every partition"

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
        yield from path_problems(self.declared, self.unwrap)

    def _avro_problems(self) -> Iterator[str]:
        for name in ("framing", "avro_schema", "registry", "schema_ids"):
            protobuf_too = name in ("framing", "schema_ids") and self.format == "protobuf"
            if getattr(self, name) and self.format != "avro" and not protobuf_too:
                yield f"{name} is about Avro, and format is {self.format}; remove it"
                return
        if self.unwrap is not None and not self.has_names:
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
                yield from reading_problems(schema, self.value_columns, self.unwrap)

    def _protobuf_problems(self) -> Iterator[str]:
        if self.format == "protobuf":
            yield from protobuf.reading_problems(self.descriptor, self.message, self.value_columns, self.unwrap)
            return
        for name in ("descriptor", "message"):
            if getattr(self, name) is not None:
                yield f"{name} is about Protobuf, and format is {self.format}; remove it, or write format: protobuf"

    @property
    def protobuf_message(self) -> protobuf.Message | None:
        """What of a message of Protobuf is read; None: records are of another format."""
        if self.descriptor is None or self.message is None:
            return None
        return protobuf.parse_message(self.descriptor, self.message, self.value_columns, self.unwrap)[0]

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

    def _duplicate_problems(self) -> Iterator[str]:
        if self.deduplicate is None:
            return
        if self.deduplicate.within <= timedelta(0):
            yield "deduplicate.within must be positive, e.g. 10m"
        for name in self.deduplicate.by:
            if name not in self.columns:
                yield f"deduplicate.by {name!r} is not in schema, which has {', '.join(self.columns)}"
            elif (kind := self.columns[name]) is not None and (kind.is_floating or kind.name == "binary"):
                yield f"deduplicate.by {name!r} is {kind}; it needs values that compare exactly"

    def _join_problems(self) -> Iterator[str]:
        known = dict(self.columns)
        for name, join in self.join.items():
            if join:
                problems = (*versions(join).problems(), *join.problems(known))
                yield from (f"join.{name}.{problem}" for problem in problems)
                known.update(join.types)

    @property
    def look_back(self) -> timedelta:
        """How much earlier events decide whether one counts."""
        return self.deduplicate.within if self.deduplicate is not None else timedelta(0)

    def _time_expression_problem(self, text: str) -> str | None:
        def check(expression: Any) -> None:
            kind = expression.type
            # What whole numbers give may be a decimal without digits after the point.
            whole = kind is not None and (kind.is_integer or (kind.is_decimal and not kind.scale))
            if not whole and kind != TIMESTAMP:
                raise ValueError(f"must be bigint or timestamp, and is {kind or 'NULL'}: CAST it, such as to bigint")
            if kind == TIMESTAMP and self.event_time and "unit" in self.event_time.model_fields_set:
                raise ValueError("is timestamp, and event_time.unit is for integers; remove unit")

        return _problem(text, self.columns, check)

    def _expression_problems(self) -> Iterator[str]:
        known = self.joined_columns
        if None in self.join.values():
            return  # what it would bring is not known
        for name, derived in self.derive.items():
            if name in self.columns:
                yield f"derive.{name}: a column of the schema has that name already"
            elif name in known:
                yield f"derive.{name}: a joined column has that name already; rename one, in join.….columns or here"
            elif derived and (problem := expression_problem(derived.expression, known, derived.type)):
                yield f"derive.{name}: {problem}"
            known[name] = _type_of(derived)
        if self.where is not None and (problem := expression_problem(self.where, known, None)):
            yield f"where: {problem}"


def versions(join: Join) -> Source:
    """How the records of a joined topic are read: a source of nothing but these."""
    return Source.model_construct(max_past=None, idle_timeout=None, **{name: getattr(join, name) for name in RECORDS})


def _type_of(derived: Derived | None) -> Any:
    return derived.type if derived else None


def expression_problem(text: str, columns: Mapping[str, FeatureType], kind: FeatureType | None) -> str | None:
    """What is wrong with an expression, or None.

    :param columns: those that it may read; None as the type of one that is wrong itself, which is told there.
    :param kind: what its value is cast to; None: it must be a condition.
    """

    def check(expression: Any) -> None:
        if kind is None:
            expression.expect(BOOLEAN)
        else:
            expression.cast(kind)

    return _problem(text, columns, check)


def _problem(text: str, columns: Mapping[str, FeatureType], check: Callable[[Any], None]) -> str | None:
    # The parser takes its time to import; files without expressions do without it.
    from hopsworks_flink.pipeline.expressions import Expression

    usable = {name: declared for name, declared in columns.items() if declared is not None}
    try:
        check(Expression.parse(text, usable))
    except ValueError as error:
        unclear = columns.keys() - usable.keys()
        return None if unclear.intersection(re.findall(r"\w+", text)) else str(error)
    return None
