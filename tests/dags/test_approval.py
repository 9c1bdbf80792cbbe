"""An approval before a deployment, where a DAG file asks for one; Airflow 3.0 has none, and says so."""

from __future__ import annotations

from typing import Any

import pytest

from hopsworks_flink._compat import AIRFLOW_VERSION
from hopsworks_flink.dags import deploy_dag
from hopsworks_flink.exceptions import ConfigurationError
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.airflow_names import DagSerialization
from tests.support.pipelines import EVERYTHING

pytestmark = pytest.mark.airflow

BEFORE = AIRFLOW_VERSION.startswith("3.0.")
WORDS = ["rewarm", "fresh", "feature_group"]


def dag(**arguments: Any) -> Any:
    return deploy_dag(Pipeline.from_yaml(EVERYTHING), dag_id="deploy", **arguments)


def test_nobody_is_asked_by_default() -> None:
    assert "approve_deployment" not in dag().task_dict


@pytest.mark.skipif(not BEFORE, reason="this Airflow has approvals")
def test_an_older_airflow_says_so_when_the_file_is_read() -> None:
    with pytest.raises(ConfigurationError, match=r"needs Airflow 3.1 or newer .* this is 3\.0\.\d+: remove approve=…"):
        dag(approve=WORDS)


@pytest.mark.skipif(BEFORE, reason="no approvals")
def test_everything_waits_for_the_approval() -> None:
    made = dag(approve=WORDS, approval={"response_timeout": None, "retries": 0})
    ask = made.task_dict["approve_deployment"]
    assert ask.get_flat_relative_ids(upstream=False) == set(made.task_dict) - {"approve_deployment"}
    assert (ask.approve, ask.options, ask.retries) == (WORDS, ["Approve", "Reject"], 0)
    form = {"state": "auto", "parallelism": 3, "savepoint_path": "s3://sp/1", "rewarm_from": None}
    ask.render_template_fields({"params": form, "dag": made})
    assert (ask.state, ask.parallelism, ask.savepoint_path, ask.rewarm_from) == ("auto", "3", "s3://sp/1", "")
    assert DagSerialization.to_dict(made)


@pytest.mark.skipif(BEFORE, reason="no approvals")
def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"approve.*'everything'"):
        dag(approve=["everything"])
