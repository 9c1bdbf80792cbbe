"""Operator that triggers a deployment when the supervision has decided on one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

from hopsworks_flink._compat import AirflowSkipException
from hopsworks_flink.tasks.context import skip_while_deploying
from hopsworks_flink.tasks.links import FLINK_COLOUR

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context


class TriggerDeploymentOperator(TriggerDagRunOperator):
    """Starts the DAG that deploys a pipeline if a :class:`~hopsworks_flink.operators.flink.FlinkSuperviseJobOperator`
    decided so; else the task is skipped.

    :param decision: the result of that task, as JSON (templated).
    :param kwargs: arguments of Airflow's ``TriggerDagRunOperator``; ``trigger_dag_id`` is the DAG.
    :raises AirflowSkipException: nothing is to be deployed, or a deployment runs already.
    """

    template_fields: Sequence[str] = ("decision", *TriggerDagRunOperator.template_fields)
    ui_color = FLINK_COLOUR

    def __init__(self, *, decision: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.decision = decision

    def execute(self, context: Context) -> Any:
        """Trigger the deployment that was decided on, unless one is running."""
        decision = json.loads(self.decision) if isinstance(self.decision, str) else self.decision
        if decision.get("action") != "redeploy":
            raise AirflowSkipException(f"Nothing to deploy: the job is {decision.get('verdict')}.")
        skip_while_deploying(context, self.trigger_dag_id)
        self.conf = dict(decision["deploy_conf"])
        return super().execute(context)
