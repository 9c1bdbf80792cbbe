"""The local Hopsworks as its clients see it: log-in, topics and schemas, files; the unmodified SDK and real Kafka."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from confluent_kafka.admin import AdminClient
from hopsworks.client.exceptions import JobExecutionException, ProjectException, RestAPIError
from hsfs.core.expectation_suite_api import ExpectationSuiteApi
from hsfs.core.feature_descriptive_statistics import FeatureDescriptiveStatistics
from hsfs.core.statistics_api import StatisticsApi
from hsfs.expectation_suite import ExpectationSuite
from hsfs.feature import Feature
from hsfs.statistics import Statistics

from devstack.stack import Stack

# --- log-in -----------------------------------------------------------------------------------------------------------


def test_login_and_feature_store(project: Any, fs: Any) -> None:
    assert (project.id, project.name) == (119, "demo")
    assert (fs.id, fs.name) == (67, "demo_featurestore")


def test_refused_logins(stack: Stack, login: Callable[..., Any]) -> None:
    try:
        with pytest.raises(ProjectException) as wrong_key:
            login(api_key_value="wrong")
        assert isinstance(wrong_key.value.__cause__, RestAPIError)
        assert wrong_key.value.__cause__.response.status_code == 401
        assert wrong_key.value.__cause__.error_code == 320012
        with pytest.raises(ProjectException) as unknown:
            login(project="nobody")
        assert unknown.value.__cause__.error_code == 150004
    finally:
        login()


def test_a_certificate_of_another_authority_is_refused(stack: Stack) -> None:
    url = f"{stack.config.hopsworks_url}/hopsworks-api/api/variables/versions"
    assert requests.get(url, verify=str(stack.config.hopsworks_ca), timeout=10).status_code == 200
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, verify=requests.certs.where(), timeout=10)


# --- Kafka API, files -------------------------------------------------------------------------------------------------


def test_topics_and_schemas(stack: Stack, project: Any, name: str) -> None:
    kafka = project.get_kafka_api()
    schema = {"type": "record", "name": "tx", "fields": [{"name": "a", "type": ["null", "int"]}]}
    first = kafka.create_schema(name, schema)
    assert kafka.create_schema(name, schema).version == first.version == 1
    assert kafka.get_topic(name) is None
    topic = kafka.create_topic(name, name, 1, replicas=1, partitions=3)
    assert topic.name == name
    assert len(_partitions(stack, name)) == 3
    with pytest.raises(RestAPIError) as exists:
        kafka.create_topic(name, name, 1, replicas=1, partitions=3)
    assert (exists.value.response.status_code, exists.value.error_code) == (409, 190002)
    kafka.get_topic(name).delete()
    deadline = time.monotonic() + 10
    while _partitions(stack, name) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _partitions(stack, name) == []


def _partitions(stack: Stack, topic: str) -> list[int]:
    topics = AdminClient({"bootstrap.servers": stack.config.kafka_bootstrap}).list_topics(timeout=10).topics
    return list(topics[topic].partitions) if topic in topics else []


def test_files_go_up_in_chunks_and_come_down_whole(project: Any, name: str, tmp_path: Path) -> None:
    api = project.get_dataset_api()
    source = tmp_path / f"{name}.bin"
    source.write_bytes(os.urandom(3_000_001))
    path = api.upload(str(source), "Resources", chunk_size=1_000_000)
    assert api.exists(path)
    target = tmp_path / "down"
    target.mkdir()
    assert Path(api.download(path, str(target))).read_bytes() == source.read_bytes()
    api.remove(path)
    assert not api.exists(path)
    empty = tmp_path / f"{name}.empty"
    empty.touch()
    assert api.exists(api.upload(str(empty), "Resources"))


def test_a_folder_that_exists_is_refused(project: Any, name: str) -> None:
    api = project.get_dataset_api()
    api.mkdir(f"Resources/{name}")
    with pytest.raises(RestAPIError) as exists:
        api.mkdir(f"Resources/{name}")
    assert exists.value.response.status_code == 400


# --- jobs, data quality -----------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys
import hopsworks

project = hopsworks.login()
print("project", project.name, "arguments", sys.argv[1:], "from", os.environ["HOPS_START_TIME"])
project.get_feature_store()
sys.exit(3 if "fail" in sys.argv else 0)
"""


def test_a_python_job_runs_and_logs_in_by_itself(project: Any, name: str, tmp_path: Path) -> None:
    source = tmp_path / f"{name}.py"
    source.write_text(PROGRAM)
    path = project.get_dataset_api().upload(str(source), "Resources")
    api = project.get_job_api()
    job = api.create_job(name, {**api.get_configuration("PYTHON"), "appPath": path})
    begin = datetime.datetime(2024, 1, 1)
    execution = job.run("-a 'b c'", await_termination=True, start_time=begin)
    assert execution.success is True
    out, _ = execution.download_logs(str(tmp_path))
    assert "project demo arguments ['-a', 'b c'] from 2024-01-01T00:00:00" in Path(out).read_text()
    with pytest.raises(JobExecutionException):
        job.run("fail", await_termination=True, start_time=begin)
    job.delete()


def test_expectation_suites_are_kept(fs: Any, name: str) -> None:
    group = fs.get_or_create_feature_group(name, 1, primary_key=["id"], stream=True, time_travel_format="HUDI")
    group.save([Feature("id", "bigint"), Feature("v", "double")])
    suite = ExpectationSuite(
        expectation_suite_name=name,
        expectations=[{"expectation_type": "expect_column_max_to_be_between", "kwargs": {"column": "v"}, "meta": {}}],
        meta={},
        run_validation=False,
    )
    # What the group's own method calls; that one insists on the package Great Expectations.
    api = ExpectationSuiteApi(fs.id, group.id)
    assert api._get() is None
    made = api._create(suite)
    found = api._get()
    assert found.id == made.id
    assert (found.expectation_suite_name, len(found.expectations), found.run_validation) == (name, 1, False)
    assert found.expectations[0].kwargs == {"column": "v"}
    assert fs.get_feature_group(name, 1).expectation_suite.expectation_suite_name == name
    api._delete(made.id)
    assert api._get() is None
    group.delete()


def test_statistics_are_kept(fs: Any, name: str) -> None:
    group = fs.get_or_create_feature_group(name, 1, primary_key=["id"], stream=True, time_travel_format="NONE")
    group.save([Feature("id", "bigint"), Feature("v", "double")])
    api = StatisticsApi(fs.id, "featuregroups")
    for moment, count in ((1, 5), (2, 7)):
        features = [FeatureDescriptiveStatistics(feature_name="v", feature_type="Fractional", count=count)]
        api._post(group, Statistics(computation_time=moment, feature_descriptive_statistics=features), None)
    newest = group.statistics
    assert (newest.computation_time, newest.feature_descriptive_statistics[0].count) == (2, 7)
    group.delete()
