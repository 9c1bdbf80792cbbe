"""A task within its DAG run: how errors end it, its time limit, its id, and whether a deployment is running."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hopsworks_flink._compat import AirflowFailException, AirflowSkipException
from hopsworks_flink.exceptions import FlinkError, HopsworksFlinkError

if TYPE_CHECKING:
    from hopsworks_flink._compat import BaseOperator, Context


@contextlib.contextmanager
def task_errors() -> Iterator[None]:
    """Fail the task without further retries on errors that a retry cannot cure."""
    try:
        yield
    except HopsworksFlinkError as error:
        if error.permanent:
            raise AirflowFailException(str(error)) from error
        raise


def time_limit(operator: BaseOperator, timeout: float) -> float:
    """Seconds that a wait may take, deferral included: ``timeout``, or ``execution_timeout`` if that is shorter.

    Airflow itself counts only the time on a worker against ``execution_timeout``.
    """
    limit = operator.execution_timeout
    return min(timeout, limit.total_seconds()) if limit else timeout


def run_mark(context: Context) -> str:
    """An id of this task in this DAG run, the same on every try: 16 hex digits."""
    instance = context["ti"]
    parts = (instance.dag_id, instance.run_id, instance.task_id, str(getattr(instance, "map_index", -1)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def owner_marks(context: Context) -> dict[str, str]:
    """DAG and task that start a job, shown in the job's configuration in Flink."""
    return {"dag_id": context["ti"].dag_id, "task_id": context["ti"].task_id}


def skip_while_deploying(context: Context, dag_id: str) -> None:
    """Skip the task while the DAG that deploys the pipeline runs or is queued.

    :raises AirflowSkipException: it runs or is queued.
    """
    number = context["ti"].get_dr_count(dag_id=dag_id, states=["running", "queued"])
    if number:
        raise AirflowSkipException(
            f"{number} run(s) of {dag_id} are running or queued: what they leave behind is judged by the next look. "
            "A run that stays queued waits for its DAG to be unpaused."
        )


def refuse_while_deploying(context: Context, dag_id: str) -> None:
    """Fail the task, which may be tried again, while the DAG that deploys the pipeline runs.

    :raises FlinkError: it runs.
    """
    number = context["ti"].get_dr_count(dag_id=dag_id, states=["running"])
    if number:
        raise FlinkError(
            f"{number} run(s) of {dag_id} are running: a deployment takes the end of its job for a failure, and brings "
            "the job before back. Nothing was stopped. Wait for it, or mark the run as failed, then clear this task."
        )
