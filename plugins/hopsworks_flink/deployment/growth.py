"""Where a job resumes after its feature groups gained features, and what to remember for that. Pure, no I/O.

A new feature is a new accumulator, which is not in the old state: such a job begins without state, so that every value
is right, and goes on with the panes that native windows have where the topic no longer holds the events for that.

Rows that were written with a group's older schema, and not materialized before the group grew, never reach the offline
store. So all windows after the moment at which the last such job was stopped are computed once more, or for the first
time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hopsworks_flink.deployment.decision import DeploymentFacts, KnownDeployment, StartPolicy
from hopsworks_flink.exceptions import FlinkStateError

_WAYS_OUT = (
    "Give a time by which its windows have been emitted (state='rewarm' with rewarm_from=…, the end of its last window "
    "or earlier), or choose state='fresh'."
)


@dataclass(frozen=True)
class Growth:
    """Feature groups that grow, from before their job is stopped until its successor is healthy. JSON-safe.

    :param state: what the successor begins with, unless the task says otherwise; ``restore``: with the panes of the
        job that was stopped.
    :param watermark: windows ending by then have been emitted, in the older schemas; epoch milliseconds.
    :param groups: full name -> names of the features that it lacked.
    :param stage: how far it has come: from ``appending`` on, what the job before writes misses the offline store.
    :param materialized: full name -> how its rows of the older schema were materialized.
    """

    state: Literal["rewarm", "restore", "fresh"]
    watermark: int | None
    groups: Mapping[str, list[str]]
    stage: Literal["stopping", "appending", "appended"] = "stopping"
    materialized: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Growth:
        """Out of a store; keys of other versions are passed over."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})

    def to_json(self) -> dict[str, Any]:
        """The reverse of :meth:`read`."""
        return asdict(self)

    def policy(self, asked: StartPolicy) -> StartPolicy:
        """What the successor begins with; a savepoint, a beginning or a time that the task names goes first."""
        named = asked.savepoint_path or (asked.state == "rewarm" and asked.watermark is not None)
        if named or asked.state == "fresh":
            return asked
        watermark = self.watermark if self.state == "rewarm" else None
        return StartPolicy(self.state, None, watermark, asked.patience, asked.credentials)


def grow(
    groups: Mapping[str, list[str]],
    asked: StartPolicy,
    facts: DeploymentFacts,
    known: KnownDeployment | None,
    remembered: Growth | None,
    *,
    may_begin_anew: bool,
) -> Growth:
    """The growth to record before anything is touched.

    :param groups: full name -> names of the features that it lacks.
    :param facts: with the watermark of the job that runs, if it shows one.
    :param known: the last deployment, as Airflow remembers it.
    :param remembered: growth that was begun and not completed. Once features were appended, its watermark counts,
        also if a job that was brought back has come further: that one's rows miss the offline store.
    :param may_begin_anew: whether the running job has begun without state, has emitted nothing, and its source can be
        read from the beginning again.
    :raises FlinkStateError: it is not known which windows the job has emitted.
    """
    if remembered is not None and (remembered.stage != "stopping" or facts.watermark is None):
        stage: Any = "stopping" if remembered.stage == "stopping" else "appending"
        groups = {**remembered.groups, **groups}
        return Growth(remembered.state, remembered.watermark, groups, stage, remembered.materialized)
    if asked.state == "fresh":
        return Growth("fresh", None, groups)
    watermark = asked.watermark if asked.watermark is not None else facts.watermark
    if watermark is None and known is not None and not known.stable:
        watermark = known.watermark
    if watermark is not None:
        return Growth("rewarm", watermark, groups)
    if asked.savepoint_path or may_begin_anew or (not facts.jobs and known is None):
        return Growth("fresh", None, groups)
    lacking = "; ".join(f"{name} lacks {', '.join(features)}" for name, features in groups.items())
    raise FlinkStateError(
        f"{lacking}. The job has to compute its open windows again, but it is not known which windows it has emitted: "
        f"it does not run, or has seen no event yet. Nothing was touched. {_WAYS_OUT}"
    )
