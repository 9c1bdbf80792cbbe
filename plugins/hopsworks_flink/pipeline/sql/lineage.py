"""Which columns of the source topic and of joined ones a feature is made of: OpenLineage's column lineage. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline
from hopsworks_flink.pipeline.spec.aggregates import TIMES
from hopsworks_flink.pipeline.spec.source import Source


@dataclass(frozen=True)
class Origin:
    """One column that takes part in a feature.

    :param column: of the source.
    :param how: ``IDENTITY``, ``TRANSFORMATION`` or ``AGGREGATION``: its values are in the feature's; ``CONDITIONAL``:
        it decides which events count. The words are OpenLineage's.
    :param words: what is done with it.
    :param topic: joined to the source's that has it; None: the source's has.
    """

    column: str
    how: str
    words: str = ""
    topic: str | None = None

    @property
    def is_direct(self) -> bool:
        """Whether the feature's value is made of the column's."""
        return self.how != "CONDITIONAL"


def feature_origins(pipeline: Pipeline, group: FeatureGroup) -> dict[str, list[Origin]]:
    """Feature → columns of the schema, and of joined topics, that it is made of; of a count of events only those
    that decide.
    """
    source = pipeline.source
    made = _made_of(source)
    joined = {alias: (join.topic, of) for join in source.join.values() for alias, of in join.taken.items()}

    def origins(columns: Iterable[str], how: str, words: str = "") -> list[Origin]:
        places = [joined.get(one, (None, one)) for one in dict.fromkeys(one for name in columns for one in made[name])]
        return [Origin(column, how, words, topic) for topic, column in places]

    found: dict[str, list[Origin]] = {}
    for name in group.key:
        found[name] = origins([name], "IDENTITY" if name in source.columns else "TRANSFORMATION")
    for name, aggregate in group.aggregates.items():
        of_time = aggregate.function in TIMES
        made_of = event_time_columns(source) if of_time else aggregate.columns
        found[name] = origins(made_of, "AGGREGATION", aggregate.function)
        if of_time and aggregate.columns:
            found[name] += origins(aggregate.columns, "CONDITIONAL", f"{aggregate.column} IS NOT NULL")
        if aggregate.where is not None:
            found[name] += origins(_columns(aggregate.where, source), "CONDITIONAL", aggregate.where)
    for name, feature in group.features.items():
        named = feature.expression in source.all_columns
        same = named and feature.expression in source.columns and feature.type is None
        read = [feature.expression] if named else _columns(feature.expression, source)
        found[name] = origins(read, "IDENTITY" if same else "TRANSFORMATION", feature.expression)
    for name, time in group.times.items():
        words = "start of the window" if time is group.window_start else "time of the row"
        found[name] = origins(event_time_columns(source), "TRANSFORMATION", words)
    return {name: found[name] for name in group.feature_types(source.all_columns)}


def deciding_columns(pipeline: Pipeline, group: FeatureGroup) -> dict[str, list[str]]:
    """Columns that decide about all rows of a group: ``JOIN``, ``GROUP_BY``, ``WINDOW``, ``FILTER`` → columns."""
    source = pipeline.source
    made = _made_of(source)
    joins = {alias: list(join.by) for join in source.join.values() for alias in join.taken}
    for alias, columns in reversed(joins.items()):
        # Of a joined column the events' own decide.
        made = {**made, **{name: _instead(read, alias, columns) for name, read in made.items()}}
    by = {
        "JOIN": [column for join in source.join.values() for column in join.by],
        "GROUP_BY": [] if group.by_event else group.key,
        "WINDOW": [] if group.is_projection else event_time_columns(source),
        "FILTER": _columns(source.where, source) if source.where is not None else [],
    }
    found = {how: list(dict.fromkeys(one for name in names for one in made[name])) for how, names in by.items()}
    return {how: names for how, names in found.items() if names}


def event_time_columns(source: Source) -> list[str]:
    """What says when an event happened; none if that is the record's own timestamp."""
    if source.event_time.column is not None:
        return [source.event_time.column]
    return _columns(source.event_time.expression, source) if source.event_time.expression is not None else []


def _made_of(source: Source) -> Mapping[str, list[str]]:
    """Column, derived or not → columns of the schema that it is made of."""
    made = {name: [name] for name in source.joined_columns}
    for name, derived in source.derive.items():
        read = _columns(derived.expression, source)
        made[name] = list(dict.fromkeys(one for column in read for one in made.get(column, ())))
    return made


def _columns(expression: str, source: Source) -> list[str]:
    # The parser takes its time to import; most pipelines do without.
    from hopsworks_flink.pipeline.expressions import Expression

    return sorted(Expression.parse(expression, source.all_columns).columns)


def _instead(read: list[str], alias: str, columns: list[str]) -> list[str]:
    return [one for name in read for one in (columns if name == alias else [name])]
