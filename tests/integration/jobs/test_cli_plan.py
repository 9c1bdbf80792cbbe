"""``hopsworks-flink plan`` beside a real deployment: before it, after it, and after changes of the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator, HopsworksCreateTopicOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from tests.support import REPOSITORY
from tests.support.fixtures import set_connection, task_context
from tests.support.live.platform import jobs

pytestmark = pytest.mark.timeout(400)

SCRIPT = Path(sys.executable).parent / "hopsworks-flink"
# The stack may be one that other runs have used.
NAME = f"planned_{time.time_ns() // 1_000_000 % 100_000_000}"
TOPIC, GROUP, JOB = f"{NAME}_events", f"{NAME}_1", f"{NAME}__features"
SPEC = {
    "name": NAME,
    "source": {
        "topic": TOPIC,
        "schema": {"tid": "string", "at": "bigint", "cc_num": "bigint", "amount": "double"},
        "event_time": {"column": "at"},
    },
    "feature_groups": [
        {
            "name": NAME,
            "key": ["cc_num"],
            "window": {"size": "10m", "slide": "1m"},
            "aggregates": {"n": "count", "spread": {"stddev_samp": "amount"}},
        }
    ],
}


class Plan:
    """The command, and a file for it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.spec = folder / "cards.yaml", json.loads(json.dumps(SPEC))

    def run(self, code: int, *arguments: str, environment: dict[str, str] | None = None) -> str:
        self.file.write_text(yaml.safe_dump(self.spec, sort_keys=False))
        done = subprocess.run(
            [SCRIPT, "plan", self.file, *arguments],
            cwd=REPOSITORY,
            env=environment or dict(os.environ),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done.stdout if code != 1 else done.stderr

    def facts(self, code: int, *arguments: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Action by resource, and the whole answer."""
        answer = json.loads(self.run(code, "--json", *arguments))
        return {resource["name"]: resource["action"] for resource in answer["resources"]}, answer


@pytest.fixture(scope="module")
def plan(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        yield Plan(tmp_path_factory.mktemp("plan"))
        for job_id, state in jobs(stack, JOB).items():
            if state not in ("FINISHED", "CANCELED", "FAILED"):
                requests.patch(f"{stack.config.flink_url}/jobs/{job_id}?mode=cancel", timeout=30)


def deploy(spec: dict[str, Any]) -> dict[str, Any]:
    pipeline = Pipeline.parse(spec)
    source = pipeline.source
    HopsworksCreateTopicOperator(
        task_id="topic", topic=source.topic, schema=source_avro_schema(pipeline), partitions=source.partitions
    ).execute(task_context())
    for group in pipeline.feature_groups:
        HopsworksCreateFeatureGroupOperator(
            task_id=group.full_name, **feature_group_arguments(pipeline, group)
        ).execute(task_context())
    return FlinkDeployFeaturePipelineOperator(
        task_id="deploy", pipeline=spec, grace_period=1.0, poll_interval=0.5, timeout=120
    ).execute(task_context())


def test_before_the_first_deployment_everything_is_to_be_created(plan: Plan) -> None:
    actions, answer = plan.facts(2)
    assert actions == {TOPIC: "create", GROUP: "create", JOB: "create"}
    assert answer["state"] == {"outcome": "resets", "reasons": ["no job of this name is known"]}


def test_after_it_nothing_is_left_to_do(plan: Plan) -> None:
    job_id = deploy(plan.spec)["job_id"]
    text = plan.run(0)
    assert text.splitlines()[-2:] == ["state keeps", "Nothing would change."]
    assert f"job {job_id} is RUNNING" in text
    assert "change" not in text.replace("Nothing would change.", "")


def test_what_the_state_survives_and_what_not(plan: Plan) -> None:
    plan.spec["source"]["max_disorder"] = "9s"
    actions, answer = plan.facts(2)
    assert actions == {TOPIC: "none", GROUP: "none", JOB: "change"}
    assert answer["state"] == {"outcome": "keeps", "reasons": []}
    assert answer["resources"][-1]["details"][-1] == "the SQL differs"

    plan.spec = json.loads(json.dumps(SPEC))
    plan.spec["feature_groups"][0]["window"]["size"] = "20m"
    text = plan.run(2, "--parallelism", "2")
    assert f"state rewarms: {GROUP} has another key, other windows, other accumulators or another engine" in text
    assert text.endswith("1 of 3 would change.\n")


def test_drift_and_new_groups_are_named(plan: Plan) -> None:
    plan.spec = json.loads(json.dumps(SPEC))
    (group,) = plan.spec["feature_groups"]
    plan.spec["feature_groups"].append({**group, "version": 2, "event_time": "window_end"})
    group["aggregates"] = {**group["aggregates"], "most": {"max": "amount"}}
    plan.spec["source"]["schema"]["shop"] = "string"
    plan.spec["source"]["partitions"] = 3
    actions, answer = plan.facts(2, "--state", "fresh")
    assert actions == {TOPIC: "change", GROUP: "change", f"{NAME}_2": "create", JOB: "change"}
    assert answer["state"]["outcome"] == "resets"
    details = {resource["name"]: " ".join(resource["details"]) for resource in answer["resources"]}
    assert "feature 'most' (double) is missing there" in details[GROUP]
    assert "a deployment appends it" in details[GROUP]
    assert "its schema differs" in details[TOPIC]
    assert "it has 1 partition(s), wanted 3" in details[TOPIC]
    assert len(jobs_of(plan)) == 1, "looking has changed nothing"


def jobs_of(plan: Plan) -> list[str]:
    url = json.loads(os.environ["AIRFLOW_CONN_FLINK_DEFAULT"])["host"]
    return [job["jid"] for job in requests.get(f"{url}/jobs/overview", timeout=30).json()["jobs"] if job["name"] == JOB]
