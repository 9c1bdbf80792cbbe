"""The DAG files of the documentation, parsed by Airflow as they stand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hopsworks_flink._compat import AIRFLOW_VERSION
from tests.support import REPOSITORY
from tests.support.airflow_names import DagBag, DagSerialization

pytestmark = pytest.mark.airflow

EXAMPLES = REPOSITORY / "docs" / "examples"


def parsed(folder: Path, *files: str) -> dict[str, Any]:
    for file in files:
        shutil.copy(EXAMPLES / file, folder)
    shutil.copytree(REPOSITORY / "dags" / "pipelines", folder / "pipelines", dirs_exist_ok=True)
    bag = DagBag(dag_folder=str(folder))
    assert bag.import_errors == {}
    for dag in bag.dags.values():
        DagSerialization.to_dict(dag)
    return dict(bag.dags)


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"train_on_new_rows.py", "watched_pipelines.py"}


def test_a_model_is_trained_when_there_are_new_rows(tmp_path: Path) -> None:
    dag = parsed(tmp_path, "train_on_new_rows.py")["card_transactions__train"]
    uri = "hopsworks://hopsworks/fg/card_transactions_10m_agg/2/offline"
    assert [asset.uri for asset in dag.timetable.asset_condition.objects] == [uri]
    assert dag.task_dict["train"].upstream_task_ids == {"new_rows"}

    class Event:
        def __init__(self, **extra: Any) -> None:
            self.extra = extra

    count = dag.task_dict["new_rows"].python_callable
    told = {"asset": [Event(rows_inserted=3, rows_updated=1), Event(rows_inserted=0, rows_updated=0), Event()]}
    assert (count(told), count({}), count(None)) == (4, 0, 0)


def test_failures_and_lateness_are_told(tmp_path: Path) -> None:
    dags = parsed(tmp_path, "watched_pipelines.py")
    assert set(dags) == {f"card_transactions__{verb}" for verb in ("deploy", "supervise", "offline_backfill")}
    for dag in dags.values():
        for task in dag.tasks:
            told = task.on_failure_callback
            assert [one.to for one in (told if isinstance(told, (list, tuple)) else [told])] == ["features@example.com"]
    late = {dag_id for dag_id, dag in dags.items() if getattr(dag, "deadline", None)}
    if AIRFLOW_VERSION.startswith("3.0."):
        assert late == set()
    else:
        assert late == {"card_transactions__deploy", "card_transactions__offline_backfill"}
