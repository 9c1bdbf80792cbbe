"""Addresses of Flink's REST API as older clients write them."""

from __future__ import annotations

import pytest

from devstack.hopsworks.api.routes.flinkmaster import program_arguments


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("jars/1_a.jar/run%3Fentry-class=com.Main&program-args=-a%201", "entry-class=com.Main&program-args=-a+1"),
        (
            "jars/1_a.jar/run%3Fentry-class=com.Main&program-args=a=b&c=d",
            "entry-class=com.Main&program-args=a%3Db%26c%3Dd",
        ),
        ("jars/1_a.jar/run%3Fentry-classcom.Main", "entry-class=com.Main"),
        ("jars/1_a.jar/run%3fentry-class=com.Main", "entry-class=com.Main"),
    ],
)
def test_the_query_in_the_path_of_sdk_4_8(path, query):
    assert program_arguments(path, "") == ("jars/1_a.jar/run", query)


@pytest.mark.parametrize(
    ("path", "query"), [("jars/1_a.jar/run", "entry-class=a"), ("jobs/overview", ""), ("jars/a%3Fb/plan", "x=1")]
)
def test_other_addresses_are_left_alone(path, query):
    assert program_arguments(path, query) == (path, query)
