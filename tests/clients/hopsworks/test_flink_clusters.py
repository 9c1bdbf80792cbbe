"""A Flink cluster that Hopsworks manages: found by its running job, reached through Hopsworks' own https."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.config import DevstackConfig
from devstack.hopsworks.home.setup import read_api_key
from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.rest import FlinkRestClient
from hopsworks_flink.exceptions import ConfigurationError, FlinkApiError, FlinkConnectionError, FlinkJobNotFound
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.flink_async import AsyncFlinkHook
from tests.support.fixtures import set_connection
from tests.support.flink_stub import FlinkStub
from tests.support.hopsworks_fixtures import hopsworks_home
from tests.support.hopsworks_server import LocalHopsworks, free_port

__all__ = ["hopsworks_home"]

JOB_ID = "cd" * 16
CLUSTER = {"type": "flinkJobConfiguration", "appPath": "unused"}


@pytest.fixture
def cluster(flink: FlinkStub) -> FlinkStub:
    """Flink as Hopsworks sees it."""
    return flink


@pytest.fixture
def hopsworks(
    cluster: FlinkStub, tmp_path: Path, hopsworks_home: Path, monkeypatch: pytest.MonkeyPatch, jars_dir: Path
) -> Iterator[LocalHopsworks]:
    shutil.copytree(hopsworks_home, tmp_path / "home")
    config = DevstackConfig(home=tmp_path / "home", hopsworks_port=free_port(), flink_url=cluster.url)
    server = LocalHopsworks(config)
    set_connection(monkeypatch, "hopsworks_default", **server.connection())
    connect(monkeypatch, jars_dir)
    with server.serve():
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, jars_dir: Path, **extra: Any) -> None:
    fields = {"hopsworks_conn_id": "hopsworks_default", "jars_dir": str(jars_dir), **extra}
    set_connection(monkeypatch, "flink_default", conn_type="flink", extra=fields)


def start(server: LocalHopsworks, name: str = "flink") -> Any:
    job, _ = server.jobs.put_job(name, "FLINK", CLUSTER)
    return server.context.clusters.start(job, "", {})


def ask(question: str, *arguments: Any) -> Any:
    """Through the asynchronous hook's client."""

    async def run() -> Any:
        async with AsyncFlinkHook("flink_default") as hook:
            return await getattr(hook.client, question)(*arguments)

    return asyncio.run(run())


def test_a_job_runs_looks_and_ends_through_hopsworks(hopsworks: LocalHopsworks, cluster: FlinkStub) -> None:
    execution = start(hopsworks)
    hook = FlinkHook()
    assert hook.settings.url == f"{hopsworks.config.hopsworks_url}/hopsworks-api/flinkmaster/{execution.app_id}"
    assert hook.test_connection()[0]
    bundle = Bundle("my_job", {"my_job.py": b"x" * 300_000})
    assert hook.run_python_job(bundle, job_name="cards", job_id=JOB_ID, jars=hook.find_jars()) == JOB_ID
    assert hook.job_state(JOB_ID) == ask("job", JOB_ID)["state"] == "RUNNING"
    assert ask("jobs")[0]["jid"] == JOB_ID
    assert hook.stop_with_savepoint(JOB_ID, poll_interval=0.01)
    with pytest.raises(FlinkJobNotFound):
        hook.client.job("ef" * 16)
    # The bundle arrived as it was sent, and was taken away again.
    assert [name for name, _ in cluster.jars.values() if name.startswith("my_job")] == []


def test_flink_never_sees_the_api_key(hopsworks: LocalHopsworks, cluster: FlinkStub) -> None:
    start(hopsworks)
    FlinkHook().client.overview()
    headers = cluster.requests[-1].headers
    assert cluster.requests[-1].path == "/overview"
    assert read_api_key(hopsworks.config) not in str(headers)
    assert "authorization" not in {name.lower() for name in headers}


def test_without_the_key_the_cluster_is_closed(hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch) -> None:
    application = start(hopsworks).app_id
    hook = FlinkHook()
    assert hook.client.overview()
    wrong = hopsworks.connection()
    set_connection(monkeypatch, "hopsworks_default", **{**wrong, "password": "A" * 16 + "." + "b" * 64})
    with pytest.raises(ConfigurationError, match="Check the API key"):
        FlinkHook().client.overview()
    # A signature that is wrong, once the address is known.
    url = f"{hopsworks.config.hopsworks_url}/hopsworks-api/flinkmaster/{application}"
    with pytest.raises(FlinkApiError, match=r"answered 401.*API key of its Hopsworks connection"):
        FlinkRestClient(url, verify=str(hopsworks.config.hopsworks_ca)).overview()


def test_what_is_not_running(hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch, jars_dir: Path) -> None:
    for hook in (lambda: FlinkHook().client, lambda: ask("job", JOB_ID)):
        with pytest.raises(FlinkConnectionError, match=r"No Flink cluster of Hopsworks project 'demo' is running"):
            hook()
    execution = start(hopsworks)
    hook = FlinkHook()
    assert hook.job_state(JOB_ID) is None
    hopsworks.context.clusters.stop(execution)
    # The whole cluster is gone: that says nothing about a job.
    with pytest.raises(FlinkApiError, match=r"answered 404: No Flink cluster application_\w+ is running"):
        hook.job_state(JOB_ID)
    with pytest.raises(FlinkConnectionError, match="start the cluster 'flink' there"):
        FlinkHook().job_state(JOB_ID)
    connect(monkeypatch, jars_dir, hopsworks_job="other")
    with pytest.raises(ConfigurationError, match="'other'"):
        FlinkHook().job_state(JOB_ID)


def test_a_restarted_cluster_is_found_anew(hopsworks: LocalHopsworks) -> None:
    hopsworks.context.clusters.stop(start(hopsworks), "FINISHED")
    execution = start(hopsworks)
    assert execution.app_id in FlinkHook().settings.url


def test_of_several_clusters_one_is_named(
    hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch, jars_dir: Path
) -> None:
    start(hopsworks, "first")
    second = start(hopsworks, "second")
    with pytest.raises(ConfigurationError, match=r"2 Flink clusters .* run: first, second\. Name one as hopsworks_job"):
        FlinkHook().job_state(JOB_ID)
    connect(monkeypatch, jars_dir, hopsworks_job="second")
    assert second.app_id in FlinkHook().settings.url


def test_flink_away_behind_hopsworks(hopsworks: LocalHopsworks, cluster: FlinkStub) -> None:
    start(hopsworks)
    hook = FlinkHook()
    assert hook.job_state(JOB_ID) is None
    cluster.fail("GET", "/jobs", status=503, times=1)
    # As in front of a JobManager that restarts.
    assert hook.job_state(JOB_ID) is None


@pytest.mark.parametrize("fields", [{"host": "http://flink:8081"}, {"login": "me"}])
def test_an_address_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]) -> None:
    extra = {"hopsworks_conn_id": "hopsworks_default"}
    set_connection(monkeypatch, "flink_default", conn_type="flink", extra=extra, **fields)
    with pytest.raises(ConfigurationError, match="leave host and login empty"):
        FlinkHook().client  # noqa: B018 - reading it is the test


def test_hopsworks_away(hopsworks: LocalHopsworks, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "hopsworks_default", **{**hopsworks.connection(), "port": 1})
    with pytest.raises(FlinkConnectionError, match="cannot be reached"):
        FlinkHook().job_state(JOB_ID)
    with pytest.raises(FlinkConnectionError, match="cannot be reached"):
        ask("job", JOB_ID)
