"""Operator that asks a person before a deployment that leaves something behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import AIRFLOW_VERSION, AirflowOptionalProviderFeatureException, BaseOperator
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.pipeline.times import as_epoch_milliseconds
from hopsworks_flink.tasks.arguments import as_int, one_of
from hopsworks_flink.tasks.context import task_errors
from hopsworks_flink.tasks.planning import APPROVABLE, Deployment, approval_reasons, compare

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    _Base: Any = ApprovalOperator
except (ImportError, AirflowOptionalProviderFeatureException):  # before Airflow 3.1
    _Base = BaseOperator

if TYPE_CHECKING:
    from hopsworks_flink._compat import Context


class ApproveDeploymentOperator(_Base):
    """Looks at what a deployment would do, and waits for a person's approval where that is one of ``approve``; else it
    succeeds at once. It changes nothing itself.

    The question stands under *Required Actions* in Airflow, with the plan that ``hopsworks-flink plan`` prints.
    *Reject* skips everything downstream. The deployment decides anew when its turn comes: what was approved is the plan
    at the time of the question.

    A pipeline's first deployment is asked about only if it changes a feature group that somebody else has registered.

    :param pipeline: the pipeline as a mapping, or the path of its file (templated).
    :param approve: what needs an approval. ``rewarm``: the job begins without its state and reads again what its open
        windows need; ``fresh``: it leaves the state of a job behind, also for one that ``savepoint_path`` names;
        ``feature_group``: a registered group changes, its words included; default: all three (templated).
    :param state: as the deployment's; default: ``auto`` (templated).
    :param parallelism: as the deployment's; None or empty: what the pipeline says (templated).
    :param savepoint_path: as the deployment's; default: none (templated).
    :param rewarm_from: as the deployment's; default: none (templated).
    :param flink_configuration: as the deployment's; default: none (templated).
    :param flink_conn_id: Airflow connection of type ``flink``; default: ``flink_default`` (templated).
    :param hopsworks_conn_id: Airflow connection of type ``hopsworks``; default: ``hopsworks_default`` (templated).
    :param kwargs: of Airflow's ``ApprovalOperator``, such as ``notifiers``, ``assigned_users``, ``response_timeout``;
        ``subject`` and ``body`` are this operator's.
    :return: (XCom) ``plan``, ``reasons`` (empty: nobody was asked) where nobody was asked; else what
        ``ApprovalOperator`` returns: who chose what, and when.
    :raises AirflowFailException: an argument or a connection is wrong.
    :raises ConfigurationError: at once, where Airflow is older than 3.1.
    """

    template_fields: Sequence[str] = (
        "pipeline",
        "approve",
        "state",
        "parallelism",
        "savepoint_path",
        "rewarm_from",
        "flink_configuration",
        "flink_conn_id",
        "hopsworks_conn_id",
    )

    def __init__(
        self,
        *,
        pipeline: Mapping[str, Any] | str,
        approve: Sequence[str] = APPROVABLE,
        state: str = "auto",
        parallelism: int | str | None = None,
        savepoint_path: str | None = None,
        rewarm_from: str | int | None = None,
        flink_configuration: Mapping[str, str] | None = None,
        flink_conn_id: str = FlinkHook.default_conn_name,
        hopsworks_conn_id: str = HopsworksHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        if _Base is BaseOperator:
            raise ConfigurationError(
                f"An approval before a deployment needs Airflow 3.1 or newer with its standard provider, and this is "
                f"{AIRFLOW_VERSION}: remove approve=…, or upgrade."
            )
        for name in ("subject", "body"):
            if name in kwargs:
                raise TypeError(f"{type(self).__name__} takes no argument {name!r}: it follows from the plan")
        super().__init__(subject="", ignore_downstream_trigger_rules=True, **kwargs)
        self.pipeline = pipeline
        self.approve = approve
        self.state = state
        self.parallelism = parallelism
        self.savepoint_path = savepoint_path
        self.rewarm_from = rewarm_from
        self.flink_configuration = flink_configuration
        self.flink_conn_id = flink_conn_id
        self.hopsworks_conn_id = hopsworks_conn_id

    def execute(self, context: Context) -> Any:
        """Compare, and ask if need be."""
        with task_errors():
            comparison = compare(self.pipeline, self._deployment())
            reasons = approval_reasons(comparison, [one_of(name, "approve", APPROVABLE) for name in self.approve])
        plan = comparison.to_text()
        self.log.info("What the deployment would do:\n%s", plan)
        if not reasons:
            self.log.info("Nothing of that needs an approval (%s).", ", ".join(self.approve))
            return {"plan": comparison.to_dict(), "reasons": []}
        self.subject = f"Deploy {comparison.pipeline}: {'; '.join(reasons)}"
        self.body = f"What the deployment would do:\n\n```\n{plan}\n```\n\nReject: nothing is deployed."
        return super().execute(context)

    def _deployment(self) -> Deployment:
        from hopsworks_flink.clients.flink.jobs import STATE_POLICIES

        return Deployment(
            state=one_of(self.state, "state", STATE_POLICIES),  # type: ignore[arg-type]
            parallelism=None if self.parallelism in (None, "") else as_int(self.parallelism, "parallelism"),
            savepoint_path=self.savepoint_path or None,
            rewarm_from=as_epoch_milliseconds(self.rewarm_from, "rewarm_from"),
            flink_configuration=dict(self.flink_configuration or {}),
            flink_conn_id=self.flink_conn_id,
            hopsworks_conn_id=self.hopsworks_conn_id,
        )
