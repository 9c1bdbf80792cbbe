"""Connections whose clients do not finish their requests, against a real server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from devstack.hopsworks.api import protocol

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


async def echo(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "BODY_SECONDS", 0.5)
    config = uvicorn.Config(echo, http=protocol.BoundedProtocol, port=0, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join(10)


def seconds_until_closed(connection: socket.socket, drip: bytes = b"") -> float:
    """How long the server keeps the connection, to which one byte after the other is sent."""
    began = time.monotonic()
    connection.settimeout(0.1)
    for byte in [*(bytes([one]) for one in drip), *[b""] * 100]:
        try:
            connection.sendall(byte)
            if not connection.recv(1):
                return time.monotonic() - began
        except TimeoutError:
            continue
        except ConnectionError:
            return time.monotonic() - began
    raise AssertionError("the connection was not closed")


@pytest.mark.parametrize(
    ("sent", "drip"),
    [
        (b"", b""),
        (b"GET / HT", b""),
        (b"GET / HTTP/1.1\r\n", b"X-Slow: " + b"a" * 200),
        (REQUEST, b""),
        (REQUEST + b"ab", b""),
    ],
    ids=["nothing", "half a line", "slow headers", "no body", "half a body"],
)
def test_a_request_that_does_not_arrive_ends_its_connection(address, sent, drip):
    with socket.create_connection(address) as connection:
        connection.sendall(sent)
        assert 0.3 < seconds_until_closed(connection, drip) < 5


def test_a_body_may_take_longer_as_long_as_it_goes_on(address):
    with socket.create_connection(address) as connection:
        connection.sendall(REQUEST)
        for byte in (b"a", b"b", b"c", b"d"):
            time.sleep(0.3)
            connection.sendall(byte)
        connection.settimeout(5)
        assert b"200 OK" in connection.recv(1000)


def test_another_request_on_the_connection_has_its_time_and_no_more(address):
    with socket.create_connection(address) as connection:
        connection.settimeout(5)
        for _ in range(2):
            connection.sendall(REQUEST + b"abcd")
            answer = b""
            while not answer.endswith(b"abcd"):
                answer += connection.recv(1000)
            time.sleep(0.8)
        connection.sendall(b"GET /")
        assert 0.3 < seconds_until_closed(connection) < 5
