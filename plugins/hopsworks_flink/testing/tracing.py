"""What becomes of each event on its way to a feature group's windows, by the same DuckDB as `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.testing import evaluation, queries


class Stage(Enum):
    """How far an event comes."""

    REFUSED = "refused"
    DUPLICATE = "duplicate"
    WITHOUT_VERSION = "without version"
    LEFT_OUT = "left out"
    INCOMPLETE = "incomplete"
    COUNTED = "counted"


class Trace(NamedTuple):
    """One event's way.

    :param time: its event time, epoch milliseconds; None: refused.
    :param key: the group's key, in its order; None: the event is refused.
    :param lacks: the required feature that an incomplete one has not.
    """

    stage: Stage
    time: int | None = None
    key: tuple[Any, ...] | None = None
    lacks: str | None = None


def trace(
    pipeline: Pipeline,
    group: FeatureGroup,
    events: Sequence[Mapping[str, Any]],
    joined: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> list[Trace]:
    """Each event's way, in their order.

    :param events: as for `evaluate`, as is ``joined``.
    :raises PipelineError: as `evaluate`.
    :raises ConfigurationError: DuckDB is not installed.
    """
    source = pipeline.source
    joins = {name: join.model_copy(update={"required": False}) for name, join in source.join.items()}
    steps = (
        (Stage.DUPLICATE, source.model_copy(update={"where": None, "join": joins, "deduplicate": None})),
        (Stage.WITHOUT_VERSION, source.model_copy(update={"where": None, "join": joins})),
        (Stage.LEFT_OUT, source.model_copy(update={"where": None})),
        (Stage.COUNTED, source),
    )
    found = [Trace(Stage.REFUSED)] * len(events)
    what = f"pipeline {pipeline.name}: source"
    with evaluation.connect() as connection:
        evaluation.load(connection, pipeline, events)
        evaluation.load_versions(connection, pipeline, joined or {})
        # What passes one step and not the next has ended there.
        for stage, reached in steps:
            evaluation.execute(connection, queries.clean_events(pipeline.model_copy(update={"source": reached})), what)
            rows = evaluation.execute(connection, queries.passed(group), what)
            for arrival, time, *key in rows:
                found[arrival] = Trace(stage, time, tuple(key))
            if stage is Stage.COUNTED and group.required:
                for arrival, name in evaluation.execute(connection, queries.incomplete(pipeline, group), what):
                    found[arrival] = found[arrival]._replace(stage=Stage.INCOMPLETE, lacks=name)
            evaluation.execute(connection, f"DROP TABLE {queries.EVENTS}", what)
    return found
