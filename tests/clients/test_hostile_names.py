"""Names that come from users stay names: they become no other path, header, statement, file or login."""

from __future__ import annotations

import io
import re
import string
import zipfile
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from hopsworks_flink.clients.flink.bundle import Bundle
from hopsworks_flink.clients.flink.connection import FlinkConnection
from hopsworks_flink.clients.flink.rest import FlinkRestClient
from hopsworks_flink.clients.hopsworks.connection import HopsworksConnection
from hopsworks_flink.clients.hopsworks.rest import HopsworksRest
from hopsworks_flink.clients.kafka.java_properties import java_client_properties
from hopsworks_flink.clients.masking import mask
from hopsworks_flink.exceptions import ConfigurationError, FlinkError, PipelineError
from hopsworks_flink.pipeline.plan import kafka_options
from tests.support.flink_stub import FlinkStub

NASTY = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="/\\.%?#&=;'\"`$\r\n\t\0 ab{}", max_size=20),
    st.sampled_from(
        ["..", "../../jobs/overview", "a/b", "%2e%2e", "x?mode=cancel", "x#y", "x\r\nHost: evil", "a b", "ü"]
    ),
)
FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Connection:
    """The attributes of Airflow's connection."""

    def __init__(self, **fields: Any) -> None:
        self.conn_id, self.host, self.port, self.schema = "c", None, None, None
        self.login: str | None = None
        self.password: str | None = None
        self.extra_dejson: dict[str, Any] = {}
        self.__dict__.update(fields)


def attempt(call: Callable[[], Any]) -> tuple[Any, str]:
    """What came of a call, and the sentence with which it was refused."""
    try:
        return call(), ""
    except (ConfigurationError, PipelineError) as error:
        return None, str(error)


@pytest.fixture(scope="module")
def cluster() -> Iterator[FlinkStub]:
    with FlinkStub() as stub:
        yield stub


@FAST
@given(name=NASTY)
@example("../overview")
@example("")
def test_ids_stay_one_segment_of_flinks_address(cluster: FlinkStub, name: str) -> None:
    client = FlinkRestClient(cluster.url)
    try:
        for call, prefix, suffix in (
            (lambda: client.job(name), "/jobs/", ""),
            (lambda: client.checkpoints(name), "/jobs/", "/checkpoints"),
            (lambda: client.watermarks("ab" * 16, name), f"/jobs/{'ab' * 16}/vertices/", "/watermarks"),
            (lambda: client.delete_jar(name), "/jars/", ""),
        ):
            cluster.requests.clear()
            with pytest.raises((FlinkError, ConfigurationError)):
                call()
            for request in cluster.requests:
                path = request.path
                assert path.startswith(prefix), path
                assert path.endswith(suffix), path
                inner = path[len(prefix) : len(path) - len(suffix)]
                assert not set(inner) & set("/?#"), path
                assert unquote(inner) == name
    finally:
        client.close()


@FAST
@given(name=NASTY, project=NASTY)
def test_job_names_stay_one_segment_of_hopsworks_address(name: str, project: str) -> None:
    assume(not {"", ".", ".."} & {name, project})
    api = HopsworksRest(HopsworksConnection("hopsworks", 443, project, "k" * 20))
    for url, position, text in (
        (api.execution_url(7, name, 3), 6, name),
        (api.newest_execution_url(7, name), 6, name),
        (api.project_url(), 5, project),
    ):
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "hopsworks", "")
        segments = parts.path.split("/")
        assert unquote(segments[position]) == text
        assert len(segments) in (6, 8, 9)
        assert "mode" not in parts.query


@FAST
@given(key=NASTY.map(lambda text: f"{text}k3y-{text}"))
def test_an_api_key_cannot_add_a_header_and_is_never_quoted(key: str) -> None:
    connection = Connection(host="hopsworks", password=key, extra_dejson={"project": "demo"})
    found, refusal = attempt(lambda: HopsworksConnection.from_airflow(connection, {}))
    if refusal:
        assert key.strip() not in refusal
    else:
        assert re.fullmatch(r"[\x21-\x7e]+", found.api_key)
        assert found.api_key not in repr(found)


@FAST
@given(host=NASTY, port=st.one_of(st.none(), st.integers(0, 70000)))
def test_an_address_is_a_plain_one_or_refused(host: str, port: int | None) -> None:
    for read in (
        lambda: FlinkConnection.from_airflow(Connection(host=host, port=port)).url,
        lambda: (
            HopsworksConnection.from_airflow(
                Connection(host=host, port=port, password="k" * 20, extra_dejson={"project": "demo"}), {}
            ).url
        ),
    ):
        url, refusal = attempt(read)
        if refusal:
            assert "connection 'c'" in refusal
            continue
        parts = urlsplit(url)
        assert parts.scheme in ("http", "https")
        assert parts.hostname
        assert (parts.username, parts.query, parts.fragment) == (None, "", "")
        assert not set(url) & set(string.whitespace + "\0\\\"'`<>")


def test_an_address_of_ipv6_keeps_its_brackets() -> None:
    connection = Connection(host="https://[::1]:8443", password="k" * 20, extra_dejson={"project": "demo"})
    found = HopsworksConnection.from_airflow(connection, {})
    # The SDK puts host and port together in the same way.
    assert (found.host, found.port, found.url) == ("[::1]", 8443, "https://[::1]:8443")


@FAST
@given(value=NASTY, password=NASTY.map("pa55word{}".format))
def test_kafka_settings_stay_values_of_their_options(value: str, password: str) -> None:
    conf = {
        "bootstrap.servers": value,
        "client.id": value,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": value,
        "sasl.password": password,
    }
    properties, refusal = attempt(lambda: java_client_properties(conf))
    if refusal:
        assert "pa55word" not in refusal
        return
    # Flink's strings end at a quote that is not doubled; a backslash is a character like any other.
    options = kafka_options(properties)
    texts = [text[1:-1].replace("''", "'") for text in re.findall(r"'(?:[^']|'')*'", options)]
    assert texts == [part for key, text in sorted(properties.items()) for part in (f"properties.{key}", text)]
    assert not re.sub(r"'(?:[^']|'')*'", "", options).strip(" ,=\n")
    # Java's reader of login lines: one user, one password, nothing after them.
    login = re.fullmatch(
        r'\S+ required username="((?:[^"\\]|\\.)*)" password="((?:[^"\\]|\\.)*)";', properties["sasl.jaas.config"]
    )
    assert login
    assert [re.sub(r"\\(.)", r"\1", text) for text in login.groups()] == [value, password]


@FAST
@given(name=NASTY)
@example("/etc/passwd")
@example("a/../../b")
@example("C:\\x")
def test_files_of_a_bundle_stay_beside_the_program(name: str) -> None:
    bundle, refusal = attempt(lambda: Bundle("job", {"job.py": b"", name: b"x"}))
    if refusal:
        assert "not allowed" in refusal
        return
    with zipfile.ZipFile(io.BytesIO(bundle.to_zip())) as archive:
        names = archive.namelist()
    assert sorted(names) == sorted({"job.py", name})
    for one in names:
        assert not one.startswith("/")
        assert ".." not in one.split("/")
        assert not set(one) & set("\\\0\r\n")


@FAST
@given(secret=st.text(min_size=6, max_size=60), before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_masked_text_does_not_hold_the_secret(secret: str, before: str, after: str) -> None:
    assume("*" not in secret)
    assert secret not in mask(before + secret + after, [secret])
