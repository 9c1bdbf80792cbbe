"""Operator that materializes a feature group into the offline store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hopsworks_flink.clients.hopsworks.executions import FAILED, KILLED, NOT_FOUND, SUCCEEDED, Execution
from hopsworks_flink.clients.hopsworks.materialization import look
from hopsworks_flink.clients.hopsworks.progress import (
    Progress,
    newest_commit,
    rows_since,
    with_number_keys,
    with_text_keys,
)
from hopsworks_flink.deployment.record import Record
from hopsworks_flink.exceptions import HopsworksJobFailed
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.links import FeatureGroupLink, HopsworksExecutionLink
from hopsworks_flink.operators.hopsworks.base import HopsworksJobOperator
from hopsworks_flink.tasks import lineage
from hopsworks_flink.tasks.arguments import as_bool, as_float, as_int, as_text
from hopsworks_flink.tasks.links import HOPSWORKS_COLOUR
from hopsworks_flink.tasks.outlets import emit

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context
    from hopsworks_flink.clients.hopsworks.session import HopsworksSession

_RECORD = "hopsworks_executions"


class HopsworksMaterializeFeatureGroupOperator(HopsworksJobOperator):
    """Brings everything that a feature group's topic holds when the task begins into the offline store, and proves it.

    The task reads the topic's end offsets first. If an execution of the group's materialization job runs already, it
    waits for that one. Then it compares offsets: if everything is materialized, it starts nothing; otherwise it starts
    executions, one after the other (each takes a limited number of records), until everything is. An execution that
    succeeds without moving its offsets although records wait fails the task.

    How far a group is materialized is read from the standard output of the job's newest executions (lines
    ``startingOffsets: …`` and ``endingOffsets: …`` of Hopsworks' Python job). **Where they do not tell it** — the job
    of Hudi tables in Java, logs that were cleaned up — one execution is started and its success is believed: the
    result then says ``offsets_verified: false``, and a run that met its limit cannot be noticed.

    A retry waits for the execution that an earlier try has left running, and goes on from there.

    :param name: name of the feature group (templated).
    :param version: its version, from 1 (templated).
    :param max_executions: so many executions may be started to get everything; one more needed fails the task; default:
        20 (templated).
    :param wait_for_completion: whether to wait for the end of the execution that was started; without waiting only one
        is, and nothing is proved; default: true (templated).
    :param poll_interval: seconds between two looks; default: 5.
    :param timeout: seconds until the task gives up waiting; the execution goes on, and a retry waits for it. In a
        deferred task ``execution_timeout`` bounds the same time. Default: 3600.
    :param deferrable: wait in the triggerer, without a worker slot. Default: Airflow's setting
        ``[operators] default_deferrable``.
    :param cancel_on_kill: whether a kill of the task (marked failed, cleared, timed out on a worker) stops the
        execution that it has started; one that was running before never is. No harm comes from stopping: offsets are
        saved after the table. Default: true.
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :return: (XCom) ``execution_id`` (the last one followed, or the earlier one that left nothing to do),
        ``executions`` (started by this task), ``job_name``, ``state``, ``final_status``, ``end_offsets`` (partition →
        offset after the topic's last record when the task began), ``offsets`` (partition → ``before``, ``after``,
        ``end``; None where not known), ``offsets_verified``, and ``rows_inserted`` and ``rows_updated`` as the offline
        commits since then tell. Events of the task's outlets carry the same and ``window``, the run's data interval.
    :raises AirflowFailException: an argument or the connection is wrong, or there is no such group.
    :raises HopsworksJobFailed: an execution failed (its log is in the task's), did not move its offsets, or did not end
        in time.
    :raises HopsworksConnectionError: Hopsworks or its broker stayed away.
    """

    template_fields: Sequence[str] = ("name", "version", "max_executions", "wait_for_completion", "hopsworks_conn_id")
    operator_extra_links = (FeatureGroupLink(), HopsworksExecutionLink())
    ui_color = HOPSWORKS_COLOUR

    def __init__(self, *, name: str, version: int | str, max_executions: int | str = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.version = version
        self.max_executions = max_executions
        self._columns: list[tuple[str, str, str]] = []
        self._rows: int | None = None

    def begin(self, context: Context, work: dict[str, Any]) -> dict[str, Any]:
        """Read the topic's end offsets, and materialize up to them."""
        work.update(group_name=as_text(self.name, "name"), version=as_int(self.version, "version"), own=[], seen=None)
        as_int(self.max_executions, "max_executions")
        return self._converge(context, work)

    def go_on(self, context: Context, work: dict[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
        """Record the end of the execution, and go on until the end offsets are reached."""
        FeatureGroupLink().persist(context, self, work["group_url"])
        self._take(work, event)
        return self._converge(context, work)

    def get_openlineage_facets_on_start(self) -> Any:
        """Feature group and offline table."""
        return lineage.of_materialization(self.name, int(self.version), (), None)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """The same, with their columns and the rows that the offline table got."""
        return lineage.of_materialization(self.name, int(self.version), self._columns, self._rows)

    def _converge(self, context: Context, work: dict[str, Any]) -> dict[str, Any]:
        while True:
            with HopsworksHook(self.hopsworks_conn_id).session() as session:
                result = self._step(context, session, work)
            if result is not None:
                if "rows_inserted" in result:
                    self._rows = result["rows_inserted"] + result["rows_updated"]
                emit(context, self, result)
                return result
            if work["waiting"] is not None:
                self._take(work, self.wait(work))
            elif time.time() > work["deadline"]:
                limit = as_float(self.timeout, "timeout")
                raise HopsworksJobFailed(f"Job {work['job_name']} was never free in {limit:g} s.", None, "UNDEFINED")
            else:
                time.sleep(as_float(self.poll_interval, "poll_interval"))

    def _step(self, context: Context, session: HopsworksSession, work: dict[str, Any]) -> dict[str, Any] | None:
        """Observe and decide once; the result when nothing is left to do."""
        group = session.get_feature_group(work["group_name"], work["version"])
        job = session.jobs.materialization(group)
        self._columns = [(one.name, one.type, one.description or "") for one in group.features]
        if "end" not in work:
            self._look_first(context, session, work, group, job)
        now = look(
            session,
            group,
            job,
            with_number_keys(work["end"]),
            before=Progress.from_json(work["before"]) if work.get("before") else None,
            own_runs=len(work["own"]),
            max_runs=as_int(self.max_executions, "max_executions"),
        )
        decision, executions, running, progress = now.decision, now.executions, now.running, now.progress
        if "first" not in work:
            work["first"] = progress.to_json() if progress else None
        self.log.info("%s%s.", decision.reason[:1].upper(), decision.reason[1:])
        work["waiting"] = None
        if decision.action == "refuse":
            last = work["own"][-1]
            self.print_log(last, next((session.jobs.log_tail(one) for one in executions if one.id == last), ""))
            raise HopsworksJobFailed(f"Execution {last} of job {job.name}: {decision.reason}.", last, SUCCEEDED)
        if decision.action == "wait" and running is not None:
            self.follow(work, running, stoppable=running in self._remembered(context))
            work["mine"] = False
            return None
        if decision.action == "start":
            work["before"] = progress.to_json() if progress else None
            return self._start(context, session, work, job)
        last_seen = next((Execution.from_sdk(e, job.job_type) for e in executions if e.id == work["seen"]), now.source)
        rows = rows_since(session.jobs.commits(group), work["since"])
        self.log.info("Rows inserted: %d, updated: %d.", rows["rows_inserted"], rows["rows_updated"])
        if not decision.verified:
            self.log.warning("No offsets prove the result: see the operator's documentation.")
        Record.across_tries(context, _RECORD).delete()
        return self._result(work, last_seen, progress, rows, decision.verified)

    def _start(
        self, context: Context, session: HopsworksSession, work: dict[str, Any], job: Any
    ) -> dict[str, Any] | None:
        """Start an execution; the result if the task does not wait for it."""
        started = session.jobs.start(job)
        if started is None:
            self.log.info("Another execution of job %s was started meanwhile.", job.name)
            return None
        self.follow(work, started.id, stoppable=True)
        work["mine"] = True
        Record.across_tries(context, _RECORD).write({"ids": [*self._remembered(context), started.id]})
        self.log.info("Started execution %d of %s; end offsets %s.", started.id, job.name, work["end"])
        if as_bool(self.wait_for_completion, "wait_for_completion"):
            return None
        work["own"].append(started.id)
        return self._result(work, Execution.from_sdk(started, job.job_type), None, {}, verified=False)

    def _look_first(
        self, context: Context, session: HopsworksSession, work: dict[str, Any], group: Any, job: Any
    ) -> None:
        self.show(context, work, session.project.id, job, session.jobs.url_of(job))
        work["group_url"] = session.feature_group_url(group)
        FeatureGroupLink().persist(context, self, work["group_url"])
        work["end"] = with_text_keys(session.topic_end_offsets(group._online_topic_name))
        work["since"] = newest_commit(session.jobs.commits(group))

    def _take(self, work: dict[str, Any], event: Mapping[str, Any]) -> None:
        """Record the end of the execution that was followed; raises its failure."""
        self._followed = None
        work["seen"] = work["waiting"]
        status = event.get("status")
        if not work["mine"] and status in (FAILED, KILLED, NOT_FOUND):
            self.log.warning("Execution %d ended %s; this try did not start it.", work["waiting"], status)
            return
        error = self.failure(work, event)
        if error is not None:
            raise error
        if work["mine"]:
            work["own"].append(work["waiting"])

    @staticmethod
    def _remembered(context: Context) -> list[int]:
        """Ids of the executions that this task has started, in any try."""
        return list((Record.across_tries(context, _RECORD).read() or {}).get("ids") or ())

    @staticmethod
    def _result(
        work: Mapping[str, Any],
        last: Execution | None,
        progress: Progress | None,
        rows: Mapping[str, int],
        verified: bool,
    ) -> dict[str, Any]:
        before = (work.get("first") or {}).get("offsets") or {}
        after = with_text_keys(progress.offsets) if progress else {}
        offsets = {
            partition: {"before": before.get(partition), "after": after.get(partition), "end": end}
            for partition, end in work["end"].items()
        }
        return {
            "execution_id": last.execution_id if last else None,
            "executions": list(work["own"]),
            "job_name": work["job_name"],
            "state": last.state if last else None,
            "final_status": last.final_status if last else None,
            "end_offsets": dict(work["end"]),
            "offsets": offsets,
            "offsets_verified": verified,
            **rows,
        }
