"""What the DAGs of a pipeline have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pendulum
from airflow.sdk import DAG

from hopsworks_flink.assets import feature_group_asset
from hopsworks_flink.operators.hopsworks import HopsworksMaterializeFeatureGroupOperator
from hopsworks_flink.pipeline.spec import FeatureGroup, Pipeline

RETRY_DELAY = pendulum.duration(seconds=30)


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
            **defaults,
            **given,
            "default_args": default_args,
            "tags": ["hopsworks", *tags, pipeline.name, *given.get("tags", ())],
        }
    )


def materialize_task(group: FeatureGroup) -> HopsworksMaterializeFeatureGroupOperator:
    """The task that materializes a feature group, in the DAG whose ``with`` is open."""
    return HopsworksMaterializeFeatureGroupOperator(
        task_id=f"materialize_{group.full_name}",
        name=group.name,
        version=group.version,
        outlets=[feature_group_asset(group.name, group.version)],
        # Runs of a backfill do not count against max_active_runs; two materializations must not overlap.
        max_active_tis_per_dag=1,
    )
