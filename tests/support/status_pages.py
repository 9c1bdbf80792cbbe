"""An Airflow API server with pipelines in many states, in a process of its own: its database, and nothing behind it.

``python -m tests.support.status_pages PORT``; the users are ``admin`` and ``guest``, who may read some DAGs only.
"""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import requests

import tests.support.airflow_home  # noqa: F401 - before anything imports Airflow
from hopsworks_flink.health.status import OUTCOME, Status, day_after
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import REPOSITORY
from tests.support.hopsworks_server import free_port

#: User -> password.
USERS = {"admin": "open-sesame", "guest": "only-a-look"}
#: What ``guest`` may read.
FOR_GUESTS = "clicks"
#: It would be a script if a page did not escape it.
SCRIPT = "<script>document.title = 'owned'</script>"
VERBS = ("deploy", "supervise", "offline_backfill", "audit", "recompute", "simulate", "undeploy")
JOB = "a3f0c2d17be94c5ab0d1e2f3a4b5c6d7"
GROUPS = ({"name": "{}_10m_agg", "version": 1}, {"name": "{}_10m_agg", "version": 2})


def pipeline(name: str) -> Pipeline:
    """The reference pipeline under another name."""
    data = Pipeline.from_yaml(REPOSITORY / "dags/pipelines/card_transactions.yaml").to_dict()
    groups = [{**group, "name": f"{name}_10m_agg"} for group in data["feature_groups"]]
    return Pipeline.parse({**data, "name": name, "freshness": "2m", "feature_groups": groups})


def healthy(name: str, at: float, description: str = "Fraud features of credit card transactions") -> Status:
    """One look at a job that is well."""
    rows = {"ingestion_id": 7, "taken": 18_204, "failed": 0, "new_taken": 310, "new_failed": 0, "short": []}
    url = "https://hopsworks.example/p/119/fs/67/fg/14"
    sample = [
        {"cc_num": "4444 0378 1212 9983", "num_trans_per_10m": "7", "avg_amt_per_10m": "81.25"},
        {"cc_num": "4444 1187 4410 0071", "num_trans_per_10m": "2", "avg_amt_per_10m": "19.9"},
    ]
    return Status(
        name,
        f"{name}__features",
        "credit_card_transactions",
        at,
        "healthy",
        description,
        facts={
            "at": at,
            "job_ids": [JOB],
            "job_id": JOB,
            "state": "RUNNING",
            "parallelism": 2,
            "age": 302_400.0,
            "checkpoint_age": 6.2,
            "checkpoint_seconds": 0.31,
            "restarts_ever": 1,
            "watermark": round((at - 8.4) * 1000),
            "lag": 12,
            "read": 1_530_200,
            "written": 91_000,
            "online": {f"{name}_10m_agg_1": rows, f"{name}_10m_agg_2": {**rows, "taken": 91_872}},
        },
        rates={"read": 412.7, "written": 24.1},
        version={"same": True, "hash": "5f0a" * 16},
        freshness={"limit": 120.0, "p50": 41.2, "p99": 78.0, "measured": 212, "missed": 0},
        groups=[
            {**group, "name": group["name"].format(name), "online": True, "offline": True, "url": url, "sample": sample}
            for group in GROUPS
        ],
        topics={
            "quarantine": {
                "name": f"{name}_quarantine",
                "records": 14,
                "reasons": {"undecodable": 9, "cc_num is null": 5},
                "newest": [
                    {
                        "at": at - 130.0,
                        "partition": 0,
                        "offset": 81_204,
                        "reason": "undecodable",
                        "detail": "the record ends inside field amount",
                        "value": "\\x02\\x9e\\xd0\\x0f<not for people>",
                    },
                    {
                        "at": at - 3_900.0,
                        "partition": 1,
                        "offset": 79_001,
                        "reason": "cc_num is null",
                        "detail": "",
                        "value": '{"tid": "t-17", "cc_num": null, "amount": 12.5}',
                    },
                ],
            }
        },
        flink_url=f"https://flink.example/#/job/running/{JOB}/overview",
        limits={"lag": 1000, "checkpoint": 300.0},
        deploy_dag_id=f"{name}__deploy",
    )


def _reason(topic: str, kind: str, text: str) -> dict[str, str]:
    return {"topic": topic, "kind": kind, "text": text}


def statuses(now: float) -> dict[str, Status | None]:
    """Pipelines in the states that there are; None: nobody has looked."""
    clicks = healthy("clicks", now - 130, "Sessions on the web shop")
    late = _reason(
        "late",
        "degraded",
        "42 events came behind the watermark, too late for a window; each kind of window counts its own",
    )
    poison = _reason(
        "poison",
        "sick",
        f"topic orders, partition 1, offset 48210 holds a record that the schema does not fit: {SCRIPT}. Skip it with "
        "on_undecodable: skip",
    )
    loop = _reason("restarts", "sick", "it restarted 5 times within 600 s, 3 are allowed (cause: x.DecodingException)")
    orders = healthy("orders", now - 40, f"Orders {SCRIPT}")
    gone = _reason(
        "missing",
        "missing",
        "no job named 'sensors__features' runs; job 77aa0f3e is FAILED (cause: org.apache.kafka.common.errors."
        "TimeoutException: Timed out waiting for a node assignment)",
    )
    away = _reason("no-verdict", "unknown", "Flink at http://jobmanager:8081 does not answer: connection refused")
    differing = {
        "same": False,
        "hash": "77aa" * 16,
        "state": "rewarms",
        "differences": ["feature group parcels_10m_agg_2 gets max_amt_per_10m"],
    }
    return {
        "card_transactions": healthy("card_transactions", now - 20),
        "clicks": replace(clicks, verdict="degraded", reasons=[late]),
        "orders": replace(orders, verdict="sick", reasons=[loop, poison], facts={**orders.facts, "lag": 48_211}),
        "sensors": replace(
            healthy("sensors", now - 75, "Machines in the hall"),
            verdict="missing",
            reasons=[gone],
            facts={"at": now, "job_ids": [], "job_id": JOB, "state": "FAILED"},
            rates={},
            version={},
        ),
        "parcels": replace(healthy("parcels", now - 10, "Parcels on their way"), version=differing),
        "tickets": replace(healthy("tickets", now - 10, "Tickets"), verdict="unknown", reasons=[away], rates={}),
        "returns": None,
    }


def day_of(status: Status, now: float, deployed: bool) -> dict[str, Any]:
    """A day of looks that led to this one."""
    data = pipeline(status.pipeline).to_dict()
    day: dict[str, Any] = {}
    for number in range(288):
        at = now - 86_400 + number * 300 + 200
        wave = 1 + 0.5 * math.sin(number / 30) + 0.1 * math.sin(number * 1.7)
        quiet = 140 <= number < 152
        facts = {
            **status.facts,
            "job_ids": [JOB],
            "job_id": JOB,
            "lag": round(80 * wave**3),
            "watermark": (at - 9) * 1e3,
        }
        look = replace(
            status,
            at=at,
            verdict="healthy",
            facts={} if quiet else {**facts, "checkpoint_seconds": round(0.3 * wave, 2)},
            rates={} if quiet else {"read": 400 * wave, "written": 24 * wave},
            version={"same": True, "hash": "5f0a" * 16},
        )
        day = day_after(day, look)
    before = {**data, "feature_groups": data["feature_groups"][:1]} if deployed else data
    return {**day_after(day, status, data), "deployed": before}


def fill(now: float, more: int = 0) -> None:
    """Airflow's database: DAGs, Variables, events and runs.

    :param more: so many healthy pipelines beside the others.
    """
    from airflow.models import Variable
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dag import DagModel, DagTag
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    from hopsworks_flink.assets import offline_table_asset

    def moment(at: float) -> datetime:
        return datetime.fromtimestamp(at, timezone.utc)

    found = {**statuses(now), **{f"more_{n:03}": healthy(f"more_{n:03}", now - 60) for n in range(more)}}
    with create_session() as session:
        session.add(DagBundleModel(name="dags-folder"))
        session.flush()
        for name, status in found.items():
            for verb in VERBS:
                dag_id = f"{name}__{verb}"
                scheduled = verb in ("supervise", "offline_backfill")
                dag = DagModel(
                    dag_id=dag_id,
                    bundle_name="dags-folder",
                    is_stale=False,
                    is_paused=verb == "recompute" or name == "returns",
                    next_dagrun_create_after=moment(now + 190) if scheduled else None,
                    fileloc=f"/dags/{verb}.py",
                )
                session.add(dag)
                session.flush()
                session.add(DagTag(name="hopsworks", dag_id=dag_id))
            if status is None:
                continue
            Variable.set(
                f"hopsworks_flink.status.{name}__supervise", status.to_json(), serialize_json=True, session=session
            )
            day = day_of(status, now, deployed=name == "parcels") if not name.startswith("more_") else {}
            Variable.set(f"hopsworks_flink.day.{name}__supervise", day, serialize_json=True, session=session)
            samples = [
                {"at": now - 86_400 + n * 600, "seconds": 40 + 12 * math.sin(n / 9), "missed": False}
                for n in range(144)
            ]
            Variable.set(
                f"hopsworks_flink.freshness.{name}__features",
                {"samples": samples},
                serialize_json=True,
                session=session,
            )
            audit = {"at": now - 7200, "values": 80, "differ": 2, "causes": {"late_event": 2}}
            Variable.set(f"hopsworks_flink.audit.{name}__features", audit, serialize_json=True, session=session)
            for group in status.groups:
                asset = offline_table_asset(group["name"], group["version"])
                model = AssetModel(name=asset.name, uri=asset.uri, group="asset")
                session.add(model)
                session.flush()
                extra = {
                    "rows_inserted": 310,
                    "rows_updated": 12,
                    "offsets_verified": True,
                    "end_offsets": {"0": 91_872},
                }
                session.add(
                    AssetEvent(
                        asset_id=model.id,
                        extra=extra,
                        source_task_id="m",
                        source_dag_id=f"{name}__offline_backfill",
                        source_run_id="scheduled__1",
                        source_map_index=-1,
                        timestamp=moment(now - 240),
                    )
                )
        _deployments(session, now)


def _deployments(session: Any, now: float) -> None:
    """Three runs of one pipeline's deployments."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.types import DagRunType

    from hopsworks_flink.assets import flink_job_asset

    asset = flink_job_asset("card_transactions__features")
    model = AssetModel(name=asset.name, uri=asset.uri, group="asset")
    session.add(model)
    session.flush()
    for number, (age, state, action) in enumerate(
        ((302_400.0, "success", "submitted"), (90_000.0, "failed", None), (50_000.0, "success", "replaced"))
    ):
        begin = datetime.fromtimestamp(now - age, timezone.utc)
        run = DagRun(
            dag_id="card_transactions__deploy",
            run_id=f"manual__{number}",
            run_type=DagRunType.MANUAL,
            logical_date=begin,
            run_after=begin,
            start_date=begin,
            state=state,
        )
        run.end_date = begin + timedelta(seconds=44)
        session.add(run)
        session.flush()
        if action is None:
            own = {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": "deploy_streaming_job", "map_index": -1}
            # Since Airflow 3.3 it is no text.
            own_id = uuid.uuid4() if hasattr(TaskInstance.__table__.c.id.type, "as_uuid") else str(uuid.uuid4())
            more = {
                "id": own_id,
                "pool": "default_pool",
                "pool_slots": 1,
                "max_tries": 0,
                "state": "failed",
            }
            session.execute(TaskInstance.__table__.insert().values(**own, **more))
            why = "Job 51aa is not healthy: the job restarted 6 times within the watch. Rolled back: the previous "
            value = {"action": "rolled_back", "text": f"{why}deployment (5f0a5f0a5f0a) runs again and is healthy."}
            XComModel.set(key=OUTCOME, value=value, **own, session=session)
        else:
            extra = {"action": action, "job_id": JOB, "savepoint_path": "file:/s/1" if number else None}
            session.add(
                AssetEvent(
                    asset_id=model.id,
                    extra=extra,
                    source_task_id="deploy_streaming_job",
                    source_dag_id="card_transactions__deploy",
                    source_run_id=run.run_id,
                    source_map_index=-1,
                    timestamp=begin,
                )
            )


@functools.cache
def auth_manager() -> Any:
    """Airflow's simple auth manager, in which ``guest`` may read the DAGs of one pipeline, and no code."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    class Limited(SimpleAuthManager):
        def is_authorized_dag(self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None) -> bool:
            if user.username == "guest":
                named = details.id if details is not None else None
                return bool(named and named.startswith(FOR_GUESTS)) and access_entity != DagAccessEntity.CODE
            return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)

        def filter_authorized_dag_ids(self, *, dag_ids: Any, user: Any, **kwargs: Any) -> set[str]:
            return {one for one in dag_ids if user.username != "guest" or one.startswith(FOR_GUESTS)}

        def get_authorized_dag_ids(self, *, user: Any, **kwargs: Any) -> set[str]:
            found = super().get_authorized_dag_ids(user=user, **kwargs)
            return self.filter_authorized_dag_ids(dag_ids=found, user=user)

    return Limited


def __getattr__(name: str) -> Any:
    # Airflow imports its auth manager by this name, long after its own modules.
    if name == "LimitedAuthManager":
        return auth_manager()
    raise AttributeError(name)


@contextmanager
def served(more: int = 0) -> Iterator[str]:
    """Such a server; its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.status_pages", str(port), str(more)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}", "AIRFLOW__API__BASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    try:
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError(process.communicate()[0][-6000:])
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/streaming-features/static/status.css", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def main(port: int, more: int) -> None:
    """Serve until the process is ended."""
    import uvicorn

    home = Path(os.environ["AIRFLOW_HOME"])
    (home / "passwords.json").write_text(json.dumps(USERS))
    os.environ.update(
        {
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.support.status_pages.LimitedAuthManager",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,guest:viewer",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "AIRFLOW__API_AUTH__JWT_SECRET": "s" * 64,
            # Airflow 3.0 has none by itself, which newer versions of PyJWT refuse.
            "AIRFLOW__API_AUTH__JWT_ISSUER": "tests",
            "AIRFLOW__API__SECRET_KEY": "k" * 64,
        }
    )
    from airflow.api_fastapi.app import create_app
    from airflow.utils.db import initdb

    initdb()
    fill(time.time(), more)
    uvicorn.run(create_app("core"), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
