"""What Airflow's database holds about a pipeline, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hopsworks_flink.health.status import Status


@dataclass(frozen=True)
class Dag:
    """One of a pipeline's DAGs.

    :param next_run: epoch seconds; None: it has no schedule, or is paused.
    """

    dag_id: str
    paused: bool
    next_run: float | None = None


@dataclass(frozen=True)
class Materialization:
    """The last materialization of a feature group.

    :param at: epoch seconds.
    :param rows: inserted and updated.
    :param verified: whether offsets prove that everything arrived.
    :param end: records of the topic at its beginning, over all partitions; all of them were brought over.
    """

    at: float
    rows: int
    verified: bool
    end: int | None = None


@dataclass(frozen=True)
class Known:
    """A pipeline as Airflow's database knows it.

    :param dag_id: of the DAG that supervises it.
    :param dags: verb (``deploy``, ``supervise`` …) -> DAG, as far as the user may read it.
    :param status: of the last look; None: there was none.
    :param deploying: whether a run of the deploying DAG runs or is queued.
    :param materialized: ``<group>_<version>`` -> its last materialization.
    """

    dag_id: str
    dags: Mapping[str, Dag]
    status: Status | None = None
    deploying: bool = False
    materialized: Mapping[str, Materialization] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.status.pipeline if self.status else self.dag_id.removesuffix("__supervise")


@dataclass(frozen=True)
class Deployment:
    """One run of the deploying DAG.

    :param at: epoch seconds of its begin; ``took``: seconds, None while it runs.
    :param state: Airflow's word.
    :param facts: what its task said: ``action``, ``job_id``, ``deployment_hash``, ``savepoint_path``, or ``text``.
    """

    run_id: str
    at: float
    state: str
    took: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """What a pipeline's page shows of the past.

    :param day: as `hopsworks_flink.health.status.day_after`.
    :param freshness: ``at``, ``seconds``, ``missed`` of each measurement.
    :param deployments: the newest first.
    :param audit: what the last audit found, as `AuditFeaturesOperator` returns it, and ``at``; empty: there was none.
    """

    day: Mapping[str, Any] = field(default_factory=dict)
    freshness: Sequence[Mapping[str, Any]] = ()
    deployments: Sequence[Deployment] = ()
    audit: Mapping[str, Any] = field(default_factory=dict)
