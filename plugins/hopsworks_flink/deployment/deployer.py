"""Brings a cluster to exactly one job of one name: carries out what `decision` decides, through the hook."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hopsworks_flink.clients.flink.jobs import (
    MARK_CREDENTIALS,
    MARK_HASH,
    MARK_OWNER,
    MARK_STATE,
    MARK_WATERMARK,
    MAX_IDS,
    OWNER,
    UNWELL_STATES,
    FlinkJob,
    cluster_mark_of,
    derive_job_id,
    identity_marks,
    newest,
    next_job_id,
    watermark_of,
)
from hopsworks_flink.clients.flink.submission import delete_left_bundles
from hopsworks_flink.deployment.decision import (
    WITH_PANES,
    Decision,
    DeploymentFacts,
    NoOp,
    Recover,
    Refuse,
    Replace,
    Start,
    StartPolicy,
    Submit,
    Wait,
    decide,
    marks_before,
    start_after,
    with_state,
)
from hopsworks_flink.deployment.desired import DeploymentPolicy, DeploymentResult, DesiredJob
from hopsworks_flink.deployment.record import Attempt, DeploymentRecord
from hopsworks_flink.deployment.restore import RestorePoints
from hopsworks_flink.exceptions import (
    FlinkAmbiguousJobError,
    FlinkDuplicateJobId,
    FlinkError,
    FlinkJobFailed,
    FlinkJobIdTaken,
    FlinkSavepointError,
    FlinkStateError,
    FlinkSubmissionError,
)
from hopsworks_flink.hooks.flink import FlinkHook

_MAX_ROUNDS = 3
# Nothing computes between the end of the old job and the start of the new one: look often.
_ENDING_POLL = 0.25
# A job that fails again and again runs for moments in between, in which it takes no savepoint.
_SETTLED_SECONDS = 10.0


class Deployer:
    """Converges on one job: looks, decides, acts, until exactly that job runs.

    :param record: what is known besides Flink.
    :param on_job: called with the job's id as soon as it is known.
    :param marks: further marks for the job's configuration (who deployed it).
    """

    def __init__(
        self,
        hook: FlinkHook,
        desired: DesiredJob,
        policy: DeploymentPolicy,
        *,
        log: Any,
        record: DeploymentRecord | None = None,
        on_job: Callable[[str], object] = lambda job_id: None,
        marks: Mapping[str, str] | None = None,
    ) -> None:
        self.hook = hook
        self.desired = desired
        self.policy = policy
        self.record = record or DeploymentRecord(desired.job_name)
        self.log = log
        self.on_job = on_job
        #: The job that this object has submitted and not yet seen healthy: what a kill may cancel.
        self.killable_job_id: str | None = None
        self._killed = False
        self._restore_points = RestorePoints(hook)
        self._marks = dict(marks or {})
        self._source_marks: Mapping[str, str] = {}
        self._hash = desired.hash
        self._deadline = 0.0
        #: The job that was seen restarting: since when, and when last; by the monotonic clock.
        self._unwell: tuple[str, float, float] | None = None
        self._failed_savepoints = 0

    def converge(self) -> DeploymentResult:
        """Bring the cluster to exactly one job with the desired hash; does not wait for its health.

        :raises FlinkAmbiguousJobError: more than one job of the name runs.
        :raises FlinkStateError: state is unavailable or does not fit, and a start without it was not requested.
        :raises FlinkSavepointError: the running job could not be stopped with a savepoint; it runs on.
        :raises FlinkSubmissionError: the job did not start; carries the savepoint of the one that it was to replace.
        :raises FlinkJobFailed: the running job neither recovered nor ended in time.
        """
        self._deadline = time.monotonic() + self.policy.timeout
        duplicates = 0
        last_reason = None
        while True:
            facts = self.look()
            decision = decide(self._hash, facts, self.record.known(), self._asked())
            if decision.reason != last_reason:
                self.log.info("%s: %s.", type(decision).__name__, decision.reason)
            last_reason = decision.reason
            try:
                result = self._act(decision, facts)
            except FlinkDuplicateJobId as error:
                # Another deployment was faster, or an earlier try's answer was lost: look at what is there now.
                duplicates += 1
                if duplicates >= _MAX_ROUNDS:
                    raise
                self.log.info("%s Looking again.", error)
                continue
            if result is not None:
                return self._begun(result)

    def _asked(self) -> StartPolicy:
        return replace(self.policy.start, credentials=self.desired.credentials, marks=self.desired.marks)

    # --- looking ---------------------------------------------------------------------------------------------------

    def look(self, watermark: bool = False) -> DeploymentFacts:
        """What Flink shows now, and what an ended job has left.

        :param watermark: of the job that runs; also if the deployment itself does not need it.
        """
        jobs = self.hook.jobs_named(self.desired.job_name)
        active = [job for job in jobs if not job.is_terminal]
        if len(active) == 1:
            return self._look_at(active[0], jobs, watermark)
        if active:
            return DeploymentFacts(jobs)
        self._unwell = None
        if jobs:
            jobs[0] = jobs[0].with_marks(self.hook.job_marks(jobs[0].job_id))
        wanted = self.policy.state in ("auto", "restore") and not self.policy.savepoint_path
        left = self._restore_points.by_ended(jobs, self.record.known()) if wanted else None
        attempt = self._unfinished(jobs[0] if jobs else None)
        return DeploymentFacts(jobs, left, attempt.watermark if attempt else None)

    def _unfinished(self, job: FlinkJob | None) -> Attempt | None:
        """The deployment that broke off with ``job``, or before it got further than that."""
        attempt = self.record.unfinished()
        if attempt is None or (job is not None and job.job_id not in (attempt.job_id, attempt.replaced_job_id)):
            return None
        return attempt

    def _look_at(self, job: FlinkJob, jobs: Sequence[FlinkJob], ask: bool) -> DeploymentFacts:
        job, unwell_for = self._settled(job)
        jobs = [job if other.job_id == job.job_id else other for other in jobs]
        left, watermark = None, None
        if job.state in UNWELL_STATES and unwell_for >= self.policy.patience:
            left = self._restore_points.by([job, *(other for other in jobs if other.is_terminal)])
        rewarm = with_state(self._asked(), job.marks).state == "rewarm" and self.policy.rewarm_from is None
        if ask or (rewarm and job.deployment_hash != self._hash):
            watermark = self.hook.emitted_until(job.job_id)
        nothing_emitted = rewarm and watermark is None and self.has_emitted_nothing(job)
        return DeploymentFacts(jobs, left, watermark, unwell_for, nothing_emitted)

    def has_emitted_nothing(self, job: FlinkJob) -> bool:
        """Whether a job without watermark began without state, at the beginning of its source."""
        if not self.desired.from_beginning or job.state != "RUNNING":
            return False
        restored = (self.hook.client.checkpoints(job.job_id).get("counts") or {}).get("restored", 0)
        return not restored and watermark_of(self.hook.job_marks(job.job_id)) is None

    def _settled(self, job: FlinkJob, failed: bool = False) -> tuple[FlinkJob, float]:
        """The job, RESTARTING until it has run for a while since; and for how many seconds it has been unwell.

        :param failed: it was found to fail just now, whatever its state is.
        """
        now = time.monotonic()
        _, since, last = self._unwell if self._unwell and self._unwell[0] == job.job_id else ("", now, -math.inf)
        if job.state == "RESTARTING" or failed:
            last = now
        elif job.state == "RUNNING" and now - last < _SETTLED_SECONDS:
            job = replace(job, state="RESTARTING")
        elif job.state not in UNWELL_STATES:
            self._unwell = None
            return job, 0.0
        self._unwell = (job.job_id, since, last)
        return job, now - since

    # --- acting ----------------------------------------------------------------------------------------------------

    def _act(self, decision: Decision, facts: DeploymentFacts) -> DeploymentResult | None:
        """Carry a decision out; None: look again."""
        if isinstance(decision, Refuse):
            kind = FlinkAmbiguousJobError if decision.ambiguous else FlinkStateError
            raise kind(f"{self.desired.job_name!r}: {decision.reason}")
        if isinstance(decision, NoOp):
            return self._adopt(decision)
        if isinstance(decision, Wait):
            if time.monotonic() > self._deadline:
                text = f"Nothing could be deployed within {self.policy.timeout:g} s: {decision.reason}."
                raise FlinkJobFailed(text, decision.job.job_id, decision.job.state)
            time.sleep(self.policy.poll_interval)
            return None
        if isinstance(decision, Replace):
            return self._replace(decision)
        return self._start(decision, facts)

    def _adopt(self, decision: NoOp) -> DeploymentResult:
        job_id, attempt = decision.job.job_id, self.record.attempt()
        result = DeploymentResult(job_id, self.desired.job_name, "none", self._hash, None, None, decision.reason)
        if attempt is None or attempt.job_id != job_id:
            return result
        self.log.info("An earlier try of this task has submitted job %s.", job_id)
        delete_left_bundles(self.hook.client)
        self.killable_job_id = job_id
        return replace(
            result,
            action="replaced" if attempt.replaced_job_id else "submitted",
            kept_state=attempt.path,
            replaced_job_id=attempt.replaced_job_id,
            replaced_hash=attempt.replaced_hash,
            own=True,
        )

    def _replace(self, decision: Replace) -> DeploymentResult | None:
        old = decision.job
        marks = self.hook.job_marks(old.job_id)
        watermark = watermark_of(marks)
        replay = decision.start if decision.start and decision.start.replay else None
        # A topic that is made anew under a running job is read by it; one in another cluster is not.
        before_this = cluster_mark_of(marks) if self._goes_on(decision.start) else {}
        try:
            self._source_marks = self.desired.check_start(decision.start, before_this)
        except FlinkStateError as error:
            if not decision.panes:
                raise
            self.log.warning("%s But %s.", error, WITH_PANES)
            decision = replace(decision, start=None, reason=f"{decision.reason}, which it cannot be; {WITH_PANES}")
            replay = None
            self._source_marks = self.desired.check_start(None, cluster_mark_of(marks))
        attempt, unstable = self._attempt_after(old, replay.watermark if replay else watermark)
        self.record.begin(attempt)
        try:
            kept = self._end(decision)
        except FlinkSavepointError as error:
            self._failed_savepoints += 1
            facts = self.hook.facts(job_id=old.job_id, restart_window=_SETTLED_SECONDS)
            if self._failed_savepoints >= _MAX_ROUNDS or (facts.all_running and not facts.restarts):
                raise
            self._settled(old, failed=True)
            self.log.warning("%s Job %s is %s and fails: looking again.", error, old.job_id, facts.state)
            return None
        start = decision.start
        if start is None or self._goes_on(start):
            start = Start(kept, f"the state of job {old.job_id}", watermark=watermark)
        elif start.path:
            start = replace(start, watermark=watermark)
        attempt = _with_state(attempt, unstable, kept, marks)
        self.record.begin(attempt)
        try:
            attempt = replace(attempt, job_id=self.submit(self.desired, attempt.job_id, start))
        except FlinkDuplicateJobId:
            raise
        except FlinkError as error:
            if kept is None:
                raise
            raise FlinkSubmissionError(
                f"{str(error).rstrip('.')}. Job {old.job_id} has been stopped for it and its state is kept in {kept}; "
                "the next try starts from there.",
                savepoint_path=kept,
            ) from error
        return self._result("replaced", attempt, start, f"{decision.reason}; {start.words}")

    def _attempt_after(self, old: FlinkJob, watermark: int | None) -> tuple[Attempt, Attempt | None]:
        """The deployment that follows a job, and that job's own if it was never healthy."""
        unstable = self._unfinished(old)
        if unstable and unstable.job_id != old.job_id:
            unstable = None
        attempt = Attempt(
            self._job_id(self._hash, old.job_id),
            replaced_job_id=old.job_id,
            # A job that was never healthy is not gone back to, but to the one before it.
            replaced_hash=unstable.replaced_hash if unstable else old.deployment_hash,
            watermark=watermark,
            marks=dict(self.desired.marks),
            predecessor=old.job_id,
        )
        return attempt, unstable

    def halt(self, job: FlinkJob, watermark: int | None) -> None:
        """Stop a running job with a savepoint; a later deployment, or a roll-back, knows of it.

        :param watermark: of the job; epoch milliseconds.
        :raises FlinkSavepointError: it could not be stopped; it runs on.
        """
        self._deadline = time.monotonic() + self.policy.timeout
        attempt, unstable = self._attempt_after(job, watermark)
        self.record.begin(attempt)
        kept = self._end(Replace(job, True, None, "halted"))
        self.record.begin(_with_state(attempt, unstable, kept, job.marks))

    def _end(self, decision: Replace) -> str | None:
        """End the job that is replaced; the state that it leaves, if any."""
        job = decision.job
        if decision.savepoint:
            path: str | None = self._stop(job)
            self.log.info("Stopped job %s; its state is in %s.", job.job_id, path)
            self._await_end(job.job_id)
            return path
        self.hook.cancel(job.job_id)
        self.log.info("Cancelled job %s.", job.job_id)
        return self._newest_state(job.job_id)

    def _newest_state(self, job_id: str) -> str | None:
        self._await_end(job_id)
        ended = [job for job in self.hook.jobs_named(self.desired.job_name) if job.job_id == job_id]
        return self.hook.restore_point(ended[0]).path if ended else None

    def _await_end(self, job_id: str) -> None:
        remaining = max(1.0, self._deadline - time.monotonic())
        self.hook.wait_until_ended(
            job_id, timeout=remaining, poll_interval=min(self.policy.poll_interval, _ENDING_POLL)
        )

    def _stop(self, job: FlinkJob) -> str:
        try:
            return self.hook.stop_with_savepoint(
                job.job_id,
                target_directory=self.policy.savepoint_directory,
                timeout=max(1.0, self._deadline - time.monotonic()),
                poll_interval=min(self.policy.poll_interval, _ENDING_POLL),
            )
        except FlinkError as error:
            raise FlinkSavepointError(
                f"Job {job.job_id} ({job.state}) is to be replaced, but could not be stopped with a savepoint: {error} "
                "Nothing was submitted. If it cannot recover, end it with FlinkStopJobOperator(mode='cancel'); the "
                "next deployment then starts from its newest checkpoint."
            ) from error

    def _goes_on(self, start: Start | None) -> bool:
        """Whether a job begins with the state of the one that it replaces."""
        return start is None or bool(start.path and start.path != self.policy.savepoint_path)

    def _start(self, decision: Submit | Recover, facts: DeploymentFacts) -> DeploymentResult:
        job = decision.job if isinstance(decision, Recover) else decision.predecessor
        start, unfinished = decision.start, self._unfinished(job)
        try:
            self._source_marks = self.desired.check_start(start, self._ended(decision, facts))
        except FlinkStateError as error:
            if decision.panes is None:
                raise
            self.log.warning("%s But %s.", error, WITH_PANES)
            start = decision.panes
        if isinstance(decision, Recover) and not decision.job.is_terminal:
            self.hook.cancel(decision.job.job_id)
            self.log.info("Cancelled job %s.", decision.job.job_id)
            newest_state = self._newest_state(decision.job.job_id)
            if start.path and newest_state and start.path != self.policy.savepoint_path:
                start = replace(start, path=newest_state)
        if start.path and start.watermark is None and job is not None:
            start = replace(start, watermark=watermark_of(self.hook.job_marks(job.job_id)))
        predecessor = job.job_id if job else self._forgotten()
        attempt = Attempt(
            self._job_id(self._hash, predecessor),
            path=(unfinished.path if unfinished else None) or start.path,
            replaced_job_id=unfinished.replaced_job_id if unfinished else None,
            replaced_hash=unfinished.replaced_hash if unfinished else None,
            watermark=start.watermark,
            marks=unfinished.marks if unfinished and unfinished.path else dict(self.desired.marks),
            predecessor=predecessor,
        )
        self.record.begin(attempt)
        self.log.info("To be %s%s.", start.words, f": {start.path}" if start.path else "")
        attempt = replace(attempt, job_id=self.submit(self.desired, attempt.job_id, start))
        action = "recovered" if isinstance(decision, Recover) else "submitted"
        return self._result(action, attempt, start, f"{decision.reason}; {start.words}")

    def _ended(self, decision: Submit | Recover, facts: DeploymentFacts) -> Mapping[str, str]:
        """Marks of the ended job whose state a new one goes on with because nobody said otherwise; else none."""
        running = isinstance(decision, Recover) and not decision.job.is_terminal
        if running or self.policy.state != "auto" or facts.left is None or decision.start.path != facts.left.path:
            return {}
        return marks_before(newest(facts.jobs), facts.left, self.record.known()) or {}

    def _forgotten(self) -> str | None:
        """The deployment before this one, where Flink has forgotten all of them: ids must not repeat.

        A retry answers as the try before did, so that it finds that one's job.
        """
        attempt, known = self.record.attempt(), self.record.known()
        return attempt.predecessor if attempt else known.job_id if known else None

    def restart(self, job_id: str, why: str) -> DeploymentResult:
        """End an unhealthy job and start the desired one from the newest state that it left.

        :raises FlinkStateError: it would leave none; it was not touched.
        """
        self._deadline = time.monotonic() + self.policy.timeout
        jobs = self.hook.jobs_named(self.desired.job_name)
        found = [job for job in jobs if job.job_id == job_id]
        if not found:
            return self.converge()
        left = self._restore_points.by([found[0], *(job for job in jobs if job.is_terminal and job.job_id != job_id)])
        if left.lost:
            raise FlinkStateError(
                f"Job {job_id} is not well ({why}), but was not touched: {left.origin}. Name a savepoint or retained "
                "checkpoint (savepoint_path=…), or start without state (state='fresh')."
            )
        return self._begun(
            self._start(Recover(found[0], start_after(left), f"job {job_id} is not well: {why}"), DeploymentFacts(jobs))
        )

    def submit(self, job: DesiredJob, job_id: str, start: Start, *, back: bool = False) -> str:
        """Submit a job; its id is then what a kill may cancel.

        :param back: the job is production that comes back: a kill must not touch it.
        :return: the id; another one than was asked for if foreign jobs have used that up.
        """
        for _ in range(MAX_IDS):
            try:
                self._submit(job, job_id, start, back)
                return job_id
            except FlinkJobIdTaken as error:
                taken, job_id = error, next_job_id(job_id)
                self.log.warning("%s The job gets the next id.", error)
                begun = self.record.attempt_begun
                if begun and not back:
                    self.record.begin(replace(begun, job_id=job_id))
        raise taken

    def cancel_unstable(self) -> None:
        """Cancel the job that was submitted, or is still being submitted, and is not healthy yet; no other."""
        self._killed = True
        job_id = self.killable_job_id
        if job_id is None:
            return
        if self.hook.is_job(job_id, self.desired.job_name, identity_marks(job_id)) is not False:
            self.log.info("Cancelling job %s.", job_id)
            self.hook.cancel(job_id)

    def _begun(self, result: DeploymentResult) -> DeploymentResult:
        if self._killed:
            # The kill was ahead of the job: Flink did not know it yet.
            self.cancel_unstable()
        self.on_job(result.job_id)
        return result

    def _submit(self, job: DesiredJob, job_id: str, start: Start, back: bool) -> None:
        self.log.info("Submitting %r as job %s.", job.job_name, job_id)
        bundle, own_marks = job.bundle_for(start)
        marks = {
            **self._marks,
            **own_marks,
            **({} if back else self._source_marks),
            MARK_HASH: job.hash,
            MARK_OWNER: OWNER,
            MARK_STATE: "restore" if back else start.policy if self.policy.state == "auto" else self.policy.state,
        }
        if job.credentials:
            marks[MARK_CREDENTIALS] = job.credentials
        if start.watermark is not None:
            marks[MARK_WATERMARK] = str(start.watermark)
        self.killable_job_id = None if back else job_id
        self.hook.run_python_job(
            bundle,
            job_name=job.job_name,
            job_id=job_id,
            jars=job.jars,
            arguments=job.arguments,
            parallelism=job.parallelism,
            savepoint_path=start.path,
            allow_non_restored_state=self.policy.allow_non_restored_state,
            flink_configuration=job.flink_configuration,
            marks=marks,
        )

    def _job_id(self, deployment_hash: str, predecessor_id: str | None) -> str:
        return derive_job_id(self.desired.job_name, deployment_hash, predecessor_id)

    def _result(self, action: str, attempt: Attempt, start: Start, reason: str) -> DeploymentResult:
        return DeploymentResult(
            attempt.job_id,
            self.desired.job_name,
            action,
            self._hash,
            start.path,
            attempt.replaced_job_id,
            reason,
            replaced_hash=attempt.replaced_hash,
            state=start.policy,
            rewarmed_at=start.watermark,
            kept_state=attempt.path,
            own=True,
        )


def _with_state(attempt: Attempt, unstable: Attempt | None, kept: str | None, marks: Mapping[str, str]) -> Attempt:
    """The attempt with the state to go back to, and what that was made for.

    :param unstable: the attempt that began the job before, if that was never healthy.
    :param kept: what that job has left; ``marks``: of it.
    """
    if unstable and unstable.path:
        return replace(attempt, path=unstable.path, marks=unstable.marks)
    return replace(attempt, path=kept, marks=dict(marks)) if kept else attempt
