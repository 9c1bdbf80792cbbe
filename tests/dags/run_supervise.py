"""Runs the supervise DAG a few times in a process and an Airflow of its own, against a stub of Flink; prints states,
and what the status page knows then."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import tests.support.airflow_home  # noqa: F401 - before anything imports Airflow
from tests.support.flink_stub import FlinkStub


def main(folder: Path) -> None:
    """Three runs: with a healthy job, after its failure, and beside the deployment that was triggered."""
    shutil.copytree(os.environ["AIRFLOW__CORE__DAGS_FOLDER"], folder)
    file = folder / "pipelines" / "card_transactions.yaml"
    file.write_text(file.read_text() + "supervision: {policy: redeploy}\n")
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(folder)

    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.db import initdb

    from tests.support.airflow_names import DagBag, sync_bag_to_db

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(dag_folder=str(folder))
    if sync_bag_to_db is not None:
        sync_bag_to_db(bag, "dags-folder", None)
    else:
        bag.sync_to_db("dags-folder", None)
    with FlinkStub() as flink:
        connection = {"conn_type": "flink", "host": flink.url, "extra": {}}
        os.environ["AIRFLOW_CONN_FLINK_DEFAULT"] = json.dumps(connection)
        job = flink.add("card_transactions__features", checkpoint="file:/c/1", checkpoint_age=3.0)
        states = []
        for number in range(3):
            if number == 1:
                job.end("FAILED")
            run = bag.dags["card_transactions__supervise"].test()
            states.append({instance.task_id: str(instance.state) for instance in run.get_task_instances()})
    print("STATES", json.dumps(states))

    from hopsworks_flink.pages.database import history, known_pipelines

    (known,) = known_pipelines(set(bag.dags), "card_transactions__supervise")
    past = history(known)
    assert known.status is not None
    page = {
        "verdict": known.status.verdict,
        "deploying": known.deploying,
        "dags": sorted(known.dags),
        "looks": past.day["looks"]["verdict"],
        "deployments": [one.state for one in past.deployments],
    }
    print("PAGE", json.dumps(page))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
