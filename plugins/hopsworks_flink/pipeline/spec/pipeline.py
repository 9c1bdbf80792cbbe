"""The pipeline file: one source topic, its event time, and the feature groups computed from it.

Validation happens here and in the parts' own modules, and only there; everything downstream may rely on it. Each
refusal names the place in the file, the value found and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.spec.base import HOPSWORKS_NAME, WINDOW_COLUMNS, Model, Name, Topic
from hopsworks_flink.pipeline.spec.durations import Duration, format_duration
from hopsworks_flink.pipeline.spec.files import read_bytes, read_text, shown_path
from hopsworks_flink.pipeline.spec.groups import FeatureGroup, Window
from hopsworks_flink.pipeline.spec.loading import load_yaml
from hopsworks_flink.pipeline.spec.paths import split_pattern
from hopsworks_flink.pipeline.spec.problems import describe, problem_lines, refuse, salvaged
from hopsworks_flink.pipeline.spec.source import Derived, EventTime, Source, protobuf
from hopsworks_flink.pipeline.spec.supervision import Supervision
from hopsworks_flink.pipeline.types import FeatureType

__all__ = [
    "HOPSWORKS_NAME",
    "LATE_COLUMNS",
    "MOST_PARALLEL",
    "WINDOW_COLUMNS",
    "Derived",
    "EventTime",
    "FeatureGroup",
    "History",
    "Name",
    "Pipeline",
    "Source",
    "Topic",
    "Window",
]

# What the late topic says about an event beside its columns: feature types as in a schema.
LATE_COLUMNS = {
    "lateness_ms": "bigint",
    "kafka_partition": "int",
    "kafka_offset": "bigint",
    "kafka_timestamp": "timestamp",
}
#: Flink cuts keyed state into 128 key groups or more when a job first starts, and none moves to a 129th subtask later.
MOST_PARALLEL = 128
#: The key that is reserved for the canary's events, by type of the key column.
RESERVED_KEYS: Mapping[str, str | int] = {"string": "__canary__", "bigint": -(2**63) + 1, "int": -(2**31) + 1}
# Decimals with more digits after the point become text such as 0E-8 in Python, which names record keys.
_LARGEST_KEY_SCALE = 6


class History(Model):
    """Files with past events, for recomputing what the topic does not hold any more.

    :param path: where they lie: a folder, a file or a pattern such as ``s3://bucket/events/*.parquet``.
    :param format: of the files, whose columns are those of the source's schema.
    :param header: whether the first line of each CSV file names its columns, which may then stand in any order.
    """

    path: str = Field(min_length=1)
    format: Literal["parquet", "csv", "json"] = "parquet"
    header: bool = False

    @field_validator("path")
    @classmethod
    def _printable(cls, path: str) -> str:
        if not path.isprintable() or path != path.strip():
            raise ValueError("must not hold blanks at its ends, line breaks or control characters")
        split_pattern(path)
        return path

    @model_validator(mode="after")
    def _header_of_csv(self) -> History:
        if self.header and self.format != "csv":
            raise ValueError(f"header is about CSV, and format is {self.format}; remove header")
        return self


def job_name_of(pipeline: str) -> str:
    """Name of the streaming job of a pipeline of this name."""
    return f"{pipeline}__features"


class Pipeline(Model):
    """A source topic and the feature groups that one streaming job computes from it.

    :param name: names the job and its DAGs, ``[a-z][a-z0-9_]*``, at most 63 characters.
    :param source: the topic with the events.
    :param feature_groups: what is computed; all of them share one job and one scan of the topic.
    :param engine: what computes the windows: ``native``, this package's operators, which take all groups but those that
        are `FeatureGroup.sql_only`; or ``sql``, Flink's SQL. Both give the same rows.
    :param parallelism: of the streaming job: a number of parallel subtasks, each of which needs a slot of the cluster,
        or ``partitions``: as many as the source topic has.
    :param history: files with past events; None: the topic itself is the history.
    :param freshness: how long it may take from an event until its features can be read online; None: not measured.
    :param supervision: what the running job is held to, and what happens when it breaks that.
    :param description: free text for people.
    """

    name: Name
    description: str = ""
    source: Source
    feature_groups: list[FeatureGroup] = Field(min_length=1)
    engine: Literal["native", "sql"] = "native"
    parallelism: Annotated[int, Field(ge=1, le=MOST_PARALLEL)] | Literal["partitions"] = 1
    history: History | None = None
    freshness: Duration | None = None
    supervision: Supervision = Field(default_factory=Supervision)

    @model_validator(mode="after")
    def _consistent(self) -> Pipeline:
        refuse([*self.problems(), *self._freshness_problems()])
        return self

    def problems(self) -> Iterator[str]:
        """What is wrong between the parts. Parts that are wrong themselves may be None."""
        seen: set[str] = set()
        columns = self.source.all_columns
        if self.source.partitions and self.job_parallelism > MOST_PARALLEL:
            yield (
                f"parallelism: source.partitions is {self.source.partitions}, and a job has at most {MOST_PARALLEL} "
                "subtasks of a kind; write a number"
            )
        for position, group in enumerate(self.feature_groups):
            at = f"feature_groups[{position}]"
            if group.name and group.full_name in seen:
                yield f"{at}: {group.name} version {group.version} is declared twice"
            seen.add(group.full_name)
            if not columns or None in self.source.join.values():
                continue
            yield from (f"{at}.{problem}" for problem in _column_problems(group, columns))
        if self.late_topic:
            for column in self.source.columns:
                if column in LATE_COLUMNS:
                    yield f"source.late: the topic has a column {column!r} of its own; rename the column, or write drop"

    def _freshness_problems(self) -> Iterator[str]:
        if self.freshness is None:
            return
        if self.freshness < timedelta(seconds=1):
            yield f"freshness is {format_duration(self.freshness)}; it must be 1s or more"
        if self.source.where is not None:
            yield (
                "freshness: source.where would leave the canary's event out, which has nothing but key and time; "
                "remove one of them"
            )
        elif names := [name for name, join in self.source.join.items() if join.required]:
            yield (
                f"freshness: the canary's event has no version in join.{names[0]}, which is required, and would be "
                "left out; remove one of them"
            )
        elif not self.canary_groups:
            yield (
                "freshness: it is measured in a feature group that is online, has event_time: window_end (or event, "
                "with features), and whose key is one column of source.schema of type "
                f"{', '.join(RESERVED_KEYS)}; there is none"
            )

    @property
    def job_parallelism(self) -> int:
        """Number of parallel subtasks of the streaming job."""
        return self.source.partitions if self.parallelism == "partitions" else self.parallelism

    @property
    def native_groups(self) -> list[FeatureGroup]:
        """Feature groups that are not computed by Flink's SQL."""
        return [group for group in self.feature_groups if self.engine == "native" and not group.sql_only]

    @property
    def native_windows(self) -> list[list[FeatureGroup]]:
        """These groups, together those of one key, windows and lengths, which are made once for all of them.

        However the file writes the windows: two operators that are the same would have one name for their state.
        """
        found: dict[tuple[object, ...], list[FeatureGroup]] = {}
        for group in self.native_groups:
            made = (group.window.pane, group.window.is_cumulating, group.emit, *group.lengths)
            found.setdefault((*group.key, *made), []).append(group)
        return list(found.values())

    @property
    def left_to_sql(self) -> dict[str, str]:
        """With ``engine: native`` the groups that Flink's SQL computes nevertheless, and why."""
        return {
            group.full_name: group.sql_only
            for group in self.feature_groups
            if self.engine == "native" and group.sql_only
        }

    @property
    def canary_groups(self) -> list[FeatureGroup]:
        """Feature groups in which a canary, an event under a reserved key, can be read online."""
        columns = self.source.columns
        return [
            group
            for group in self.feature_groups
            if group.online
            and self.source.is_ours
            and group.event_time
            and group.emit == "on_window"
            and (group.is_projection or group.window.gap is None)
            # Nothing tells which event has a wanted time by an expression.
            and self.source.event_time.expression is None
            and len(group.key) == 1
            and group.key[0] in columns
            and not self.source.beside_columns
            and group.key[0] != self.source.event_time.column
            and columns[group.key[0]].name in RESERVED_KEYS
        ]

    @property
    def job_name(self) -> str:
        """Name of the streaming job in Flink; the identity that deployments converge on."""
        return job_name_of(self.name)

    @property
    def consumer_group(self) -> str:
        """Consumer group that the job commits its offsets under, for people and monitoring."""
        return f"flink-{self.name}"

    @property
    def late_topic(self) -> str | None:
        """Topic for events behind the watermark; None if they are dropped."""
        return f"{self.name}_late" if self.source.late == "topic" else None

    @property
    def quarantine_topic(self) -> str | None:
        """Topic for records that cannot be decoded and events that are refused; None: they are not written."""
        return self.source.quarantine_topic

    def to_dict(self) -> dict[str, Any]:
        """The pipeline as JSON-safe data that `parse` reads back."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    @classmethod
    def from_yaml(cls, path: str | Path, folder: str | Path | None = None) -> Pipeline:
        """Read and validate a pipeline file.

        :param folder: the file must lie in it, also after following links; None: anywhere.
        :raises PipelineError: the file cannot be read, is not YAML, or says something that cannot be compiled. One line
            for each problem: place in the file, what is wrong, value found.
        """
        what = f"pipeline file {shown_path(path)}"
        try:
            text = read_text(path, folder)
        except ValueError as error:
            raise PipelineError(f"{what} cannot be read: {error}") from None
        try:
            loaded = load_yaml(text)
        except ValueError as error:
            raise PipelineError(f"{what} is not valid YAML: {error}") from None
        try:
            data = _with_descriptors(loaded.data, Path(path).parent, folder)
        except ValueError as error:
            raise PipelineError(describe(what, [*loaded.problems, str(error)])) from None
        return cls._validate(data, what, loaded.problems)

    @classmethod
    def parse(cls, pipeline: Pipeline | dict[str, Any] | str | Path) -> Pipeline:
        """Pipeline of any accepted form: itself, its data, or the path of its file.

        :raises PipelineError: as `from_yaml`.
        """
        if isinstance(pipeline, Pipeline):
            return pipeline
        if isinstance(pipeline, (str, Path)):
            return cls.from_yaml(pipeline)
        return cls._validate(pipeline, "pipeline")

    @classmethod
    def _validate(cls, data: Any, what: str, problems: Sequence[str] = ()) -> Pipeline:
        if not isinstance(data, dict):
            raise PipelineError(
                f"{what} must be a mapping with name, source and feature_groups, not {type(data).__name__}"
            )
        try:
            pipeline = cls.model_validate(data)
        except ValidationError as error:
            # A part that is wrong ends pydantic's work before the rules between the parts.
            lines = [*problems, *problem_lines(error), *cls._hidden_problems(data)]
            raise PipelineError(describe(what, lines)) from None
        if problems:
            raise PipelineError(describe(what, problems))
        return pipeline

    @classmethod
    def _hidden_problems(cls, data: Mapping[str, Any]) -> Iterator[str]:
        """All that breaks rules between settings, as far as these settings are valid by themselves."""
        source = salvaged(Source, data.get("source"), topic="", declared={}, event_time=None)
        yield from (f"source: {problem}" for problem in source.problems())
        given = data.get("feature_groups")
        groups = [
            salvaged(FeatureGroup, group, name="", key=[], **_stand_ins(group))
            for group in (given if isinstance(given, list) else ())
        ]
        for position, group in enumerate(groups):
            yield from (f"feature_groups[{position}]: {problem}" for problem in group.problems())
        yield from cls.model_construct(name="", source=source, feature_groups=groups).problems()


def _with_descriptors(data: Any, beside: Path, folder: str | Path | None) -> Any:
    """A file's data with the content of the descriptors that it names, which workers and jobs do without.

    :raises ValueError: one cannot be read, or is none; the text begins with its place in the file.
    """
    source = data.get("source") if isinstance(data, dict) else None
    if not isinstance(source, dict):
        return data

    def read(records: Any, where: str) -> Any:
        named = records.get("descriptor") if isinstance(records, dict) else None
        if not isinstance(named, str) or named.startswith(protobuf.CONTENT):
            return records
        shown = f"{where}.descriptor: {shown_path(named)}"
        if Path(named).is_absolute() or ".." in Path(named).parts:
            raise ValueError(f"{shown} must be relative to the pipeline file's folder, and lie in it")
        try:
            content = read_bytes(beside / named, beside if folder is None else folder, protobuf.MOST_BYTES)
        except ValueError as error:
            raise ValueError(f"{shown} cannot be read: {error}") from None
        message = records.get("message")
        try:
            shipped = protobuf.shipped(content, message if isinstance(message, str) else None)
        except ValueError as error:
            raise ValueError(f"{shown} {error}") from None
        return {**records, "descriptor": shipped}

    source = read(source, "source")
    if isinstance(joins := source.get("join"), dict):
        source = {**source, "join": {name: read(join, f"source.join.{name}") for name, join in joins.items()}}
    return {**data, "source": source}


def _stand_ins(group: Any) -> dict[str, Any]:
    """For what a group has, and may be wrong; what it lacks is told."""
    parts: dict[str, Any] = {"window": None, "aggregates": {}, "features": {}}
    return {name: value for name, value in parts.items() if isinstance(group, Mapping) and name in group}


def _column_problems(group: FeatureGroup, columns: Mapping[str, FeatureType]) -> Iterator[str]:
    """What is wrong with a group over these columns. Parts that are wrong themselves may be None."""
    for column in group.key:
        if problem := _key_problem(column, columns):
            yield f"key: {problem}"
    for feature, aggregate in group.aggregates.items():
        for problem in aggregate.problems(columns) if aggregate else ():
            yield f"aggregates.{feature}: {problem}"
    for feature, projection in group.features.items():
        if projection and (problem := projection.problem(columns)):
            yield f"features.{feature}: {problem}"
    yield from group.online_problems(columns)


def _key_problem(column: str, columns: Mapping[str, FeatureType]) -> str | None:
    if column not in columns:
        return f"column {column!r} is not in source.schema, which has {', '.join(columns)}"
    declared = columns[column]
    if declared is None:
        return None
    if declared.is_floating:
        return f"column {column!r} is {declared}; a key needs values that compare exactly"
    # Records are keyed as the feature store's own clients do it, by Python's str(): so that a key keeps its partition.
    if declared.name in ("binary", "timestamp"):
        return (
            f"column {column!r} is {declared}, whose text in a record key the feature store's clients do not "
            "agree on; use an integer or string column, or derive one"
        )
    if declared.is_decimal and declared.scale > _LARGEST_KEY_SCALE:
        return f"column {column!r} is {declared}; a key has at most {_LARGEST_KEY_SCALE} digits after the point"
    return None
