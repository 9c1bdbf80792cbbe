"""What follows from the watch over a deployment's job: a table of rules over plain data. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hopsworks_flink.clients.flink.jobs import NOT_FOUND
from hopsworks_flink.deployment.desired import DeploymentResult

#: Which job is watched: the deployment's, the same started again because it was not well, the previous deployment's.
Phase = Literal["new", "recovered", "back"]
Consequence = Literal["prove", "recover", "roll_back", "give_up", "rolled_back", "stranded"]


@dataclass(frozen=True)
class Outcome:
    """What the watch over a job came to.

    :param verdict: ``late``: neither healthy nor failed when time was up.
    :param reason: words for logs, with the root cause if there is one.
    :param state: Flink's state of the job; ``NOT_FOUND`` if Flink does not know it.
    """

    verdict: Literal["healthy", "failed", "late"]
    reason: str
    state: str


@dataclass(frozen=True)
class GoingBack:
    """A roll-back whose job has been submitted.

    :param job_name: of both jobs.
    :param failed_job_id: the job that was not healthy.
    :param failed_state: Flink's state of it.
    :param failure: why, in words.
    :param deployment_hash: of the deployment that is brought back.
    :param path: the state that it was started from.
    :param watermark: windows that ended until then are out; epoch milliseconds.
    """

    job_name: str
    failed_job_id: str
    failed_state: str
    failure: str
    deployment_hash: str
    path: str
    watermark: int | None = None


@dataclass(frozen=True)
class Settling:
    """A deployment whose job is being watched. JSON-safe, so that it outlives a deferral.

    :param job_id: the job that is watched.
    :param deadline: of the watch, epoch seconds.
    :param result: what the deployment had done; None if the roll-back is all there is to watch.
    :param back: set while a roll-back is watched.
    """

    phase: Phase
    job_id: str
    deadline: float
    result: DeploymentResult | None = None
    back: GoingBack | None = None

    @property
    def killable(self) -> bool:
        """Whether a killed task cancels the job: one that it has started, and never production that comes back."""
        return self.phase != "back" and self.result is not None and self.result.own

    def to_json(self) -> dict[str, Any]:
        """For a deferred task's memory."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Settling:
        """The reverse of :meth:`to_json`."""
        result, back = body["result"], body["back"]
        return cls(
            body["phase"],
            body["job_id"],
            body["deadline"],
            DeploymentResult(**result) if result else None,
            GoingBack(**back) if back else None,
        )


def consequence(settling: Settling, outcome: Outcome, previous: bool) -> Consequence:
    """What is to be done.

    - ``prove``: the job is healthy; remember it as what a later deployment goes back to.
    - ``recover``: it runs what is wanted but is not well, and this deployment has not started it: start it anew from
      its newest state. Done once.
    - ``roll_back``: bring the previous deployment back from the state that it left.
    - ``give_up``: there is nothing to go back to.
    - ``rolled_back``, ``stranded``: the previous deployment is healthy again, or is not.

    :param previous: whether a copy of the last healthy deployment is at hand, and it is the one that was replaced.
    """
    if settling.phase == "back":
        return "rolled_back" if outcome.verdict == "healthy" else "stranded"
    if outcome.verdict == "healthy":
        return "prove"
    result = settling.result
    if result is None or not result.own:
        return "recover" if settling.phase == "new" and outcome.verdict == "failed" else "give_up"
    # A JobManager that has forgotten the job may have forgotten everything: what runs is not known.
    if result.kept_state and previous and outcome.state != NOT_FOUND:
        return "roll_back"
    return "give_up"


def is_hopeless(outcome: Outcome) -> bool:
    """Whether a job is to be ended: one that is only slow may still get there, and the next try finds it."""
    return outcome.state != NOT_FOUND and (outcome.verdict == "failed" or outcome.state != "RUNNING")
