"""Buttons on a task's page. Their addresses are pushed as soon as the ids are known, so they work while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hopsworks_flink._compat import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

    from hopsworks_flink._compat import BaseOperator, Context


class _PushedLink(BaseOperatorLink):
    """A link whose address the operator pushes while it runs."""

    name = ""
    key = ""

    @property
    def xcom_key(self) -> str:
        """Where the UI finds the address."""
        return self.key

    def persist(self, context: Context, operator: BaseOperator, url: str) -> None:
        """Store the address now; ``get_link`` gives the same one again when the task ends."""
        _addresses(operator)[self.key] = url
        context["ti"].xcom_push(key=self.key, value=url)

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address; empty if the task has not pushed one."""
        known = _addresses(operator).get(self.key)
        return known or XCom.get_value(ti_key=ti_key, key=self.key) or ""


def _addresses(operator: BaseOperator) -> dict[str, Any]:
    # Not an attribute set in the constructor: operators are serialised, and links of a run are none of their business.
    return operator.__dict__.setdefault("_pushed_links", {})


class FlinkJobLink(_PushedLink):
    """To the job in Flink's web UI."""

    name = "Flink job"
    key = "flink_job_url"


class FlinkExceptionsLink(_PushedLink):
    """To the job's exceptions in Flink's web UI."""

    name = "Flink exceptions"
    key = "flink_exceptions_url"


class FeatureGroupLink(_PushedLink):
    """To the feature group in Hopsworks."""

    name = "Feature group"
    key = "feature_group_url"


class HopsworksExecutionLink(_PushedLink):
    """To the executions of the job in Hopsworks, where the one that the task follows is listed."""

    name = "Hopsworks execution"
    key = "hopsworks_execution_url"
