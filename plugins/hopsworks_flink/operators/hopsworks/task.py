"""The decorator ``@task.hopsworks``: a function of one's own with the feature store at hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory
from airflow.providers.standard.operators.python import PythonOperator

from hopsworks_flink.hooks.hopsworks import HopsworksHook

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import TaskDecorator

_ARGUMENT = "feature_store"


class _HopsworksDecoratedOperator(DecoratedOperator, PythonOperator):
    """Calls the function within a login; made by :func:`hopsworks_task`."""

    custom_operator_name = "@task.hopsworks"
    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs", "hopsworks_conn_id")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Any,
        op_kwargs: Any,
        hopsworks_conn_id: str = "hopsworks_default",
        **kwargs: Any,
    ) -> None:
        if _ARGUMENT not in inspect.signature(python_callable).parameters:
            name = getattr(python_callable, "__name__", str(python_callable))
            raise TypeError(f"@task.hopsworks: give {name} the argument {_ARGUMENT}=None, or use @task.")
        super().__init__(
            kwargs_to_upstream={"python_callable": python_callable, "op_args": op_args, "op_kwargs": op_kwargs},
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            **kwargs,
        )
        self.hopsworks_conn_id = hopsworks_conn_id

    def execute_callable(self) -> Any:
        """Log in, call the function, log out."""
        with HopsworksHook(self.hopsworks_conn_id).session() as session:
            self.op_kwargs = {**self.op_kwargs, _ARGUMENT: session.feature_store}
            return super().execute_callable()


def hopsworks_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """``@task.hopsworks``: as ``@task``, and the function gets the project's feature store (the SDK's own object).

    The function has an argument ``feature_store``, with ``None`` as its default, as for what Airflow itself fills in.
    The login lasts as long as the function.

    :param python_callable: the function.
    :param multiple_outputs: as for ``@task``.
    :param kwargs: arguments of the task; ``hopsworks_conn_id`` is the connection, default ``hopsworks_default``.
    :raises TypeError: the function has no argument ``feature_store``.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_HopsworksDecoratedOperator,
        **kwargs,
    )
