"""A cluster as it is in production: two TaskManagers, high availability, state in an object store (`make cluster`).

ZooKeeper and the object store (moto's S3 server) stand for those of a platform. The tests build on each other; in the
end every value is compared with an independent computation over all events.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
import requests

from devstack.config import HOST
from devstack.stack import Stack
from hopsworks_flink.exceptions import HopsworksFlinkError
from tests.support.live import events as simulated
from tests.support.live.jobs import Live, living
from tests.support.live.platform import eventually
from tests.support.live.stack import PARTS_BESIDE, PORT_BASE, stack_beside

pytestmark = [
    pytest.mark.skipif("CLUSTER_TEST" not in os.environ, reason="the long form: `make cluster`"),
    pytest.mark.timeout(900),
]

MINUTE = simulated.MINUTE
S3_PORT = PORT_BASE + 300
BUCKET = "features"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """Address of an object store that speaks S3, with one empty bucket. Flink's credentials are in its environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(HOST, S3_PORT)
    server.start()
    address = f"http://{HOST}:{S3_PORT}"
    requests.put(f"{address}/{BUCKET}", timeout=30).raise_for_status()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "k"), ("SECRET_ACCESS_KEY", "s"), ("REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        yield address
    server.stop()


@pytest.fixture(scope="module")
def stack(store: str) -> Iterator[Stack]:
    settings: dict[str, Any] = {
        "taskmanagers": 2,
        "task_slots": 2,
        "flink_high_availability": True,
        "flink_state": f"s3://{BUCKET}/flink",
        "s3_endpoint": store,
    }
    with stack_beside("cluster", **settings) as stack:
        yield stack


@pytest.fixture(scope="module")
def live(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with living(Live(stack, tmp_path_factory.mktemp("certificates"), "cluster_cards")) as live:
        yield live


@pytest.fixture(scope="module")
def batches(live: Live) -> list[list[simulated.Event]]:
    made = simulated.transactions(seed=31, start=live.start, minutes=60, cards=25, count=4000)
    quarter = len(made) // 4
    return [made[at : at + quarter] for at in range(0, 3 * quarter, quarter)] + [made[3 * quarter :]]


def subtasks(live: Live, job: str) -> list[dict[str, Any]]:
    vertices = [one["id"] for one in live.flink(f"/jobs/{job}")["vertices"]]
    return [one for vertex in vertices for one in live.flink(f"/jobs/{job}/vertices/{vertex}")["subtasks"]]


def windows_are_out(live: Live, minutes: int) -> None:
    (job,) = live.running()

    def out() -> None:
        assert live.watermark(job) > live.start + minutes * MINUTE

    eventually(out)


def jobmanager(live: Live) -> psutil.Process:
    (part,) = [part for part in live.stack.status() if part.name == "flink-jobmanager"]
    found = [psutil.Process(pid) for pid in part.pids]
    (process,) = [one for one in found if any("StandaloneSession" in word for word in one.cmdline())]
    return process


def deploy_with_retries(live: Live) -> dict[str, Any]:
    """As Airflow runs the task: what may pass by itself is tried again."""
    for _ in range(5):
        try:
            return live.deploy()
        except HopsworksFlinkError:
            time.sleep(5)
    return live.deploy()


def test_a_job_is_rescaled_over_two_taskmanagers(live: Live, batches: list[list[simulated.Event]]) -> None:
    first = live.deploy()
    assert {one["subtask"] for one in subtasks(live, first["job_id"])} == {0}
    live.produce(batches[0])
    windows_are_out(live, 10)
    live.spec["parallelism"] = "partitions"
    second = live.deploy()
    assert (second["action"], second["state"], second["replaced_job_id"]) == ("replaced", "restore", first["job_id"])
    assert second["savepoint_path"].startswith(f"s3://{BUCKET}/flink/savepoints/")
    assert live.running() == [second["job_id"]]
    found = subtasks(live, second["job_id"])
    assert {one["subtask"] for one in found} == {0, 1}
    assert len({one["taskmanager-id"] for one in found}) == 2
    live.produce(batches[1])
    windows_are_out(live, 25)


def test_a_jobmanager_comes_back_with_its_job_which_is_not_deployed_twice(
    live: Live, batches: list[list[simulated.Event]]
) -> None:
    (job,) = live.running()
    for when in ("while it is away", "when it is back"):
        victim = jobmanager(live)
        victim.send_signal(signal.SIGKILL)
        victim.wait(30)
        if when == "when it is back":
            live.stack.up(PARTS_BESIDE)
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(deploy_with_retries, live)
            live.produce(batches[2][:500] if when == "while it is away" else batches[2][500:])
            result = again.result(180)
        assert (result["action"], result["job_id"]) == ("none", job), when
        assert live.running() == [job]
        # Its own checkpoint, in the object store.
        restored = live.flink(f"/jobs/{job}/checkpoints")["latest"]["restored"]
        assert restored["external_path"].startswith(f"s3://{BUCKET}/flink/checkpoints/{job}/")
        assert len(subtasks(live, job)) > 1
    windows_are_out(live, 40)


def test_what_it_computed_on_the_way_is_what_an_undisturbed_job_computes(
    live: Live, batches: list[list[simulated.Event]]
) -> None:
    (job,) = live.running()
    del live.spec["parallelism"]
    back = live.deploy()
    assert (back["action"], back["state"], back["replaced_job_id"]) == ("replaced", "restore", job)
    live.produce(batches[3] + simulated.flush(31, live.start + 60 * MINUTE))
    live.assert_features()
