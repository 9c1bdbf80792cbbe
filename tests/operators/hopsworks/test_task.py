"""``@task.hopsworks``; with a real login: tests/integration/airflow/test_recompute.py."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, task

pytestmark = pytest.mark.airflow


def test_a_function_gets_the_feature_store_of_its_connection() -> None:
    with DAG("trains", schedule=None) as dag:

        @task.hopsworks(hopsworks_conn_id="fraud")
        def train(groups: list[str], feature_store: Any = None) -> dict[str, Any]:
            return {"groups": groups, "feature_store": feature_store}

        train(["cards"])
    made = dag.task_dict["train"]
    assert made.hopsworks_conn_id == "fraud"
    assert "feature_store" not in made.op_kwargs, "what is rendered and shown holds no login"


def test_a_function_without_the_argument_is_refused() -> None:
    def train() -> None:
        """Forgot what it asks for."""

    with DAG("forgot", schedule=None), pytest.raises(TypeError, match="give train the argument feature_store=None"):
        task.hopsworks(train)()
