"""A task within its run: how errors end it, how long it may take, what it is called, and what else is running."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hopsworks_flink._compat import AirflowFailException, AirflowSkipException
from hopsworks_flink.exceptions import HopsworksFlinkError

if TYPE_CHECKING:
    from hopsworks_flink._compat import BaseOperator, Context


@contextlib.contextmanager
def task_errors() -> Iterator[None]:
    """Let errors that no retry can cure fail the task for good."""
    try:
        yield
    except HopsworksFlinkError as error:
        if error.permanent:
            raise AirflowFailException(str(error)) from error
        raise


def time_limit(operator: BaseOperator, timeout: float) -> float:
    """How long a deferred wait may take, seconds.

    A deferred task's ``execution_timeout`` would only count the moments on a worker: here it bounds the whole.
    """
    limit = operator.execution_timeout
    return min(timeout, limit.total_seconds()) if limit else timeout


def run_mark(context: Context) -> str:
    """Names this task in this DAG run, the same on every try: 16 hex digits."""
    instance = context["ti"]
    parts = (instance.dag_id, instance.run_id, instance.task_id, str(getattr(instance, "map_index", -1)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def owner_marks(context: Context) -> dict[str, str]:
    """Who started a job: DAG and task, shown in the job's configuration in Flink."""
    return {"dag_id": context["ti"].dag_id, "task_id": context["ti"].task_id}


def skip_while_deploying(context: Context, dag_id: str) -> None:
    """End the task, skipped, if the DAG that deploys is at work.

    :raises AirflowSkipException: it is.
    """
    number = context["ti"].get_dr_count(dag_id=dag_id, states=["running", "queued"])
    if number:
        raise AirflowSkipException(
            f"{number} run(s) of {dag_id} are running or queued: what they leave behind is judged by the next look. "
            "A run that stays queued waits for its DAG to be unpaused."
        )
