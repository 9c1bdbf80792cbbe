"""Recomputing a past interval: which records it needs, and the plan of the bounded job. Pure, no I/O.

An interval [start, end) stands for the windows that end in (start, end], and for the rows of the events of [start,
end). With windows of up to ``size`` these need events of [start - size, end). How an event's time and its record's
Kafka timestamp go together bounds what is read:

- never later than ``max_future`` before the event's time, as events further ahead do not count; so no record before
  ``start - size - max_future`` matters;
- earlier than ``end + arrival_margin + max_disorder``: so long the stream counts events, if the newest ones are
  delivered within ``arrival_margin`` after their time (producers' clocks that differ count as delay).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from hopsworks_flink.exceptions import ConfigurationError, PipelineError
from hopsworks_flink.pipeline.interval import Interval, longest_arrival
from hopsworks_flink.pipeline.plan import (
    Begin,
    FeatureGroupRef,
    JobPlan,
    begin_values,
    feature_statements,
    kafka_options,
    registry_values,
    secret_values,
)
from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.durations import format_duration, milliseconds
from hopsworks_flink.pipeline.sql import files as history_files
from hopsworks_flink.pipeline.sql import names
from hopsworks_flink.pipeline.sql.features import SOURCE_START
from hopsworks_flink.pipeline.sql.joins import join_start
from hopsworks_flink.pipeline.types import sql_identifier, sql_literal

#: The first version of the platform whose online store leaves out records marked ``storage=offline``.
FIRST_PLATFORM = (5, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def recomputable(pipeline: Pipeline) -> list[FeatureGroup]:
    """The feature groups that have a past: those with an event time in the offline store.

    Without an event time it keeps one row for each key, the newest: a row of the past would take its place.
    """
    return [group for group in pipeline.feature_groups if group.event_time and group.offline]


def select_groups(pipeline: Pipeline, names: Collection[str] | None) -> list[FeatureGroup]:
    """The feature groups to recompute.

    :param names: with version (``cards_1``); None: all that have a past.
    :raises PipelineError: there is no such group, it has no past, or no group has one.
    """
    able = {group.full_name: group for group in recomputable(pipeline)}
    if not able:
        raise PipelineError(
            f"pipeline {pipeline.name}: no feature group in the offline store has an event time. Without one only the "
            "newest row of a key is kept, and there is no past to recompute: add event_time under a new version."
        )
    if names is None:
        return list(able.values())
    if not names:
        raise PipelineError(f"pipeline {pipeline.name}: feature_groups is empty; name one of {', '.join(able)}")
    known = {group.full_name: group for group in pipeline.feature_groups}
    for name in names:
        if name not in able:
            why = "is not in the pipeline"
            if name in known:
                why = "is online only" if known[name].event_time else "has no event time, so it has no past"
            raise PipelineError(
                f"pipeline {pipeline.name}: feature group {name!r} {why}; those that can be recomputed: "
                f"{', '.join(able)}"
            )
    return [group for name, group in able.items() if name in names]


@dataclass(frozen=True)
class Reach:
    """Which records matter by their Kafka timestamps: from ``since`` (included) to ``until``, epoch milliseconds.

    :param warm_up: how long before the interval's start records are needed.
    """

    since: int
    until: int
    warm_up: timedelta


def reach(pipeline: Pipeline, groups: Iterable[FeatureGroup], interval: Interval, arrival_margin: timedelta) -> Reach:
    """Which records the windows of an interval need: see the module's text.

    :param arrival_margin: how long the delivery of an event to the topic may take, beyond ``max_disorder``.
    """
    warm_up = max(group.reach for group in groups) + pipeline.source.look_back + pipeline.source.max_future
    since = interval.start_ms - milliseconds(warm_up)
    arrival = longest_arrival(arrival_margin, pipeline.source.max_disorder)
    return Reach(max(0, since), interval.end_ms + milliseconds(arrival), warm_up)


@dataclass(frozen=True)
class PartitionHistory:
    """What a topic's partition still holds, and which part of it is to be read.

    :param low: offset of the first record that was not deleted; above 0 where some were.
    :param first: offset of the first record to read.
    :param end: offset after the last one.
    :param oldest: Kafka timestamp of the first record there is, milliseconds; None where there is none.
    """

    partition: int
    low: int
    first: int
    end: int
    oldest: int | None


def first_complete(partitions: Iterable[PartitionHistory], since: int, kept_since: int | None = None) -> int:
    """Kafka timestamp since which every partition holds its records, if that is later than ``since``; else 0.

    A partition that never lost a record holds what there was, however young its first record is.

    :param kept_since: records since then cannot have been deleted, milliseconds; None where the topic does not tell.
    :raises LookupError: an emptied partition tells nothing; the text names it.
    """
    earliest = 0
    for one in partitions:
        if not one.low:
            continue
        # An emptied partition shows no time: only the retention tells what it may have lost.
        known = one.oldest if one.oldest is not None else kept_since
        if known is None:
            raise LookupError(
                f"all records of partition {one.partition} (the first offset is {one.low}), and nothing tells their "
                "times"
            )
        if known > since:
            earliest = max(earliest, known)
    return earliest


def compacted(topic: str, policy: str) -> str:
    """Sentence about a topic that does not keep every record.

    :param policy: its ``cleanup.policy``.
    """
    return (
        f"Topic {topic} has cleanup.policy={policy}: of records with the same key it keeps the newest only, so events "
        "of its past are missing, and nothing tells which."
    )


def refuse_compacted(topic: str, policy: str | None, interval: Interval) -> None:
    """Refuse a topic that does not keep every record.

    :param policy: its ``cleanup.policy``, if that compacts.
    :raises ConfigurationError: it does.
    """
    if policy:
        raise ConfigurationError(
            f"{compacted(topic, policy)} The interval {interval} cannot be recomputed from it. Give the pipeline a "
            "history of files, or keep its events in a topic with cleanup.policy=delete. allow_deleted recomputes "
            "nevertheless: right only where no two events have the same key."
        )


def refuse_deleted(
    topic: str, partitions: Iterable[PartitionHistory], interval: Interval, needs: Reach, kept_since: int | None = None
) -> None:
    """Refuse an interval whose records are not all there any more.

    :param kept_since: records since then cannot have been deleted, milliseconds; None where the topic does not tell.
    :raises ConfigurationError: records were deleted that may be needed; the text names the earliest start possible.
    """
    try:
        earliest = first_complete(partitions, needs.since, kept_since)
    except LookupError as error:
        raise ConfigurationError(
            f"Topic {topic} has lost {error}: the interval {interval} may be incomplete. Set allow_deleted to "
            "recompute it nevertheless, or give the pipeline a history of files."
        ) from None
    if earliest:
        possible = datetime.fromtimestamp(earliest / 1000, timezone.utc) + needs.warm_up
        raise ConfigurationError(
            f"Topic {topic} does not hold what the interval {interval} needs any more: its first records are of "
            f"{_iso(earliest)}, needed are those since {_iso(needs.since)} ({format_duration(needs.warm_up)} before "
            f"the start, for the windows that begin before it). The earliest start possible is {possible.isoformat()}. "
            "Choose a later start, keep the topic's records longer (retention.ms), or give the pipeline a history of "
            "files."
        )


def refuse_deleted_meanwhile(topic: str, read: Mapping[str, Sequence[int]], lows: Mapping[int, int]) -> None:
    """Refuse the rows of a job that may not have found all records that it was to read.

    :param read: partition -> offset of the first record that was to be read, and the one after the last.
    :param lows: partition -> offset of the first record that is left, after the job.
    :raises ConfigurationError: records to read were deleted; the text names them.
    """
    lost = [
        f"partition {partition} begins at offset {low}, and was to be read from {first}"
        for partition, (first, end) in read.items()
        if first < end and (low := lows.get(int(partition), first)) > first
    ]
    if lost:
        raise ConfigurationError(
            f"Topic {topic} has lost records while the interval was recomputed: {'; '.join(lost)}. Nothing tells "
            "whether they were read before, so the rows that were written may be too small: do not materialize them. "
            "Recompute from a later start, keep the topic's records longer (retention.ms), or give the pipeline a "
            "history of files."
        )


def lost_versions(topic: str, partitions: Iterable[PartitionHistory]) -> str | None:
    """Sentence about a joined topic, one that deletes records, that does not hold every version any more; else None."""
    lost = [f"{one.low} of partition {one.partition}" for one in partitions if one.low]
    if not lost:
        return None
    return (
        f"Topic {topic} has lost its records before offset {', '.join(lost)}: the versions of keys that have not "
        "changed since. Keep them (cleanup.policy=compact, or retention.ms=-1), and write each key once more."
    )


def refuse_lost_versions(
    topic: str, partitions: Iterable[PartitionHistory], kept_since: int | None, interval: Interval, first: int
) -> None:
    """Refuse an interval whose events may lack the versions that held at their time.

    :param partitions: as for `lost_versions`; none of a topic that does not delete records.
    :param kept_since: versions that were replaced before then may have been compacted away, milliseconds; None: none.
    :param first: time of the first event that matters, milliseconds.
    :raises ConfigurationError: they may; the text says how to keep them.
    """
    lost = lost_versions(topic, partitions)
    if not lost and kept_since is not None and kept_since > first:
        lost = (
            f"Topic {topic} is compacted: versions that were replaced before {_iso(kept_since)} may be gone "
            "(min.compaction.lag.ms)."
        )
    if lost:
        raise ConfigurationError(
            f"{lost} The interval {interval} needs those since {_iso(first)}. Raise min.compaction.lag.ms if the topic "
            "is compacted. allow_deleted recomputes nevertheless: events before the first version that is left of "
            "their key then have none."
        )


def _iso(epoch_milliseconds: int) -> str:
    return (_EPOCH + timedelta(milliseconds=epoch_milliseconds)).isoformat()


def job_name(pipeline: Pipeline, interval: Interval) -> str:
    """Name of the bounded job in Flink; tells one interval from another."""
    start, end = (
        moment.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ") for moment in (interval.start, interval.end)
    )
    return f"{pipeline.name}__recompute__{start}__{end}"


def compile_recompute(
    pipeline: Pipeline,
    registered: Iterable[FeatureGroupRef],
    groups: Sequence[FeatureGroup],
    interval: Interval,
    partitions: Sequence[PartitionHistory] | None,
    joined: Mapping[str, Sequence[PartitionHistory]] | None = None,
) -> JobPlan:
    """Plan of the job that recomputes an interval: the stream's statements in batch mode, between two bounds.

    :param registered: the platform's view of ``groups``.
    :param partitions: which records of the topic to read; None: the pipeline's files are the history.
    :param joined: the same of each joined topic, by the join's name.
    :raises PipelineError: a group is not registered with the pipeline's features, or files cannot be its history.
    """
    read = pipeline if partitions is not None else history_files.readable(pipeline)
    source, statements, inserts = feature_statements(read, groups, registered, offline_headers, bounded=True)
    if partitions is not None:
        # The offsets are part of the plan and so of the job's identity: a retry follows a job only if it reads the
        # same.
        sources = [source.replace(SOURCE_START, _offsets(partitions))]
    else:
        first = interval.start_ms - milliseconds(max(group.reach for group in groups) + pipeline.source.look_back)
        sources = history_files.source_tables(read, source, first, interval.end_ms)
    for join, versions in (joined or {}).items():
        start = "${" + join_start(join) + "}"
        statements = [text.replace(start, _offsets(versions)) if isinstance(text, str) else text for text in statements]
    name = job_name(pipeline, interval)
    return JobPlan(
        job_name=name,
        runtime_mode="batch",
        table_config={**names.catalog(pipeline), "table.local-time-zone": "UTC", "pipeline.name": name},
        statements=[*sources, *statements],
        inserts=[_within(text, group, interval) for text, group in zip(inserts, groups, strict=True)],
    )


def offline_headers(group: FeatureGroup, ref: FeatureGroupRef) -> dict[str, str]:
    """Record headers of history: for the offline store only, so that serving keeps its newest values."""
    return {**ref.headers, "storage": "offline"}


def _offsets(partitions: Sequence[PartitionHistory]) -> str:
    """Options of the source table that bound it by offsets."""
    first = ";".join(f"partition:{one.partition},offset:{one.first}" for one in partitions)
    end = ";".join(f"partition:{one.partition},offset:{one.end}" for one in partitions)
    options = {
        "scan.startup.mode": "specific-offsets",
        "scan.startup.specific-offsets": first,
        "scan.bounded.mode": "specific-offsets",
        "scan.bounded.specific-offsets": end,
    }
    return ",\n  ".join(f"{sql_literal(key)} = {sql_literal(value)}" for key, value in options.items())


def _within(insert: str, group: FeatureGroup, interval: Interval) -> str:
    """The INSERT, its rows limited to those of the interval by the group's own event time."""
    target, _, query = insert.partition("\n")
    assert group.event_time is not None
    event_time, factor = sql_identifier(group.event_time.feature), group.event_time.per_millisecond
    start, end = interval.start_ms * factor, interval.end_ms * factor
    # A window belongs to the interval in which it is complete, an event to the one in which it happened.
    bounds = f"{event_time} > {start} AND {event_time} <= {end}"
    if group.by_event:
        bounds = f"{event_time} >= {start} AND {event_time} < {end}"
    return f"{target}\nSELECT * FROM (\n{query}\n)\nWHERE {bounds}"


def history_bindings(
    pipeline: Pipeline,
    *,
    source_kafka: Mapping[str, str],
    sink_kafka: Mapping[str, str],
    registries: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Values for the placeholders of a recompute's plan, and which of them are secret; as `plan.bindings`."""
    values = {
        **begin_values(pipeline, Begin()),
        "source_kafka": kafka_options(source_kafka),
        "sink_kafka": kafka_options(sink_kafka),
        **registry_values(pipeline, registries or {}),
    }
    return {"values": values, "secrets": secret_values([source_kafka, sink_kafka, *(registries or {}).values()])}


def check_platform(version: str | None) -> None:
    """Refuse a platform that would serve recomputed history online.

    :param version: as the platform says it, e.g. ``5.2.0``.
    :raises ConfigurationError: it is too old, or unreadable.
    """
    parts = str(version or "").replace("-", ".").split(".")[:2]
    try:
        found = tuple(int(part) for part in parts)
    except ValueError:
        found = ()
    wanted = ".".join(str(part) for part in FIRST_PLATFORM)
    if len(found) < 2:
        raise ConfigurationError(
            f"Hopsworks does not say its version ({version!r}); recomputing needs {wanted} or newer, as older ones "
            "write history into the online store as well."
        )
    if found < FIRST_PLATFORM:
        raise ConfigurationError(
            f"Hopsworks {version} is too old to recompute history: it does not know records for the offline store only "
            f"and would put old values online. Upgrade to {wanted} or newer."
        )
