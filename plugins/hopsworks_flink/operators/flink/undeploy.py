"""Operator that takes a feature pipeline out of service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from hopsworks_flink.deployment.record import UNDEPLOYED, Record
from hopsworks_flink.operators.flink.stop import FlinkStopJobOperator
from hopsworks_flink.tasks.context import refuse_while_deploying, task_errors

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context


class FlinkUndeployFeaturePipelineOperator(FlinkStopJobOperator):
    """Ends the streaming job of a feature pipeline, as :class:`FlinkStopJobOperator` does, for a longer time.

    Supervision then does not miss the job: its runs are skipped until the pipeline is deployed, or one of its jobs seen
    to run.

    :param job_name: name of the pipeline's job (templated).
    :param deploy_dag_id: DAG that deploys the pipeline: nothing is ended while it runs, as a deployment takes the end
        of its job for a failure; None: there is none (templated).
    :param kwargs: all other arguments of :class:`FlinkStopJobOperator` except ``job_id``.
    :return: (XCom) as :class:`FlinkStopJobOperator`.
    :raises FlinkError: a deployment runs.
    """

    template_fields: Sequence[str] = ("deploy_dag_id", *FlinkStopJobOperator.template_fields)

    def __init__(self, *, job_name: str, deploy_dag_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(job_name=job_name, **kwargs)
        self.deploy_dag_id = deploy_dag_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Remember it first: a supervision that looks meanwhile must not deploy again."""
        if self.deploy_dag_id:
            with task_errors():
                refuse_while_deploying(context, self.deploy_dag_id)
        self._remember()
        result = super().execute(context)
        self._remember()
        return result

    def execute_complete(
        self, context: Context, event: Mapping[str, Any] | None = None, *, job_id: str
    ) -> dict[str, Any]:
        """Go on when the trigger has reported."""
        result = super().execute_complete(context, event, job_id=job_id)
        self._remember()
        return result

    def _remember(self) -> None:
        # Again once the job has ended: a supervision that saw it run meanwhile took it for one that was deployed since.
        with task_errors():
            record = Record.across_runs("supervision", str(self.job_name))
            # Supervision compares moments: two of one undeployment must differ, however short it is.
            moment = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            record.write({**(record.read() or {}), UNDEPLOYED: moment})
