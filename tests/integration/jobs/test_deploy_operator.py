"""Deploying a pipeline: the ids come from the local Hopsworks server, the job goes to a stub cluster that shows it."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from devstack.stack import Stack
from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support.fixtures import flink, jars_dir, set_connection, task_context
from tests.support.flink_stub import FlinkStub

__all__ = ["flink", "jars_dir"]

MARKER = "marker-secret-8714"


def pipeline(**changes: Any) -> dict[str, Any]:
    group = {
        "name": f"deployed_{time.time_ns() // 1_000_000 % 100_000_000}",
        "version": 1,
        "key": ["card"],
        "window": {"size": "10m", "slide": "1m"},
        "aggregates": {"n": "count", "average": {"avg": "amount"}},
    }
    source = {
        "topic": "deployed_events",
        "schema": {"card": "bigint", "at": "bigint", "amount": "double"},
        "event_time": {"column": "at", "unit": "milliseconds"},
    }
    return {"name": "deployed", "source": source, "feature_groups": [group], **changes}


@pytest.fixture
def hook(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> HopsworksHook:
    set_connection(monkeypatch, "hopsworks_default", **stack.airflow_connections()["hopsworks_default"])
    return HopsworksHook()


def register(hook: HopsworksHook, spec: dict[str, Any]) -> int:
    parsed = Pipeline.parse(spec)
    with hook.session() as session:
        group, _ = session.create_feature_group(**feature_group_arguments(parsed, parsed.feature_groups[0]))
        return int(group.id)


def latest_ingestion(hook: HopsworksHook, spec: dict[str, Any]) -> int | None:
    with hook.session() as session:
        group = session.get_feature_group(spec["feature_groups"][0]["name"], 1)
        ingestion = group.get_latest_online_ingestion()
    return ingestion.id if ingestion else None


def deploy(spec: Any, **changes: Any) -> tuple[dict[str, Any], FlinkDeployFeaturePipelineOperator]:
    operator = FlinkDeployFeaturePipelineOperator(
        task_id="t", pipeline=spec, grace_period=0.01, poll_interval=0.01, timeout=10, **changes
    )
    return operator.execute(task_context()), operator


def read_bundles(flink: FlinkStub) -> list[dict[str, bytes]]:
    """From now on, what each submission brings along."""
    seen: list[dict[str, bytes]] = []

    def look(_: Any) -> None:
        content = next(data for name, data in flink.jars.values() if name.startswith("feature_pipeline"))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            seen.append({name: archive.read(name) for name in archive.namelist()})

    flink.on_run = look
    return seen


def test_deploys_once_and_announces_once(hook: HopsworksHook, flink: FlinkStub) -> None:
    spec = pipeline()
    group_id = register(hook, spec)
    bundles = read_bundles(flink)
    first, _ = deploy(spec)
    assert first["action"] == "submitted"
    assert set(bundles[0]) == {"feature_pipeline.py", "plan.json", "bindings.json"}
    assert f"'{group_id}'" in bundles[0]["plan.json"].decode()
    ingestion = latest_ingestion(hook, spec)
    assert ingestion is not None
    assert str(ingestion) in json.loads(bundles[0]["bindings.json"])["values"].values()
    assert str(ingestion) not in json.loads(bundles[0]["plan.json"]).values()

    second, _ = deploy(spec)
    assert (second["action"], second["job_id"]) == ("none", first["job_id"])
    assert latest_ingestion(hook, spec) == ingestion

    spec["source"]["max_disorder"] = "17s"
    third, _ = deploy(spec)
    assert third["action"] == "replaced"
    assert len(flink.running()) == 1
    assert latest_ingestion(hook, spec) != ingestion


def test_credentials_of_the_source_stay_in_the_bundle(
    hook: HopsworksHook, flink: FlinkStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = {
        "bootstrap.servers": "kafka.example:9092",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "somebody",
        "sasl.password": MARKER,
    }
    set_connection(monkeypatch, "kafka_source", conn_type="kafka", extra=kafka)
    spec = pipeline()
    register(hook, spec)
    bundles = read_bundles(flink)
    result, operator = deploy(spec, source_kafka_conn_id="kafka_source")
    assert MARKER in bundles[0]["bindings.json"].decode()
    assert MARKER not in bundles[0]["plan.json"].decode()
    shown = [result, {name: getattr(operator, name) for name in operator.template_fields}]
    shown += [request.body for request in flink.requests if isinstance(request.body, dict)]
    shown += [job.user_config for job in flink.jobs.values()]
    assert MARKER not in json.dumps(shown, default=str)
    assert MARKER not in flink.log


def test_another_broker_of_the_source_changes_the_deployment_and_a_password_does_not(
    hook: HopsworksHook, flink: FlinkStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = pipeline()
    register(hook, spec)

    def deployed(servers: str, password: str) -> None:
        login = {"sasl.mechanism": "PLAIN", "sasl.username": "reader", "sasl.password": password}
        extra = {"bootstrap.servers": servers, "security.protocol": "SASL_PLAINTEXT", **login}
        set_connection(monkeypatch, "kafka_source", conn_type="kafka", extra=extra)
        deploy(spec, source_kafka_conn_id="kafka_source")

    deployed("one:9092", "first-password")
    deployed("one:9092", "second-password")
    assert len(flink.jobs) == 1
    # The job would read on from the old one.
    deployed("two:9092", "second-password")
    assert [job.state for job in flink.jobs.values()] == ["FINISHED", "RUNNING"]


def test_group_that_is_not_there(hook: HopsworksHook, flink: FlinkStub) -> None:
    with pytest.raises(AirflowFailException, match="does not exist"):
        deploy(pipeline())
    assert flink.requests == []


def test_group_that_differs(hook: HopsworksHook, flink: FlinkStub) -> None:
    spec = pipeline()
    register(hook, spec)
    spec["feature_groups"][0]["aggregates"]["n"] = {"max": "amount"}
    with pytest.raises(AirflowFailException, match="feature 'n' is bigint, wanted double"):
        deploy(spec)
    assert flink.requests == []


@pytest.mark.usefixtures("hook")
def test_broken_pipeline(flink: FlinkStub, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match=r"feature_groups"):
        deploy(pipeline(feature_groups=[]))
    with pytest.raises(AirflowFailException, match=r"no\.yaml"):
        deploy(str(tmp_path / "no.yaml"))
    assert flink.requests == []


def test_unknown_source_connection(hook: HopsworksHook, flink: FlinkStub) -> None:
    spec = pipeline()
    with pytest.raises(AirflowFailException, match="There is no Airflow connection 'kafka_nowhere'"):
        deploy(spec, source_kafka_conn_id="kafka_nowhere")
    assert flink.requests == []
