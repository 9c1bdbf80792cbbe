"""From a pipeline and the ids that the platform gave to the plan of one Flink job, and the plan's identity."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hopsworks_flink.exceptions import HopsworksConflictError, PipelineError
from hopsworks_flink.pipeline.resources import features, written_type
from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.source import Join, Records
from hopsworks_flink.pipeline.sql import late, names, quarantine
from hopsworks_flink.pipeline.sql.aggregates import java_functions
from hopsworks_flink.pipeline.sql.events import Step, on_time, views
from hopsworks_flink.pipeline.sql.features import format_prefix, insert, sink_table, source_table, windows_placeholder
from hopsworks_flink.pipeline.sql.joins import join_registry, join_start, join_statements
from hopsworks_flink.pipeline.sql.native import window_steps
from hopsworks_flink.pipeline.sql.windows import ends_decide, joined_views
from hopsworks_flink.pipeline.types import avro_type, sql_literal

#: Header by which the platform tells the rows of the feature groups of one topic apart.
GROUP_HEADER = "featureGroupId"


@dataclass(frozen=True)
class FeatureGroupRef:
    """What the platform says about a registered feature group.

    :param project_id: id of the project that owns the feature store.
    :param feature_group_id: id of the feature group.
    :param name: name of the feature group.
    :param version: version of the feature group.
    :param topic: Kafka topic of its online ingestion.
    :param subject_id: id of the newest version of its Avro schema.
    :param avro_schema: that schema as JSON text.
    :param online_types: types of its online columns.
    """

    project_id: int
    feature_group_id: int
    name: str
    version: int
    topic: str
    subject_id: int
    avro_schema: str
    online_types: Mapping[str, str] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """Name with version: ``cards_1``."""
        return f"{self.name}_{self.version}"

    @property
    def headers(self) -> dict[str, str]:
        """Headers of each of its records, whoever writes them."""
        return {
            "projectId": str(self.project_id),
            GROUP_HEADER: str(self.feature_group_id),
            "subjectId": str(self.subject_id),
        }


class JobPlan(BaseModel):
    """What a job executes, without secrets and without values of a single run.

    :param format: version of this structure, checked by the runner.
    :param job_name: name of the job in Flink.
    :param runtime_mode: ``streaming`` or ``batch``; cannot be changed once the table environment exists.
    :param table_config: options set before the first statement.
    :param statements: tables and views, in order, as templates with ``${placeholders}``; what makes a view and is not
        SQL stands among them (see `hopsworks_flink.pipeline.sql.native`).
    :param inserts: one INSERT for each feature group, executed together as one statement set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    job_name: str
    runtime_mode: Literal["streaming", "batch"] = "streaming"
    table_config: dict[str, str]
    statements: list[str | Step]
    inserts: list[str]

    def to_json(self) -> str:
        """Stable text: equal plans give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def hash(self) -> str:
        """SHA-256 of `to_json`, 64 hexadecimal digits: the identity of what runs."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def compile_plan(pipeline: Pipeline, registered: Iterable[FeatureGroupRef]) -> JobPlan:
    """Plan of the streaming job.

    :param registered: the platform's view of every feature group of the pipeline, and of those whose rows are joined.
    :raises PipelineError: a feature group is not registered, or its registered schema is not the pipeline's.
    :raises HopsworksConflictError: the rows of a joined one are not as the join says.
    """
    source, statements, inserts = feature_statements(pipeline, pipeline.feature_groups, registered, record_headers)
    if pipeline.late_topic:
        statements += [late.late_step(pipeline), late.late_table(pipeline)]
        inserts.append(late.late_insert(pipeline))
    if pipeline.quarantine_topic:
        statements.append(quarantine.quarantine_table(pipeline))
        inserts.append(quarantine.quarantine_insert(pipeline))
    # A row for an event waits for the watermark, which comes every 200 ms by default.
    soon = any(group.emit == "on_event" for group in pipeline.feature_groups)
    return JobPlan(
        job_name=pipeline.job_name,
        table_config={
            **names.catalog(pipeline),
            "table.local-time-zone": "UTC",
            "pipeline.name": pipeline.job_name,
            **({"pipeline.auto-watermark-interval": "50 ms"} if soon else {}),
            # Chained operators hand rows on instead of copying them; none of Flink's SQL operators changes its input.
            "pipeline.object-reuse": "true",
        },
        statements=[source, *statements],
        inserts=inserts,
    )


def feature_statements(
    pipeline: Pipeline,
    groups: Sequence[FeatureGroup],
    registered: Iterable[FeatureGroupRef],
    headers: Callable[[FeatureGroup, FeatureGroupRef], Mapping[str, str]],
    *,
    bounded: bool = False,
) -> tuple[str, list[str | Step], list[str]]:
    """The source, tables and views in order, and one INSERT for each feature group: for stream and history.

    :param registered: the platform's view of the groups, and of those whose rows are joined.
    :param headers: record headers of a group.
    :param bounded: whether the statements run in batch mode.
    :raises PipelineError: as `compile_plan`.
    """
    by_name = {ref.full_name: ref for ref in registered}
    wanted = [*(group.full_name for group in groups), *pipeline.source.joined_groups]
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise PipelineError(
            f"pipeline {pipeline.name}: not registered in the feature store: {', '.join(missing)}. "
            "Create the feature groups first."
        )
    if bounded:
        _refuse_distinct_over_events(pipeline, groups)
        # In batch mode SQL's windows are as fast, and both give the same rows.
        pipeline = pipeline.model_copy(update={"engine": "sql"})
    for name, join in pipeline.source.join.items():
        if join.feature_group is not None:
            _check_joined(f"pipeline {pipeline.name}: source.join.{name}", join, by_name[join.feature_group])
    group_ids = {name: ref.feature_group_id for name, ref in by_name.items()}
    used = [aggregate for group in groups for aggregate in group.aggregates.values()]
    statements: list[str | Step] = [*java_functions(used)]
    if not bounded:
        statements += on_time(pipeline)
    statements += join_statements(pipeline, group_ids, bounded=bounded)
    statements += [*views(pipeline, groups, bounded=bounded), *window_steps(pipeline)]
    inserts = []
    for group in groups:
        ref = by_name[group.full_name]
        order = _wire_order(pipeline, group, ref)
        statements += joined_views(pipeline, group, order)
        statements.append(sink_table(pipeline, group, ref.topic, order))
        inserts.append(insert(pipeline, group, headers(group, ref), order, bounded=bounded))
    return source_table(pipeline, bounded=bounded), statements, inserts


def _refuse_distinct_over_events(pipeline: Pipeline, groups: Sequence[FeatureGroup]) -> None:
    for group in groups:
        for feature, aggregate in group.aggregates.items():
            if group.emit == "on_event" and aggregate.function == "count_distinct":
                raise PipelineError(
                    f"pipeline {pipeline.name}: {group.full_name}.{feature}: Flink cannot compute count_distinct with "
                    "emit: on_event in batch mode; leave the group out"
                )


def record_headers(group: FeatureGroup, ref: FeatureGroupRef) -> dict[str, str]:
    """Headers by which the platform's consumers know what a record is; the ingestion id belongs to a single run."""
    headers = ref.headers
    if group.online:
        headers["onlineIngestionId"] = "${" + ingestion_placeholder(ref.full_name) + "}"
    if not group.online or not group.offline:
        headers["storage"] = "online" if group.online else "offline"
    if group.upsert_if_newer:
        headers["upsertIfNewer"] = "1"
    return headers


def is_row_of(headers: Mapping[str, bytes], feature_group_id: int) -> bool:
    """Whether a record with these headers is a row of the feature group: the topic may hold those of others."""
    return headers.get(GROUP_HEADER) == str(feature_group_id).encode()


def ingestion_placeholder(full_name: str) -> str:
    """Placeholder for a feature group's online ingestion id."""
    return f"online_ingestion_id_{full_name}"


def _wire_order(pipeline: Pipeline, group: FeatureGroup, ref: FeatureGroupRef) -> list[str]:
    """Feature names in the order of the registered schema, after checking that it is this group's schema."""
    expected = {feature.name: avro_type(feature.type) for feature in features(pipeline, group)}
    actual = {field["name"]: field["type"] for field in json.loads(ref.avro_schema)["fields"]}
    differences = [f"{name} is not registered" for name in expected if name not in actual]
    differences += [f"{name} is registered but not in the pipeline" for name in actual if name not in expected]
    differences += [
        f"{name} is registered as {json.dumps(actual[name])}, the pipeline makes {json.dumps(kind)}"
        for name, kind in expected.items()
        if name in actual and actual[name] != kind
    ]
    if differences:
        raise PipelineError(
            f"pipeline {pipeline.name}: feature group {group.full_name} is registered with other features: "
            f"{'; '.join(differences)}. Raise its version in the pipeline file, or restore the features."
        )
    return list(actual)


def _check_joined(where: str, join: Join, ref: FeatureGroupRef) -> None:
    """Refuse a join that cannot read the rows of its feature group."""
    fields = {field["name"]: field["type"] for field in json.loads(ref.avro_schema)["fields"]}
    # Features that are appended may be declared before the group has them.
    declared = {
        name: written_type(column)
        for name, column in join.value_columns.items()
        if name in fields or name not in join.appended
    }
    problems = [] if join.topic == ref.topic else [f"topic is {join.topic}, and its rows are in {ref.topic}"]
    if list(declared) != list(fields):
        problems.append(f"schema has {', '.join(declared)}, and its features are, in this order, {', '.join(fields)}")
    for name, kind in declared.items():
        held = fields.get(name, kind)
        if isinstance(held[-1], dict) and held[-1]["type"] in ("array", "map", "record"):
            held = ["null", "bytes"]  # as it stands in a row
        if held != kind:
            problems.append(f"{name} is registered as {json.dumps(fields[name])}, and schema says {json.dumps(kind)}")
    if problems:
        raise HopsworksConflictError(
            f"{where}: feature group {ref.full_name} cannot be read so: {'; '.join(problems)}. Correct the join."
        )


def bindings(
    pipeline: Pipeline,
    *,
    source_kafka: Mapping[str, str],
    sink_kafka: Mapping[str, str],
    ingestion_ids: Mapping[str, int],
    begin: Begin | None = None,
    registries: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Values for the placeholders of a plan, and which of them are secret. JSON-safe; travels in the job's bundle.

    :param source_kafka: Java Kafka client properties for the source topic's broker.
    :param sink_kafka: the same for the online topic's broker.
    :param ingestion_ids: online ingestion id for each feature group with an online store, by full name.
    :param registries: address, authorization and CA of each schema registry that the topics need, by the name of its
        connection.
    :param begin: where the job begins to read and to emit; None: where the pipeline says, and everything.
    :raises PipelineError: an ingestion id is missing.
    """
    online = [group.full_name for group in pipeline.feature_groups if group.online]
    missing = [name for name in online if name not in ingestion_ids]
    if missing:
        raise PipelineError(f"pipeline {pipeline.name}: no online ingestion id for {', '.join(missing)}")
    values = {
        **begin_values(pipeline, begin or Begin()),
        "source_kafka": kafka_options(source_kafka),
        "sink_kafka": kafka_options(sink_kafka),
        **registry_values(pipeline, registries or {}),
        **{ingestion_placeholder(name): str(int(ingestion_ids[name])) for name in sorted(online)},
    }
    return {"values": values, "secrets": secret_values([source_kafka, sink_kafka, *(registries or {}).values()])}


def registry_values(pipeline: Pipeline, registries: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Values of the placeholders for the schema registries of the source and of joined topics.

    :param registries: as of `bindings`.
    :raises PipelineError: a topic has one of which nothing is known.
    """
    topics: dict[str, Records] = {"source_registry": pipeline.source}
    topics |= {join_registry(name): join for name, join in pipeline.source.join.items()}
    values = {}
    for placeholder, records in topics.items():
        if records.registry is None:
            continue
        if records.registry not in registries:
            raise PipelineError(f"pipeline {pipeline.name}: no address of the registry {records.registry!r}")
        options = {
            f"{format_prefix(records)}.registry.{name}": value
            for name, value in sorted(registries[records.registry].items())
        }
        values[placeholder] = ",\n  ".join(
            f"{sql_literal(key)} = {sql_literal(value)}" for key, value in options.items()
        )
    return values


@dataclass(frozen=True)
class Begin:
    """Where a job begins, as far as that is not in its state.

    :param offset: ``earliest`` or ``latest``; None: what the pipeline's source says.
    :param watermark: windows that ended until then are out and are not emitted again; epoch milliseconds.
    :param replay: read again what the windows after ``watermark`` need, for a job without state.
    """

    offset: Literal["earliest", "latest"] | None = None
    watermark: int | None = None
    replay: bool = False


def replay_since(pipeline: Pipeline, watermark: int) -> int:
    """Kafka timestamp of the first record that a replay needs; both in epoch milliseconds. See `begin_values`."""
    longest = max(group.reach for group in pipeline.feature_groups) + pipeline.source.look_back
    return max(0, watermark - milliseconds(longest + pipeline.source.max_future))


# Before every window: nothing is left out.
_ALL_WINDOWS = "0001-01-01 00:00:00.000"


def begin_values(pipeline: Pipeline, begin: Begin) -> dict[str, str]:
    """Values of the placeholders that say where the source begins, and with which window each feature group.

    With W the watermark, the windows that are not out yet start at or after W - size and need every event from there
    on. Their records may carry a Kafka timestamp up to ``max_future`` earlier than the event's time, no more: events
    further ahead do not count. A lookup by timestamp finds the first record at or past it, and all later ones follow.
    The same events suffice for a window that grows, of which the steps up to W are out, and for the rows of events
    after W, which look back no further.

    Features of single events have no such bound: their rows are out as soon as an event is read, so which of those that
    are read again had theirs is not known. They are written again, the same as before.
    """
    if begin.replay and begin.watermark is None:
        raise PipelineError(f"pipeline {pipeline.name}: a replay needs a watermark")
    values = {}
    for group in pipeline.feature_groups:
        if group.is_projection:
            continue
        first = _ALL_WINDOWS
        if begin.watermark is not None:
            by_start = group.emit == "on_window" and not ends_decide(group)
            first = _timestamp(begin.watermark - (milliseconds(group.window.size) if by_start else 0))
        values[windows_placeholder(group.full_name)] = first
    mode = {"scan.startup.mode": f"{begin.offset or pipeline.source.start}-offset"}
    if begin.replay and begin.watermark is not None:
        since = replay_since(pipeline, begin.watermark)
        mode = {"scan.startup.mode": "timestamp", "scan.startup.timestamp-millis": str(since)}
    # Versions of any age may hold still.
    values |= {join_start(name): "'scan.startup.mode' = 'earliest-offset'" for name in pipeline.source.join}
    values["source_start"] = ",\n  ".join(f"{sql_literal(key)} = {sql_literal(value)}" for key, value in mode.items())
    return values


def _timestamp(epoch_milliseconds: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=epoch_milliseconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{epoch_milliseconds % 1000:03d}"


def kafka_options(properties: Mapping[str, str]) -> str:
    """Kafka client properties as lines of a table's WITH clause."""
    return ",\n  ".join(
        f"{sql_literal(f'properties.{key}')} = {sql_literal(value)}" for key, value in sorted(properties.items())
    )


# Kafka client properties, and settings of a registry, that may be shown: everything else is treated as a secret.
_PUBLIC = {
    "url",
    "ca",
    "bootstrap.servers",
    "client.id",
    "security.protocol",
    "sasl.mechanism",
    "sasl.login.callback.handler.class",
    "sasl.oauthbearer.token.endpoint.url",
    "ssl.endpoint.identification.algorithm",
    "ssl.keystore.type",
    "ssl.truststore.type",
}


def secret_values(clients: Sequence[Mapping[str, str]]) -> list[str]:
    """Values that must never be shown: the runner cuts them out of every error it passes on."""
    found = {value for client in clients for key, value in client.items() if key not in _PUBLIC and value}
    # A JAAS line holds the password or secret among other words; an error may quote the password alone.
    quoted = re.compile(r'(?:password|clientSecret)="((?:[^"\\]|\\.)+)"')
    found |= {secret for value in found for secret in quoted.findall(value)}
    return sorted(found, key=len, reverse=True)
