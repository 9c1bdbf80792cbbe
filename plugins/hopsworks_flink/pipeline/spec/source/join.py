"""A second, slowly changing source: what was known of an event's key when the event happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from hopsworks_flink.pipeline.spec.base import WINDOW_COLUMNS, FullName, check_event_names
from hopsworks_flink.pipeline.spec.problems import refuse
from hopsworks_flink.pipeline.spec.source.event_time import KAFKA_TIMESTAMP, EventTime
from hopsworks_flink.pipeline.spec.source.records import WRITTEN, Records
from hopsworks_flink.pipeline.types import FeatureType

_NAMES = {
    "type": ["string", "array", "object"],
    "items": {"type": "string"},
    "additionalProperties": {"type": "string"},
}
# What a source has and versions have not, and what to do.
_ELSEWHERE = {
    "unwrap": "change events are no versions: let the connector write the row alone (ExtractNewRecordState)",
    "idle_timeout": "a joined topic holds no watermark back, however long it is quiet; remove it",
    "deduplicate": "of versions since the same time the last one counts; remove it",
    "where": "write a condition over the joined columns in source.where",
    "derive": "write it in source.derive, where joined columns are known",
    "on_decode_error": "a version that cannot be decoded fails the job: else events would get an older one; remove it",
}


class Join(Records):
    """A topic with versions of what belongs to a key, such as a card's limit: an event gets the columns of the version
    that held at its time. A record without a value (a tombstone) says that from its Kafka timestamp on there is none.

    :param topic: name of the topic; compacted, or not. Nothing creates it.
    :param broker: where it is: on the broker of the ``source``'s topic, or of the ``feature_store``, such as another
        pipeline's feature group.
    :param feature_group: with its version (``limits_1``): versions are the rows of this feature group, and no other
        records of the topic; None: all of them are.
    :param event_time: since when a version holds; by default the record's Kafka timestamp.
    :param by: which version belongs to an event: the events' column and the topic's; a name alone where both are called
        so.
    :param chosen: (``columns`` in the file) what an event gets: its name for it and the topic's column; a
        name alone where both are the same. By default all columns but those of `by`.
    :param required: whether an event without a version is refused, as one without key is.
    """

    broker: Literal["source", "feature_store"] = "source"
    feature_group: FullName | None = None
    event_time: EventTime = EventTime.model_validate(KAFKA_TIMESTAMP)
    by: Annotated[dict[str, str], WithJsonSchema(_NAMES)] = Field(min_length=1)
    chosen: Annotated[dict[str, str], WithJsonSchema(_NAMES)] = Field(default_factory=dict, alias="columns")
    required: bool = False

    @model_validator(mode="before")
    @classmethod
    def _not_of_versions(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            refuse(f"{name}: {why}" for name, why in _ELSEWHERE.items() if name in data)
        return data

    @field_validator("by", "chosen", mode="before")
    @classmethod
    def _names(cls, names: Any) -> Any:
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return names
        if len(set(names)) < len(names):
            raise ValueError("a column is named twice")
        return dict(zip(names, names, strict=True))

    _joined_names = field_validator("chosen")(check_event_names)

    @model_validator(mode="after")
    def _consistent(self) -> Join:
        refuse(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        known = f"not in its schema, which has {', '.join(self.declared)}"
        for name in self.by.values():
            if name not in self.declared:
                yield f"by: {name!r} is {known}"
            elif (kind := self.declared[name].type).is_floating or kind.name == "binary":
                yield f"by: {name!r} is {kind}; it needs values that compare exactly"
        for name in self.chosen.values():
            if name not in self.declared:
                yield f"columns: {name!r} is {known}"
        if self.feature_group is not None:
            if self.broker != "feature_store":
                yield "feature_group: its topic is on the feature store's broker; add broker: feature_store"
            if others := [name for name in ("format", *WRITTEN) if getattr(self, name) not in ("avro", None, [])]:
                yield f"feature_group: its rows are plain Avro; remove {', '.join(others)}"
        if taken := [name for name in WINDOW_COLUMNS if name in self.taken]:
            yield (
                f"columns: the name {taken[0]!r} is taken by the window functions; list the columns that are wanted, "
                f"this one under another name: {{other: {taken[0]}}}"
            )
        if not self.taken:
            yield "columns: an event would get none; schema needs a column beside those of by"

    @property
    def taken(self) -> dict[str, str]:
        """What an event gets: its name for it, and the topic's column."""
        keys = self.by.values()
        return self.chosen or {name: name for name in self.declared if name not in keys}

    @property
    def types(self) -> dict[str, FeatureType]:
        """Types of what an event gets, by its names for it."""
        return {name: self.declared[column].type for name, column in self.taken.items() if column in self.declared}

    def problems(self, known: Mapping[str, FeatureType]) -> Iterator[str]:
        """What is wrong with it beside the columns of the events; None as the type of one that is wrong itself."""
        for name, column in self.by.items():
            if name not in known:
                yield f"by: {name!r} is no column of the events, which have {', '.join(known)}"
            elif known[name] is not None and known[name] != self.declared[column].type:
                yield (
                    f"by: {name!r} is {known[name]}, and {column!r} in its schema {self.declared[column].type}; "
                    "declare both as the same type"
                )
        for name, column in self.taken.items():
            if name in known:
                yield f"columns: the events have a column {name!r} already; give it another one: {{other: {column}}}"
