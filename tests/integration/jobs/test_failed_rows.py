"""Rows that the online store drops: a key that is longer than its column, seen before, while and after it happens."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from confluent_kafka import Producer

from devstack.stack import Stack
from hopsworks_flink._compat import AirflowFailException
from hopsworks_flink.hooks.hopsworks import HopsworksHook
from hopsworks_flink.operators.flink import FlinkDeployFeaturePipelineOperator, FlinkSuperviseJobOperator
from hopsworks_flink.operators.hopsworks import HopsworksCreateFeatureGroupOperator, HopsworksCreateTopicOperator
from hopsworks_flink.pipeline.resources import feature_group_arguments, source_avro_schema
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.tasks.planning import Comparison, Deployment, compare
from tests.support.fixtures import set_connection, task_context, variables
from tests.support.live.jobs import OFTEN
from tests.support.live.platform import eventually, jobs

__all__ = ["variables"]
pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("variables")]

NAME = f"clicks_{time.time_ns() // 1_000_000 % 100_000_000}"
SHORT = "https://shop.example/cart"
LONG = f"https://shop.example/find?q={'x' * 117}"
FLUSH = "https://shop.example/flush"
GROUP: dict[str, Any] = {
    "name": NAME,
    "key": ["url"],
    "event_time": "window_end",
    "window": {"size": "10s"},
    "aggregates": {"n": "count", "last": {"last_value": "site"}},
}
SPEC: dict[str, Any] = {
    "name": NAME,
    "source": {
        "topic": f"{NAME}_events",
        "format": "json",
        "schema": {"url": "string", "at": "bigint"},
        "event_time": {"column": "at"},
        "derive": {"site": {"expression": "LEFT(url, 20)", "type": "string"}},
        "max_disorder": "0s",
    },
    "feature_groups": [GROUP],
}
# What the runbook says: a new version with a longer type, beside the old one.
CURED: dict[str, Any] = {
    **SPEC,
    "feature_groups": [
        GROUP,
        {**GROUP, "version": 2, "online_types": {"url": "varchar(500)", "window_end": "timestamp(3)"}},
    ],
}


class Clicks:
    """The pipeline's topic, in time that goes by as windows are filled."""

    def __init__(self, stack: Stack) -> None:
        self.producer = Producer({"bootstrap.servers": stack.config.kafka_bootstrap})
        self.start = int(time.time()) // 10 * 10_000 - 600_000

    def window(self, **clicks: int) -> None:
        """The next window with so many of each URL (``short``, ``long``), and an event that closes it."""
        urls = {"short": SHORT, "long": LONG}
        events = [urls[name] for name, number in clicks.items() for _ in range(number)]
        for url, at in [*((url, self.start + 1000) for url in events), (FLUSH, self.start + 10_001)]:
            self.producer.produce(SPEC["source"]["topic"], json.dumps({"url": url, "at": at}).encode())
        assert self.producer.flush(30) == 0
        self.start += 20_000


def register(spec: dict[str, Any]) -> None:
    pipeline = Pipeline.parse(spec)
    HopsworksCreateTopicOperator(
        task_id="topic", topic=pipeline.source.topic, schema=source_avro_schema(pipeline), partitions=1
    ).execute(task_context())
    for group in pipeline.feature_groups:
        arguments = feature_group_arguments(pipeline, group)
        HopsworksCreateFeatureGroupOperator(task_id=group.full_name, **arguments).execute(task_context())


def deploy(spec: dict[str, Any]) -> dict[str, Any]:
    return FlinkDeployFeaturePipelineOperator(
        task_id="deploy", pipeline=spec, grace_period=2.0, poll_interval=0.5, timeout=120, flink_configuration=OFTEN
    ).execute(task_context())


def supervise(spec: dict[str, Any]) -> dict[str, Any]:
    return FlinkSuperviseJobOperator(task_id="supervise_job", pipeline=spec).execute(task_context())


def served(version: int) -> dict[str, int]:
    """URL → number of clicks, as the SDK reads them online."""
    with HopsworksHook().session() as session:
        frame = session.get_feature_group(NAME, version).read(online=True)
    return {row["url"]: row["n"] for row in frame.to_dict("records") if row["url"] != FLUSH}


def planned(folder: Path, spec: dict[str, Any]) -> Comparison:
    file = folder / "clicks.yaml"
    file.write_text(yaml.safe_dump(spec))
    return compare(str(file), Deployment(flink_configuration=OFTEN))


@contextmanager
def connected(stack: Stack) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.airflow_connections().items():
            set_connection(patch, conn_id, **fields)
        yield


@pytest.fixture(scope="module")
def clicks(stack: Stack) -> Iterator[Clicks]:
    with connected(stack):
        yield Clicks(stack)
        for job, state in jobs(stack, f"{NAME}__features").items():
            if state not in ("FINISHED", "CANCELED", "FAILED"):
                requests.patch(f"{stack.config.flink_url}/jobs/{job}?mode=cancel", timeout=30)


def results() -> dict[str, int]:
    """Hopsworks' count of the job's rows, as the SDK tells it."""
    with HopsworksHook().session() as session:
        ingestion = session.get_feature_group(NAME, 1).get_latest_online_ingestion()
    return {result.status: result.rows for result in ingestion.results}


def test_a_key_that_is_too_long_is_told_before_and_while_rows_are_dropped(
    clicks: Clicks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(LONG) == 145
    comparison = planned(tmp_path, SPEC)
    (warning,) = comparison.warnings
    assert warning.startswith(f"{NAME}_1: key column 'url' is varchar(100) online, and its strings may be of any")
    assert f"warning: {warning}" in comparison.to_text().splitlines()

    register(SPEC)
    deploy(SPEC)
    (logged,) = [line for line in capsys.readouterr().out.splitlines() if f"{NAME}_1: key column" in line]
    assert "(online_types: {url: varchar(500)}), in a new version of the group" in logged

    def counted(**rows: int) -> None:
        assert results() == rows

    clicks.window(short=2)
    eventually(lambda: counted(UPSERTED=1))
    assert supervise(SPEC)["verdict"] == "healthy"
    assert served(1) == {SHORT: 2}

    # One row of three; that of the event which closed the window before is among them.
    clicks.window(short=3, long=1)
    eventually(lambda: counted(UPSERTED=3, FAILED=1))
    result = supervise(SPEC)
    assert (result["verdict"], result["action"]) == ("degraded", "warn")
    (reason,) = [reason["text"] for reason in result["reasons"] if reason["topic"] == "online"]
    assert reason.startswith(f"the online store dropped 1 of 3 new rows for feature group {NAME}_1, 1 since the job's")
    assert "(url varchar(100)); give the group a new version with longer online_types" in reason
    assert supervise(SPEC)["verdict"] == "healthy", "nothing new"
    assert served(1) == {SHORT: 3}

    clicks.window(long=5)
    eventually(lambda: counted(UPSERTED=4, FAILED=2))
    with pytest.raises(AirflowFailException, match=r"is sick: the online store dropped 1 of 2 new rows .*, 2 since"):
        supervise(SPEC)


def test_another_type_for_a_registered_column_is_refused(clicks: Clicks, tmp_path: Path) -> None:
    changed = {**SPEC, "feature_groups": [{**GROUP, "online_types": {"url": "varchar(500)"}}]}
    difference = "feature 'url' is varchar(100) online, wanted varchar(500)"
    (group,) = [found for found in planned(tmp_path, changed).resources if found.kind == "feature_group"]
    assert difference in group.details[0]
    assert group.details[-1] == "a deployment refuses this: raise the version"
    with pytest.raises(AirflowFailException, match=rf"{re.escape(difference)}.*takes a new version of the group"):
        register(changed)
    with pytest.raises(AirflowFailException, match=re.escape(difference)):
        deploy(changed)


def test_a_new_version_with_a_longer_type_serves_the_row(clicks: Clicks, tmp_path: Path) -> None:
    register(CURED)
    with HopsworksHook().session() as session:
        types = {feature.name: feature.online_type for feature in session.get_feature_group(NAME, 2).columns}
    assert types == {"url": "varchar(500)", "n": "bigint", "last": "varchar(100)", "window_end": "timestamp(3)"}
    assert all(f"{NAME}_1:" in warning for warning in planned(tmp_path, CURED).warnings)
    deploy(CURED)
    clicks.window(short=4, long=7)

    def written() -> None:
        assert served(2) == {SHORT: 4, LONG: 7}

    eventually(written)
    assert served(1) == {SHORT: 4}
