"""A rollout: from a submitted job to a stable one, or to a rollback.

The next step follows from the job's health by pure rules, and is then carried out. Between two steps the job is
watched, on this worker or in the triggerer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from hopsworks_flink.clients.flink.jobs import (
    NOT_FOUND,
    checkpoint_directory,
    derive_job_id,
    topic_marks_of,
    watermark_of,
)
from hopsworks_flink.deployment.decision import Start
from hopsworks_flink.deployment.deployer import Deployer
from hopsworks_flink.deployment.desired import DeploymentResult, DesiredJob
from hopsworks_flink.deployment.record import Attempt, DeploymentRecord
from hopsworks_flink.exceptions import (
    FlinkDeploymentRolledBack,
    FlinkError,
    FlinkJobFailed,
    FlinkRollbackFailed,
    FlinkSubmissionError,
    HopsworksFlinkError,
)
from hopsworks_flink.health.gate import is_still_ending

#: Which job is watched: the deployment's, the same started again because it was not well, the previous deployment's.
Phase = Literal["new", "recovered", "back"]
Step = Literal["stable", "recover", "roll_back", "give_up", "rolled_back", "stranded"]


@dataclass(frozen=True)
class HealthResult:
    """How the watch over a job ended.

    :param verdict: ``late``: neither healthy nor failed when time was up.
    :param reason: words for logs, with the root cause if there is one.
    :param state: Flink's state of the job; ``NOT_FOUND`` if Flink does not know it.
    """

    verdict: Literal["healthy", "failed", "late"]
    reason: str
    state: str


@dataclass(frozen=True)
class Rollback:
    """A rollback whose job has been submitted.

    :param job_name: of both jobs.
    :param failed_job_id: the job that was not healthy.
    :param failed_state: Flink's state of it.
    :param failure: why, in words.
    :param deployment_hash: of the deployment that is brought back.
    :param path: the state that it was started from.
    :param watermark: windows ending by then have been emitted; epoch milliseconds.
    """

    job_name: str
    failed_job_id: str
    failed_state: str
    failure: str
    deployment_hash: str
    path: str
    watermark: int | None = None


@dataclass(frozen=True)
class Rollout:
    """A deployment whose job is being watched. JSON-safe, so that it outlives a deferral.

    :param job_id: the job that is watched.
    :param deadline: of the watch, epoch seconds.
    :param result: what the deployment had done; None in a rollback.
    :param back: set in a rollback.
    """

    phase: Phase
    job_id: str
    deadline: float
    result: DeploymentResult | None = None
    back: Rollback | None = None

    @property
    def killable(self) -> bool:
        """Whether a killed task cancels the job: one that it has started, and never production that comes back."""
        return self.phase != "back" and self.result is not None and self.result.own

    def to_json(self) -> dict[str, Any]:
        """For a task that defers."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Rollout:
        """The reverse of :meth:`to_json`."""
        result, back = body["result"], body["back"]
        return cls(
            body["phase"],
            body["job_id"],
            body["deadline"],
            DeploymentResult(**result) if result else None,
            Rollback(**back) if back else None,
        )


def next_step(rollout: Rollout, health: HealthResult, previous: bool) -> Step:
    """The next step of a rollout, from the job's health.

    - ``stable``: the job is healthy; remember it as what a later deployment goes back to.
    - ``recover``: it is the desired job but unhealthy, and this deployment has not started it, or it met tasks of a
      lost JobManager's job of the same id: start it again from its newest state. Done once.
    - ``roll_back``: bring the previous deployment back from the state that it left.
    - ``give_up``: there is nothing to go back to.
    - ``rolled_back``, ``stranded``: the previous deployment is healthy again, or is not.

    :param previous: whether a copy of the last healthy deployment is at hand, and it is the one that was replaced.
    """
    if rollout.phase == "back":
        return "rolled_back" if health.verdict == "healthy" else "stranded"
    if health.verdict == "healthy":
        return "stable"
    result = rollout.result
    if rollout.phase == "new" and health.verdict == "failed" and is_still_ending(health.reason):
        return "recover"
    if result is None or not result.own:
        return "recover" if rollout.phase == "new" and health.verdict == "failed" else "give_up"
    # A JobManager that has forgotten this job may have forgotten all: what runs is not known.
    if result.kept_state and previous and health.state != NOT_FOUND:
        return "roll_back"
    return "give_up"


def is_hopeless(health: HealthResult) -> bool:
    """Whether to cancel a job: one that is only slow may still become healthy, and the next try finds it."""
    return health.state != NOT_FOUND and (health.verdict == "failed" or health.state != "RUNNING")


class RolloutSteps:
    """Carries a rollout on, step by step, to its result or to a rollback.

    :param deployer: has converged, or is about to.
    :param how_to_resume: the call that starts the job from a savepoint, with ``{path}`` in it; for error messages.
    :param explain: what else than Flink knows about a job's failure, sentences for error messages; None: nothing.
    """

    def __init__(
        self,
        deployer: Deployer,
        how_to_resume: str,
        explain: Callable[[str], str | None] = lambda job_id: None,
    ) -> None:
        self._deployer = deployer
        self._hook = deployer.hook
        self._policy = deployer.policy
        self._log = deployer.log
        self._how_to_resume = how_to_resume
        self._explain = explain

    def converge(self) -> Rollout:
        """As :meth:`Deployer.converge`; a program that does not start is undone like a job that fails.

        :return: what is to be watched now.
        :raises FlinkError: as there.
        """
        deadline = time.time() + self._policy.timeout
        try:
            result = self._deployer.converge()
        except FlinkSubmissionError as error:
            back = self._back_from(self._deployer.record.attempt_begun, str(error))
            if back is None:
                raise
            return back
        except FlinkJobFailed as error:
            raise FlinkJobFailed(f"{self._with_cause(error.job_id, str(error))}.", error.job_id, error.state) from error
        return Rollout("new", result.job_id, deadline, result)

    def undo(self, failure: str) -> Rollout | None:
        """Bring back the job that was halted for something that then failed.

        :param failure: why, in words.
        :return: what is to be watched now; None if there is no copy of the job, or its state is unknown.
        :raises FlinkRollbackFailed: it could not be started again.
        """
        return self._back_from(self._deployer.record.unfinished(), failure)

    def _back_from(self, attempt: Attempt | None, failure: str) -> Rollout | None:
        previous = self._previous(attempt.replaced_hash) if attempt else None
        if attempt is None or previous is None or not attempt.path:
            return None
        self._log.error("%s", failure)
        return self._roll_back(attempt, previous, failure, "NOT_STARTED")

    def step(self, rollout: Rollout, health: HealthResult) -> DeploymentResult | Rollout:
        """Take the next step after a watch.

        :return: the deployment's result, or what is to be watched next.
        :raises FlinkDeploymentRolledBack: the new job was not healthy; the previous deployment runs again.
        :raises FlinkRollbackFailed: neither could be made to run.
        :raises FlinkJobFailed: the new job was not healthy and there is nothing to go back to.
        :raises FlinkError: an unhealthy job could not be started anew.
        """
        if rollout.back is not None:
            raise rollback_error(rollout, health, self._deployer.record, self._how_to_resume)
        result = rollout.result
        assert result is not None
        previous = self._previous(result.replaced_hash) if result.own and health.verdict != "healthy" else None
        action = next_step(rollout, health, previous is not None)
        if action == "stable":
            self._deployer.killable_job_id = None
            self._mark_stable(result)
            return result
        if action == "recover":
            self._log.warning("Job %s runs what is wanted, but %s.", result.job_id, health.reason)
            deadline = time.time() + self._policy.timeout
            result = self._deployer.restart(result.job_id, health.reason)
            return Rollout("recovered", result.job_id, deadline, result)
        failure = self._failure(result, health)
        if action == "roll_back" and previous is not None:
            self._log.error("%s.", failure)
            attempt = Attempt(
                result.job_id,
                result.kept_state,
                result.replaced_job_id,
                result.replaced_hash,
                marks=dict(self._deployer.desired.marks),
            )
            return self._roll_back(attempt, previous, failure, health.state)
        raise self._give_up(result, health, failure)

    def _mark_stable(self, result: DeploymentResult) -> None:
        job_id = result.job_id
        attempt = Attempt(
            job_id,
            path=result.savepoint_path,
            watermark=watermark_of(self._hook.job_marks(job_id)),
            checkpoints=checkpoint_directory(job_id, self._hook.client.checkpoints(job_id)),
            marks=self._hook.job_marks(job_id),
        )
        facts = {
            "job_id": result.job_id,
            "deployment_hash": result.deployment_hash,
            "savepoint_path": result.savepoint_path,
            "action": result.action,
        }
        desired = self._deployer.desired
        # While the task was deferred the files may have become others: what runs is what was submitted.
        snapshot = desired.snapshot() if desired.hash == result.deployment_hash else {}
        # First: whoever dies in between leaves a job that runs, and no growth for the next change to be rewarmed from.
        self._deployer.record.complete()
        self._deployer.record.mark_stable(attempt, snapshot, facts)

    # --- a job that is not healthy ---------------------------------------------------------------------------------

    def _failure(self, result: DeploymentResult, health: HealthResult) -> str:
        what = f"was not healthy within {self._policy.timeout:g} s" if health.verdict == "late" else "is not healthy"
        text = f"Job {result.job_id} ({result.job_name}) {what}: {health.reason}"
        return self._with_cause(result.job_id, text) if health.state != NOT_FOUND else text

    def _with_cause(self, job_id: str, text: str) -> str:
        """A sentence about a job, with what Flink and the pipeline know of its failure; without the last full stop."""
        text, cause = text.rstrip("."), self._hook.failure(job_id)
        text = f"{text} (cause: {cause})" if cause and cause not in text else text
        explained = self._explain(job_id)
        return f"{text}. {explained.rstrip('.')}" if explained else text

    def _give_up(self, result: DeploymentResult, health: HealthResult, text: str) -> FlinkError:
        if result.replaced_job_id:
            text += f". It replaced job {result.replaced_job_id}, whose state is kept in {result.kept_state}"
        elif result.savepoint_path:
            text += f". It was started from {result.savepoint_path}"
        if result.own and is_hopeless(health):
            self._cancel(result.job_id)
            text += ". It was cancelled"
            if path := result.kept_state or result.savepoint_path:
                text += f"; to start the job before it again: {self._how_to_resume.replace('{path}', path)}"
        return FlinkJobFailed(f"{text}.", result.job_id, health.state)

    def _previous(self, deployment_hash: str | None) -> DesiredJob | None:
        """The deployment to go back to, if it is the last healthy one and a copy of it is at hand."""
        snapshot = self._deployer.record.healthy()
        if not snapshot or deployment_hash is None or snapshot.get("hash") != deployment_hash:
            return None
        if deployment_hash == self._deployer.desired.hash:
            return None
        return _rebuild(self._deployer.desired, snapshot, self._log)

    def _roll_back(self, attempt: Attempt, previous: DesiredJob, failure: str, state: str) -> Rollout:
        """Start the previous deployment. Nothing computes until it runs, so all of this happens here and at once."""
        assert attempt.path is not None
        deployer, old = self._deployer, attempt.replaced_job_id
        job_id = derive_job_id(previous.job_name, previous.hash, attempt.job_id)
        back = Rollback(previous.job_name, attempt.job_id, state, failure, previous.hash, attempt.path)
        rollout = Rollout("back", job_id, 0.0, back=back)
        try:
            self._cancel(attempt.job_id)
            marks = self._hook.job_marks(old) if old else {}
            watermark = watermark_of(marks)
            # Its state is still that of the same topics.
            previous = replace(previous, marks={**previous.marks, **topic_marks_of(marks)})
            start = Start(attempt.path, f"the state that job {old} left", watermark=watermark)
            self._log.info("Rolling back to deployment %s from %s.", previous.hash[:12], attempt.path)
            job_id = deployer.submit(previous, job_id, start, back=True)
        except HopsworksFlinkError as error:
            raise _stranded(rollout, str(error), self._how_to_resume) from error
        deployer.on_job(job_id)
        back = replace(back, watermark=watermark)
        return Rollout("back", job_id, time.time() + self._policy.timeout, back=back)

    def _cancel(self, job_id: str) -> None:
        self._hook.cancel(job_id)
        self._hook.wait_until_ended(job_id, timeout=60.0, poll_interval=min(self._policy.poll_interval, 0.5))
        self._log.info("Cancelled job %s.", job_id)


def rollback_error(rollout: Rollout, health: HealthResult, record: DeploymentRecord, how_to_resume: str) -> FlinkError:
    """How a rollback ended. Needs nothing but the record: what failed may be just what the operator needs.

    :param rollout: in the phase ``back``.
    :param how_to_resume: see :class:`RolloutSteps`.
    """
    back, job_id = rollout.back, rollout.job_id
    assert back is not None
    if next_step(rollout, health, previous=True) == "stranded":
        return _stranded(rollout, f"job {job_id} is not healthy: {health.reason}", how_to_resume)
    snapshot = record.healthy() or {}
    attempt = Attempt(job_id, path=back.path, watermark=back.watermark, marks=snapshot.get("marks"))
    record.mark_stable(attempt, snapshot, {"job_id": job_id, "action": "rolled_back"})
    return FlinkDeploymentRolledBack(
        f"{back.failure.rstrip('.')}. Rolled back: the previous deployment ({back.deployment_hash[:12]}) runs again "
        f"and is healthy, as job {job_id}, from {back.path}.",
        back.failed_job_id,
        back.failed_state,
        job_id,
    )


def _stranded(rollout: Rollout, why: str, how_to_resume: str) -> FlinkRollbackFailed:
    back = rollout.back
    assert back is not None
    return FlinkRollbackFailed(
        f"{back.failure.rstrip('.')}. Rolling back failed too: {why.rstrip('.')}. The state of the previous deployment "
        f"lies in {back.path}; to resume: {how_to_resume.replace('{path}', back.path)}.",
        back.failed_job_id,
        back.failed_state,
        back.path,
    )


def _rebuild(desired: DesiredJob, snapshot: Mapping[str, Any], log: Any) -> DesiredJob | None:
    try:
        return desired.previous(snapshot)
    except HopsworksFlinkError as error:
        log.warning("The previous deployment cannot be brought back: %s", error)
        return None
