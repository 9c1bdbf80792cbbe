"""Both clients read one connection alike: TLS, credentials, errors; against servers on real sockets."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hopsworks_flink.clients.tls import tls_context
from hopsworks_flink.exceptions import ConfigurationError, FlinkApiError, FlinkConnectionError, FlinkJobNotFound
from hopsworks_flink.health.facts import job_facts
from hopsworks_flink.hooks.flink import FlinkHook
from hopsworks_flink.hooks.flink_async import AsyncFlinkHook
from tests.support.fixtures import set_connection
from tests.support.flink_stub import FlinkStub

pytestmark = pytest.mark.airflow

Ask = Callable[..., Any]


def ask_blocking(method: str, *arguments: Any) -> Any:
    return getattr(FlinkHook("flink_default").client, method)(*arguments)


def ask_async(method: str, *arguments: Any) -> Any:
    async def ask() -> Any:
        async with AsyncFlinkHook("flink_default") as flink:
            return await getattr(flink.client, method)(*arguments)

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [ask_blocking, ask_async])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def secure(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[FlinkStub]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    tls_context.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with FlinkStub() as stub:
        stub._server.socket = context.wrap_socket(stub._server.socket, server_side=True)
        stub.url = stub.url.replace("http:", "https:")
        yield stub
    tls_context.cache_clear()


def connect(monkeypatch: pytest.MonkeyPatch, stub: FlinkStub, **extra: Any) -> None:
    set_connection(
        monkeypatch, "flink_default", conn_type="flink", host=stub.url, login="me", password="hidden-pw", extra=extra
    )


@both
def test_certificate_of_the_connection(
    secure: FlinkStub, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    connect(monkeypatch, secure, ca_path=str(certificate[0]))
    # The connection's own word counts, whatever stands in the environment.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    assert ask("config")["flink-version"]
    assert secure.requests[0].headers["Authorization"] == "Basic bWU6aGlkZGVuLXB3"


@both
def test_a_password_of_any_letters(flink: FlinkStub, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    set_connection(monkeypatch, "flink_default", conn_type="flink", host=flink.url, login="zoë", password="10€")
    assert ask("config")["flink-version"]
    assert flink.requests[0].headers["Authorization"] == f"Basic {b64encode('zoë:10€'.encode()).decode()}"


@both
def test_who_asks_is_the_connections_word(
    flink: FlinkStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Ask
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert ask("config")["flink-version"]
    assert "Authorization" not in flink.requests[0].headers


@both
def test_certificate_nobody_vouches_for(secure: FlinkStub, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    connect(monkeypatch, secure)
    with pytest.raises(FlinkConnectionError, match=r"certificate of Flink at https://.* is not accepted: .*ca_path"):
        ask("config")
    assert secure.requests == []


@both
def test_verification_turned_off(secure: FlinkStub, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    connect(monkeypatch, secure, verify_tls=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    assert ask("config")["flink-version"]


@both
def test_bundle_of_the_environment(
    secure: FlinkStub, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    connect(monkeypatch, secure)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    assert ask("config")["flink-version"]


@both
def test_certificate_that_is_not_there(secure: FlinkStub, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    connect(monkeypatch, secure, ca_path="/no/such/ca.pem")
    with pytest.raises(ConfigurationError, match=r"'/no/such/ca.pem' of the Flink connection \(ca_path\)"):
        ask("config")


@both
@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ({"status": 404}, FlinkJobNotFound, "answered 404: scripted"),
        ({"status": 401}, FlinkApiError, "Check login and password"),
        ({"status": 200, "text": "<html>"}, FlinkApiError, "is this the address of Flink's REST API"),
        ({"status": 503, "times": 9}, FlinkApiError, "answered 503"),
        ({"reset": True, "times": 9}, FlinkConnectionError, "cannot be reached|broke off"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_errors_are_the_same(
    flink: FlinkStub, ask: Ask, fault: dict[str, Any], error: type[Exception], text: str
) -> None:
    flink.fail("GET", "/jobs/", **{"times": 1, **fault})
    with pytest.raises(error, match=text) as caught:
        ask("job", flink.add().job_id)
    assert type(caught.value) is error
    assert "hidden-pw" not in str(caught.value)


@both
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    set_connection(monkeypatch, "flink_default", conn_type="flink", host="http://127.0.0.1:1")
    with pytest.raises(FlinkConnectionError, match=r"cannot be reached: .*(refused|failed)"):
        ask("config")


@both
def test_answers_are_the_same(flink: FlinkStub, ask: Ask) -> None:
    job = flink.add(checkpoint="chk", exception="x.Y: z")
    assert ask("job", job.job_id)["jid"] == job.job_id
    assert [entry["jid"] for entry in ask("jobs")] == [job.job_id]
    assert ask("job_metrics", job.job_id, ["numRestarts"]) == {"numRestarts": "0"}
    assert ask("checkpoints", job.job_id)["latest"]["completed"]["external_path"] == "chk"
    assert ask("cancel", job.job_id) is None
    assert job.state == "CANCELED"


@both
def test_facts_are_the_same(flink: FlinkStub, ask: Ask) -> None:
    flink.add(state="FINISHED")
    job = flink.add(checkpoint="chk", failures=[5.0])
    flink.add("other")
    by_name, by_id = ask("answer", job_facts("cards", None, 1.0)), ask("answer", job_facts(None, job.job_id, 1.0))
    assert (by_name.job_id, by_name.job_ids, by_name.vertices, by_name.restarts) == (job.job_id, (job.job_id,), 2, 1)
    assert replace(by_id, age=0.0, checkpoint_age=0.0) == replace(by_name, age=0.0, checkpoint_age=0.0)
    assert ask("find_job", "ab" * 16) is ask("job_state", "ab" * 16) is None
    assert ask("job_state", job.job_id) == "RUNNING"
    assert ask("answer", job_facts(None, "ab" * 16, 1.0)).state == "NOT_FOUND"


@contextmanager
def proxy(monkeypatch: pytest.MonkeyPatch, status: int, header: str, value: str) -> Iterator[None]:
    """What stands in front of Flink, and answers everything alike; it is the connection's host."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header(header, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        set_connection(monkeypatch, "flink_default", conn_type="flink", host=address, login="me", password="hidden-pw")
        yield
        server.shutdown()


@both
def test_a_certificate_behind_a_redirect_is_checked(
    secure: FlinkStub, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    behind = proxy(monkeypatch, 302, "Location", f"{secure.url}/config")
    with behind, pytest.raises(FlinkConnectionError, match="is not accepted"):
        ask("config")
    assert secure.requests == []


@both
def test_a_proxy_does_not_say_how_long_a_worker_hangs(monkeypatch: pytest.MonkeyPatch, brisk: None, ask: Ask) -> None:
    begun = time.monotonic()
    with proxy(monkeypatch, 503, "Retry-After", "3"), pytest.raises(FlinkApiError, match="answered 503"):
        ask("config")
    assert time.monotonic() - begun < 3


def test_missing_connection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_FLINK_DEFAULT", raising=False)
    set_connection(monkeypatch, "flink_default", conn_type="flink", host="http://me:pw@flink")

    async def enter() -> None:
        async with AsyncFlinkHook("flink_default"):
            raise AssertionError("not reached")

    with pytest.raises(ConfigurationError, match="without user and password"):
        asyncio.run(enter())
