"""What the DAGs of a pipeline have in common."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pendulum
from airflow.sdk import DAG, Param
from airflow.timetables.interval import CronDataIntervalTimetable

from hopsworks_flink._compat import literal
from hopsworks_flink.assets import feature_group_asset, offline_table_asset
from hopsworks_flink.operators.hopsworks import HopsworksMaterializeFeatureGroupOperator
from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline

RETRY_DELAY = pendulum.duration(seconds=30)

# Airflow checks the fields of a DAG with a schedule each time it parses it, and their schemas as well. Those of the
# newest draft are checked by eight schemas that refer to each other, ten times as slowly.
_DRAFT = "http://json-schema.org/draft-07/schema#"


def field(default: Any, **keywords: Any) -> Param:
    """A field of a trigger form.

    :param keywords: of the field's JSON Schema, draft 7.
    """
    return Param(default, **{"$schema": _DRAFT, **keywords})


def text_field(pattern: str, example: str, *, default: str | None = None, **keywords: Any) -> Param:
    """A field of a trigger form with a text.

    :param default: None: the field may be empty.
    :param pattern: what a text has to match.
    :param example: what is told of a text that does not match; JSON Schema's own words would be the pattern.
    :param keywords: of the field's JSON Schema.
    """
    wrong = {"type": "string", "not": {"pattern": pattern}}
    return _guarded(default, ["null", "string"] if default is None else "string", wrong, example, keywords)


def number_field(default: float | None, least: float, most: float, *, whole: bool = False, **keywords: Any) -> Param:
    """A field of a trigger form with a number.

    The form of Airflow 3 bends what is outside of ``minimum`` and ``maximum`` to the bound, without a word: it does not
    see these bounds, so the run is refused.

    :param default: None: the field may be empty.
    :param whole: whether it must be a whole number, also where ``default`` is none.
    """
    whole = whole or isinstance(default, int)
    kind = "integer" if whole else "number"
    example = f"a {'whole ' if whole else ''}number from {least:_} to {most:_}"
    outside = {"type": "number", "not": {"minimum": least, "maximum": most}}
    return _guarded(default, ["null", kind] if default is None else kind, outside, example, keywords)


def _guarded(default: Any, kind: Any, wrong: Mapping[str, Any], example: str, keywords: Mapping[str, Any]) -> Param:
    # What is wrong has to be the example, which it is not: "'…' was expected".
    return field(default, **{"type": kind, "if": wrong, "then": {"const": example}, **keywords})


@functools.cache
def intervals(cron: str) -> CronDataIntervalTimetable:
    """A schedule in UTC whose runs have the time between two of its moments as data interval: one for all pipelines.

    Of a plain cron string Airflow 3 makes intervals of zero length.
    """
    return CronDataIntervalTimetable(cron, timezone="UTC")


def pipeline_dag(
    pipeline: Pipeline,
    verb: str,
    doc: str | None,
    tags: Sequence[str],
    defaults: Mapping[str, Any],
    given: dict[str, Any],
) -> DAG:
    """A DAG named ``<pipeline>__<verb>``.

    :param doc: Markdown that Airflow shows with the DAG.
    :param defaults: arguments of the DAG.
    :param given: the caller's arguments of the DAG, which win; its ``default_args`` are merged, its ``tags`` added.
    """
    default_args = {"owner": "feature-platform", **defaults.get("default_args", {}), **given.get("default_args", {})}
    return DAG(
        **{
            "dag_id": f"{pipeline.name}__{verb}",
            "description": pipeline.description or None,
            "doc_md": doc,
            "start_date": pendulum.datetime(2025, 1, 1, tz="UTC"),
            "catchup": False,
            "max_active_runs": 1,
            # Runs of a paused DAG stay queued; where there is no schedule, each of them is one that somebody asked for.
            "is_paused_upon_creation": {**defaults, **given}.get("schedule") is not None,
            **defaults,
            **given,
            "default_args": default_args,
            "tags": ["hopsworks", *tags, pipeline.name, *given.get("tags", ())],
        }
    )


def as_written(value: Any) -> Any:
    """What a pipeline file says, as an argument of an operator: Airflow takes none of its texts for a template."""
    return literal(value)


def materialize_task(group: FeatureGroup) -> HopsworksMaterializeFeatureGroupOperator:
    """The task that materializes a feature group, in the DAG whose ``with`` is open."""
    return HopsworksMaterializeFeatureGroupOperator(
        task_id=f"materialize_{group.full_name}",
        name=group.name,
        version=group.version,
        inlets=[feature_group_asset(group.name, group.version)],
        outlets=[offline_table_asset(group.name, group.version)],
        # Runs of a backfill do not count against max_active_runs; two materializations must not overlap.
        max_active_tis_per_dag=1,
    )
