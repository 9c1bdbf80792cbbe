"""Where events come from: the topic, its columns, and what is made of them before they are aggregated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from hopsworks_flink.pipeline.spec.base import LONGEST_TOPIC, Model, Name, check_event_names
from hopsworks_flink.pipeline.spec.durations import Duration
from hopsworks_flink.pipeline.spec.problems import refuse
from hopsworks_flink.pipeline.spec.source.columns import Unwrap
from hopsworks_flink.pipeline.spec.source.expressions import expression_problem
from hopsworks_flink.pipeline.spec.source.join import Join
from hopsworks_flink.pipeline.spec.source.records import Records
from hopsworks_flink.pipeline.types import FeatureType, Type


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


class Source(Records):
    """The Kafka topic that events arrive on, as records of Avro, as JSON objects, or as messages of Protobuf.

    :param topic: name of the topic; also the subject of its schema.
    :param partitions: number of partitions when the topic is created.
    :param replication: replication factor when the topic is created.
    :param unwrap: ``debezium``: records are change events, of which the row after an insert or an update is the event;
        deletes are left out.
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

    partitions: int = Field(default=1, ge=1, le=10_000)
    replication: int = Field(default=1, ge=1, le=100)
    unwrap: Unwrap | None = None
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
    def envelope(self) -> Unwrap | None:
        """The envelope that records are in; None: they are in none."""
        return self.unwrap

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
    def registries(self) -> list[str]:
        """Airflow connections of the schema registries that its topic's records and those of joined topics need."""
        named = [self.registry, *(join.registry for join in self.join.values())]
        return list(dict.fromkeys(one for one in named if one is not None))

    def topics_on(self, broker: str) -> list[str]:
        """Topics that are read from one broker, the events' first.

        :param broker: ``source`` or ``feature_store``, as joins name it.
        """
        joined = [join.topic for join in self.join.values() if join.broker == broker]
        return [self.topic, *joined] if broker == "source" else joined

    @property
    def joined_groups(self) -> list[str]:
        """Feature groups whose rows are joined, by their names with version."""
        named = [join.feature_group for join in self.join.values()]
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
    def _not_ours(cls, topic: str) -> str:
        if topic.endswith("_onlinefs"):
            raise ValueError("topics ending in '_onlinefs' are read by the online feature store; choose another name")
        return topic

    _names_of_event_columns = field_validator("declared", "derive")(check_event_names)

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        refuse(self.problems())
        return self

    def problems(self) -> Iterator[str]:
        """What is wrong between the settings. Event time, columns and derived columns that are wrong may be None."""
        yield from self.record_problems()
        if self.declared:
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
                problems = (*join.record_problems(), *join.problems(known))
                yield from (f"join.{name}.{problem}" for problem in problems)
                known.update(join.types)

    @property
    def look_back(self) -> timedelta:
        """How much earlier events decide whether one counts."""
        return self.deduplicate.within if self.deduplicate is not None else timedelta(0)

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


def _type_of(derived: Derived | None) -> Any:
    return derived.type if derived else None
