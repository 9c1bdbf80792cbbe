"""How a deployment ends: its job becomes healthy, or the one before it is brought back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hopsworks_flink.clients.flink.jobs import NOT_FOUND, checkpoint_directory, derive_job_id, watermark_of
from hopsworks_flink.deployment.decision import Start
from hopsworks_flink.deployment.deployer import FlinkDeployment
from hopsworks_flink.deployment.desired import DeploymentResult, DesiredJob
from hopsworks_flink.deployment.record import Attempt, DeploymentMemory
from hopsworks_flink.deployment.rollout_steps import GoingBack, Outcome, Settling, consequence, is_hopeless
from hopsworks_flink.exceptions import (
    FlinkDeploymentRolledBack,
    FlinkError,
    FlinkJobFailed,
    FlinkRollbackFailed,
    FlinkSubmissionError,
    HopsworksFlinkError,
)


class Settlement:
    """Sees a deployment through, or undoes it, step by step: between two steps a job is watched, here or elsewhere.

    :param deployment: has converged, or is about to.
    :param how_to_resume: the call that starts the job from a savepoint, with ``{path}`` in it; for error messages.
    :param explain: what else than Flink knows about a job's failure, sentences for error messages; None: nothing.
    """

    def __init__(
        self,
        deployment: FlinkDeployment,
        how_to_resume: str,
        explain: Callable[[str], str | None] = lambda job_id: None,
    ) -> None:
        self._deployment = deployment
        self._hook = deployment.hook
        self._policy = deployment.policy
        self._log = deployment.log
        self._how_to_resume = how_to_resume
        self._explain = explain

    def converge(self) -> Settling:
        """As :meth:`FlinkDeployment.converge`; a program that does not start is undone like a job that fails.

        :return: what is to be watched now.
        :raises FlinkError: as there.
        """
        deadline = time.time() + self._policy.timeout
        try:
            result = self._deployment.converge()
        except FlinkSubmissionError as error:
            back = self._back_from(self._deployment.memory.attempt_begun, str(error))
            if back is None:
                raise
            return back
        return Settling("new", result.job_id, deadline, result)

    def undo(self, failure: str) -> Settling | None:
        """Bring back the job that was halted for something that then failed.

        :param failure: why, in words.
        :return: what is to be watched now; None if there is no copy of the job, or nobody knows what it left.
        :raises FlinkRollbackFailed: it could not be started again.
        """
        return self._back_from(self._deployment.memory.unfinished(), failure)

    def _back_from(self, attempt: Attempt | None, failure: str) -> Settling | None:
        previous = self._previous(attempt.replaced_hash) if attempt else None
        if attempt is None or previous is None or not attempt.path:
            return None
        self._log.error("%s", failure)
        return self._roll_back(attempt, previous, failure, "NOT_STARTED")

    def step(self, settling: Settling, outcome: Outcome) -> DeploymentResult | Settling:
        """Draw the consequence of a watch.

        :return: the deployment's result, or what is to be watched next.
        :raises FlinkDeploymentRolledBack: the new job was not healthy; the previous deployment runs again.
        :raises FlinkRollbackFailed: neither could be made to run.
        :raises FlinkJobFailed: the new job was not healthy and there is nothing to go back to.
        :raises FlinkError: an unhealthy job could not be started anew.
        """
        if settling.back is not None:
            raise gone_back(settling, outcome, self._deployment.memory, self._how_to_resume)
        result = settling.result
        assert result is not None
        previous = self._previous(result.replaced_hash) if result.own and outcome.verdict != "healthy" else None
        action = consequence(settling, outcome, previous is not None)
        if action == "prove":
            self._deployment.unproven_job_id = None
            self._prove(result)
            return result
        if action == "recover":
            self._log.warning("Job %s runs what is wanted, but %s.", result.job_id, outcome.reason)
            deadline = time.time() + self._policy.timeout
            result = self._deployment.restart(result.job_id, outcome.reason)
            return Settling("recovered", result.job_id, deadline, result)
        failure = self._failure(result, outcome)
        if action == "roll_back" and previous is not None:
            self._log.error("%s.", failure)
            attempt = Attempt(result.job_id, result.kept_state, result.replaced_job_id, result.replaced_hash)
            return self._roll_back(attempt, previous, failure, outcome.state)
        raise self._give_up(result, outcome, failure)

    def _prove(self, result: DeploymentResult) -> None:
        job_id = result.job_id
        attempt = Attempt(
            job_id,
            path=result.savepoint_path,
            watermark=watermark_of(self._hook.job_marks(job_id)),
            checkpoints=checkpoint_directory(job_id, self._hook.client.checkpoints(job_id)),
        )
        facts = {
            "job_id": result.job_id,
            "deployment_hash": result.deployment_hash,
            "savepoint_path": result.savepoint_path,
            "action": result.action,
        }
        desired = self._deployment.desired
        # While the task was deferred the files may have become others: what runs is what was submitted.
        snapshot = desired.snapshot() if desired.hash == result.deployment_hash else {}
        self._deployment.memory.prove(attempt, snapshot, facts)

    # --- a job that is not healthy ---------------------------------------------------------------------------------

    def _failure(self, result: DeploymentResult, outcome: Outcome) -> str:
        what = f"was not healthy within {self._policy.timeout:g} s" if outcome.verdict == "late" else "is not healthy"
        text = f"Job {result.job_id} ({result.job_name}) {what}: {outcome.reason}"
        cause = self._hook.failure(result.job_id) if outcome.state != NOT_FOUND else None
        text = f"{text} (cause: {cause})" if cause and cause not in text else text
        explained = self._explain(result.job_id) if outcome.state != NOT_FOUND else None
        return f"{text}. {explained.rstrip('.')}" if explained else text

    def _give_up(self, result: DeploymentResult, outcome: Outcome, text: str) -> FlinkError:
        if result.replaced_job_id:
            text += f". It replaced job {result.replaced_job_id}, whose state is kept in {result.kept_state}"
        elif result.savepoint_path:
            text += f". It was started from {result.savepoint_path}"
        if result.own and is_hopeless(outcome):
            self._cancel(result.job_id)
            text += ". It was cancelled"
            if path := result.kept_state or result.savepoint_path:
                text += f"; to start the job before it again: {self._how_to_resume.replace('{path}', path)}"
        return FlinkJobFailed(f"{text}.", result.job_id, outcome.state)

    def _previous(self, deployment_hash: str | None) -> DesiredJob | None:
        """The deployment to go back to, if it is the last healthy one and a copy of it is at hand."""
        snapshot = self._deployment.memory.healthy()
        if not snapshot or deployment_hash is None or snapshot.get("hash") != deployment_hash:
            return None
        if deployment_hash == self._deployment.desired.hash:
            return None
        return _rebuild(self._deployment.desired, snapshot, self._log)

    def _roll_back(self, attempt: Attempt, previous: DesiredJob, failure: str, state: str) -> Settling:
        """Start the previous deployment. Nothing computes until it runs, so all of this happens here and at once."""
        assert attempt.path is not None
        deployment, old = self._deployment, attempt.replaced_job_id
        job_id = derive_job_id(previous.job_name, previous.hash, attempt.job_id)
        back = GoingBack(previous.job_name, attempt.job_id, state, failure, previous.hash, attempt.path)
        settling = Settling("back", job_id, 0.0, back=back)
        try:
            self._cancel(attempt.job_id)
            watermark = watermark_of(self._hook.job_marks(old)) if old else None
            start = Start(attempt.path, f"the state that job {old} left", watermark=watermark)
            self._log.info("Rolling back to deployment %s from %s.", previous.hash[:12], attempt.path)
            deployment.submit(previous, job_id, start, back=True)
        except HopsworksFlinkError as error:
            raise _stranded(settling, str(error), self._how_to_resume) from error
        deployment.on_job(job_id)
        back = replace(back, watermark=watermark)
        return Settling("back", job_id, time.time() + self._policy.timeout, back=back)

    def _cancel(self, job_id: str) -> None:
        self._hook.cancel(job_id)
        self._hook.wait_until_ended(job_id, timeout=60.0, poll_interval=min(self._policy.poll_interval, 0.5))
        self._log.info("Cancelled job %s.", job_id)


def gone_back(settling: Settling, outcome: Outcome, memory: DeploymentMemory, how_to_resume: str) -> FlinkError:
    """How a roll-back ended. Needs nothing but Airflow's memory: what failed may be just what the operator needs.

    :param settling: in the phase ``back``.
    :param how_to_resume: see :class:`Settlement`.
    """
    back, job_id = settling.back, settling.job_id
    assert back is not None
    if consequence(settling, outcome, previous=True) == "stranded":
        return _stranded(settling, f"job {job_id} is not healthy: {outcome.reason}", how_to_resume)
    attempt = Attempt(job_id, path=back.path, watermark=back.watermark)
    memory.prove(attempt, memory.healthy() or {}, {"job_id": job_id, "action": "rolled_back"})
    return FlinkDeploymentRolledBack(
        f"{back.failure.rstrip('.')}. Rolled back: the previous deployment ({back.deployment_hash[:12]}) runs again "
        f"and is healthy, as job {job_id}, from {back.path}.",
        back.failed_job_id,
        back.failed_state,
        job_id,
    )


def _stranded(settling: Settling, why: str, how_to_resume: str) -> FlinkRollbackFailed:
    back = settling.back
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
