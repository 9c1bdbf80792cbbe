"""What a running job's state means, and whether a changed pipeline can go on with it. Pure.

Flink finds state by the shape of the job and by the layout of accumulators; what lies in the open windows means what
the file said when the events came. A change that touches one of the two wants to be rewarmed; everything else (ids,
descriptions, the watermark's delay, defaults, the stores that rows go to) leaves the state as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.aggregates import COUNTS, PAIRS, Aggregate
from hopsworks_flink.pipeline.spec.durations import milliseconds
from hopsworks_flink.pipeline.spec.source import WRITTEN, Join
from hopsworks_flink.pipeline.sql.events import is_running, needs_coordinates
from hopsworks_flink.pipeline.types import STRING

Outcome = Literal["keeps", "rewarms", "resets", "refused"]

# Settings that neither shape the job nor say what its windows hold.
_STATELESS_SOURCE = (
    "partitions",
    *WRITTEN,
    "replication",
    "schema",
    "appended",
    "max_disorder",
    "idle_timeout",
    "start",
    "on_decode_error",
)
_STATELESS_GROUP = (
    "description",
    "tags",
    "parents",
    "partition_key",
    "time_travel_format",
    "topic_name",
    "online_config",
    "statistics_config",
    "features",
    "event_time",
    "window_start",
    "order",
    "ttl",
    "upsert_if_newer",
    "online",
    "online_types",
    "offline",
)
_STATELESS_AGGREGATE = ("default", "type", "description")
# What native windows keep of an aggregate, and how: a number that each change of it raises.
_NATIVE_STATE = 3
# How sessions stand in the job, SQL's rows for each event, late events, duplicates and derived texts: numbers that each
# change of it raises.
_SESSIONS = 2
_RUNNING = 2
_LATE = 2
_DUPLICATES = 2
_TEXTS = 2
# These share one accumulator: count, mean and sum of squares (tried: Flink restores one from the other).
_ACCUMULATOR = dict.fromkeys(("stddev_samp", "stddev_pop", "var_samp", "var_pop"), "deviation")
# So do these, in Java.
_ACCUMULATOR |= dict.fromkeys(PAIRS, "pairs")

_SOURCE = "state_source"
_GROUPS = "state_groups"
_GROUP = "state_group."


@dataclass(frozen=True)
class StateSignature:
    """The parts of a pipeline that its job's state depends on, as digests.

    :param source: which events there are, and when they happened.
    :param groups: full name of each feature group → key, windows and accumulators; in the file's order. Of native
        windows two digests with a point between them: the second one is of the accumulators.
    """

    source: str
    groups: Mapping[str, str]

    def marks(self) -> dict[str, str]:
        """As marks of a job, which show in Flink: letters, digits and ``_ . -``."""
        order = _digest(list(self.groups))
        return {
            _SOURCE: self.source,
            _GROUPS: order,
            **{f"{_GROUP}{name}": digest for name, digest in self.groups.items()},
        }


def state_signature(pipeline: Pipeline) -> StateSignature:
    """Signature of a pipeline."""
    source = pipeline.source.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if pipeline.quarantine_topic:
        # Only whether there is the topic shapes the job: to and fro between decoders its state stays.
        source["refused"] = "quarantine"
    for name in _STATELESS_SOURCE:
        source.pop(name, None)
    if pipeline.late_topic:
        source["late"] = _LATE
    if pipeline.source.deduplicate:
        source["duplicates"] = _DUPLICATES
    if any(column.type == STRING for column in pipeline.source.derive.values()):
        source["texts"] = _TEXTS
    if pipeline.source.join:
        # One after the other: the events of each have the columns of those before.
        source["join"] = [[name, _versions(join)] for name, join in pipeline.source.join.items()]
    if pipeline.source.join or pipeline.source.deduplicate:
        # Events wait with all their columns.
        source["events"] = [[name, str(kind)] for name, kind in pipeline.source.columns.items()]
        source["beside"] = [pipeline.source.on_decode_error, needs_coordinates(pipeline)]
    if more := {name: column.more for name, column in pipeline.source.declared.items() if column.more}:
        # What a record says by them.
        source["columns"] = more
    return StateSignature(
        _digest(source), {group.full_name: _group(pipeline, group) for group in pipeline.feature_groups}
    )


def _versions(join: Join) -> dict[str, Any]:
    facts = join.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for name in _STATELESS_SOURCE:
        facts.pop(name, None)
    columns = [*join.by.values(), *join.taken.values(), *join.time_columns]
    facts["columns"] = {name: join.declared[name].model_dump(mode="json") for name in columns}
    # By their places, in state as well.
    return {**facts, "by": list(join.by.items()), "taken": list(join.taken.items())}


def _group(pipeline: Pipeline, group: FeatureGroup) -> str:
    facts = group.model_dump(mode="json", exclude_defaults=True)
    for name in _STATELESS_GROUP:
        facts.pop(name, None)
    if "on_empty" in facts:
        # Which row it is makes no difference, but SQL's rows wait with the word that they are empty where it is asked.
        columns, aggregates = pipeline.source.all_columns, group.aggregates.values()
        zeros = [one for one in aggregates if one.function not in COUNTS and one.zero_where_empty(columns)]
        # Where all features look back less far, windows of the whole length are made for that word alone.
        asked = bool(zeros) or all(group.length_of(one) < group.window.size for one in aggregates)
        facts["on_empty"] = group in pipeline.native_groups or (group.on_empty == "zero" and asked)
    if group.is_projection:
        # What rows are made of is no state; that there are some shapes the job.
        facts["projection"] = True
    read = _read(pipeline, group)
    if group.has_sessions:
        facts["sessions"] = _SESSIONS
    if is_running(pipeline, group):
        facts["running"] = _RUNNING
    if group.has_sessions or is_running(pipeline, group):
        # Events wait until their session ends, or leave the time before others, as rows of these.
        facts["rows"] = [name for name in pipeline.source.all_columns if name in {*group.key, *read}]
    facts["types"] = {name: _type(pipeline, name) for name in group.key}
    facts.pop("aggregates", None)
    accumulators = {name: _accumulator(aggregate, group) for name, aggregate in group.aggregates.items()}
    types = {name: _type(pipeline, name) for name in read}
    if group in pipeline.native_groups:
        # Found again by what they are, wherever they stand.
        kept = sorted(accumulators.values(), key=json.dumps)
        if group.is_joined:
            # Each that features look back at has a total of its own; rows may be of a longer one.
            looked_at = sorted(set(map(group.length_of, group.aggregates.values())), reverse=True)
            facts["lengths"] = [milliseconds(length) for length in (group.lengths if group.on_empty else looked_at)]
        return f"{_digest({**facts, 'native': _NATIVE_STATE})}.{_digest({'kept': kept, 'types': types})}"
    # Found again by their places, which are those of the registered features.
    return _digest({**facts, "accumulators": {"kept": list(accumulators.items()), "types": types}})


def _read(pipeline: Pipeline, group: FeatureGroup) -> set[str]:
    """The columns that a group's aggregates and their conditions name."""
    from hopsworks_flink.pipeline.expressions import Expression

    columns, found = pipeline.source.all_columns, set[str]()
    for aggregate in group.aggregates.values():
        found |= {*aggregate.columns, *(Expression.parse(aggregate.where, columns).columns if aggregate.where else ())}
    return found


def _accumulator(aggregate: Aggregate, group: FeatureGroup) -> dict[str, Any]:
    if aggregate.window == group.window.size:
        aggregate = aggregate.model_copy(update={"window": None})
    written = aggregate.model_dump()
    settings = {written: "*"} if isinstance(written, str) else written
    return {_ACCUMULATOR.get(key, key): value for key, value in settings.items() if key not in _STATELESS_AGGREGATE}


def _type(pipeline: Pipeline, column: str) -> str:
    return str(pipeline.source.all_columns[column])


def state_outcome(
    wanted: Mapping[str, str], running: Mapping[str, str] | None, *, fresh: bool = False
) -> tuple[Outcome, list[str]]:
    """What becomes of a job's state when another job takes its place. The one judge, for ``plan`` and deployments.

    :param wanted: marks of the new job; one that says nothing about its state (no pipeline's) is taken to fit.
    :param running: marks of the job that runs, or ran last; None: there is no such job.
    :param fresh: the deployment leaves the state behind (``state="fresh"``).
    :return: ``keeps``: the new job goes on with the state; ``rewarms``: it begins without, and reads again what its
        open windows need; ``resets``: it begins where the pipeline says. And why, sentence parts.
    """
    if running is None:
        return "resets", ["no job of this name is known"]
    if fresh:
        return "resets", ["state='fresh' leaves the state behind"]
    if _SOURCE not in wanted:
        return "keeps", []
    if _SOURCE not in running:
        return "rewarms", ["the job does not say what its state was made for: another tool or version deployed it"]
    found = [*_differences(wanted, running), *(f"{name} has other aggregates" for name in _regrouped(wanted, running))]
    return ("rewarms", found) if found else ("keeps", [])


def panes_go_on(wanted: Mapping[str, str], running: Mapping[str, str] | None) -> bool:
    """Whether a job that would better be rewarmed can go on with the state all the same.

    It can where nothing but aggregates of native windows has changed, which find their panes by what they are. A new
    one has no value in the windows that hold a pane from before, and is exact from the first whole window on.

    :param wanted: marks of the new job.
    :param running: marks of the job that runs, or ran last; None: there is no such job.
    """
    if running is None or _SOURCE not in wanted or _SOURCE not in running:
        return False
    return bool(_regrouped(wanted, running)) and not _differences(wanted, running)


def _regrouped(wanted: Mapping[str, str], running: Mapping[str, str]) -> list[str]:
    """Groups of native windows in which only the aggregates are others."""
    ours, theirs = _groups(wanted), _groups(running)
    return [name for name in ours if name in theirs and _only_aggregates(ours[name], theirs[name])]


def _only_aggregates(ours: str, theirs: str) -> bool:
    (windows, point, _), (others, _, _) = ours.partition("."), theirs.partition(".")
    return ours != theirs and bool(point) and windows == others


def _differences(wanted: Mapping[str, str], running: Mapping[str, str]) -> list[str]:
    ours, theirs = _groups(wanted), _groups(running)
    found = []
    if running[_SOURCE] != wanted[_SOURCE]:
        found.append("the source decides otherwise which events count, when they happened, or what is joined to them")
    for name, digest in ours.items():
        if name not in theirs:
            found.append(f"{name} is new")
        elif theirs[name] != digest and not _only_aggregates(digest, theirs[name]):
            found.append(f"{name} has another key, other windows, other accumulators or another engine")
    found += [f"{name} is gone" for name in theirs if name not in ours]
    if not found and running.get(_GROUPS) != wanted[_GROUPS]:
        found.append("the feature groups stand in another order")
    return found


def groups_written(marks: Mapping[str, str]) -> list[str]:
    """Full names of the feature groups that a job with these marks writes."""
    return list(_groups(marks))


def _groups(marks: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix(_GROUP): value for key, value in marks.items() if key.startswith(_GROUP)}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
