"""Flink's REST API of the local stack: what a page of another origin makes browsers send is refused; unknown jobs."""

from __future__ import annotations

import http.client
import io
import uuid
import zipfile
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from devstack.stack import Stack
from hopsworks_flink.clients.flink.rest import FlinkRestClient

FOREIGN = ["http://evil.example", "http://localhost:1", "null", "file://", "http://127.0.0.1.evil.example"]


def jar() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    return buffer.getvalue()


def upload(stack: Stack, name: str, **headers: str) -> requests.Response:
    files = {"jarfile": (name, jar(), "application/x-java-archive")}
    return requests.post(f"{stack.config.flink_url}/jars/upload", files=files, headers=headers, timeout=30)


def uploaded(stack: Stack) -> set[str]:
    return {jar["name"] for jar in requests.get(f"{stack.config.flink_url}/jars", timeout=30).json()["files"]}


@pytest.mark.parametrize("origin", FOREIGN)
def test_an_upload_of_a_foreign_page_is_refused_and_leaves_nothing(stack: Stack, origin: str) -> None:
    name = f"{uuid.uuid4().hex}.jar"
    response = upload(stack, name, Origin=origin)
    assert response.status_code == 403
    assert "Refused: the origin" in response.json()["errors"][0]
    assert name not in uploaded(stack)
    assert not list((stack.config.home / "flink" / "upload").rglob(f"*{name}"))


def test_programs_and_the_own_ui_upload_and_delete(stack: Stack) -> None:
    for headers in ({}, {"Origin": stack.config.flink_url, "Sec-Fetch-Site": "same-origin"}):
        name = f"{uuid.uuid4().hex}.jar"
        response = upload(stack, name, **headers)
        assert response.status_code == 200, response.text
        assert name in uploaded(stack)
        identity = response.json()["filename"].rpartition("/")[2]
        url = f"{stack.config.flink_url}/jars/{identity}"
        assert requests.delete(url, headers=headers, timeout=30).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_of_a_foreign_page_is_refused(stack: Stack, method: str) -> None:
    for path in ("/jobs/overview", "/jars/x.jar/run", f"/jobs/{'0' * 32}", "/cluster", "/config"):
        url = f"{stack.config.flink_url}{path}"
        response = requests.request(method, url, headers={"Origin": "http://evil.example"}, timeout=30)
        assert response.status_code == 403
        assert "Access-Control-Allow-Origin" not in response.headers


def raw(stack: Stack, path: str, *headers: tuple[str, str]) -> int:
    address = urlsplit(stack.config.flink_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse().status


def test_names_that_are_not_this_cluster_s_are_refused(stack: Stack) -> None:
    port = stack.config.flink_port
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert raw(stack, "/overview", ("Host", f"{host}:{port}")) == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "", "localhost.", "0.0.0.0"):
        assert raw(stack, "/overview", ("Host", host)) == 403
    assert raw(stack, "/overview") == 403
    assert raw(stack, "/overview", ("Host", "localhost"), ("Host", "evil.example")) == 403


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        # An image of a foreign page: some addresses act when they are read.
        (f"/jobs/{'0' * 32}/yarn-cancel", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("/jobs/overview", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        # A link to the UI, a reload of it, and the address typed.
        ("/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ("/jobs/overview", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ("/jobs/overview", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200),
    ],
)
def test_reading_across_sites(stack: Stack, path: str, headers: dict[str, Any], status: int) -> None:
    response = requests.get(f"{stack.config.flink_url}{path}", headers=headers, timeout=30)
    assert response.status_code == status
    assert response.headers.get("Access-Control-Allow-Origin") != "*"


def test_several_requests_on_one_connection_are_judged_one_by_one(stack: Stack) -> None:
    with requests.Session() as session:
        url = f"{stack.config.flink_url}/overview"
        statuses = [
            session.get(url, headers={"Origin": origin} if origin else {}, timeout=30).status_code
            for origin in (None, "http://evil.example", None, stack.config.flink_url)
        ]
    assert statuses == [200, 403, 200, 200]


def test_a_job_that_flink_does_not_know(stack: Stack) -> None:
    client = FlinkRestClient(stack.config.flink_url)
    try:
        assert client.job_state("ab" * 16) is client.find_job("ab" * 16) is None
    finally:
        client.close()
