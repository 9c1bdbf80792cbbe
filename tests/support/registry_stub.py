"""A schema registry's API for reading, on a real socket."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class RegistryStub:
    """Schemas by id.

    :param schemas: id → what ``schema`` of the answer says (data or text), or a whole answer.
    """

    def __init__(self) -> None:
        self.schemas: dict[int, Any] = {}
        self.answers: dict[int, Any] = {}
        #: Paths of the requests, and their authorization.
        self.requests: list[tuple[str, str | None]] = []
        #: Status codes of the next answers, before all goes well.
        self.failures: list[int] = []
        self.url = ""


@contextmanager
def registry_stub(certificates: Path | None = None, passwords: Collection[str] = ()) -> Iterator[RegistryStub]:
    """A registry that runs.

    :param certificates: folder with ``server.pem`` and ``server.key``, for TLS.
    :param passwords: headers of those that it lets in, which may change; none: it asks for none.
    """
    stub = RegistryStub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stub.requests.append((self.path, self.headers.get("Authorization")))
            number = int(self.path.rpartition("/")[2])
            status, answer = 404, {"error_code": 40403, "message": "Schema not found"}
            if passwords and self.headers.get("Authorization") not in passwords:
                status = 401
            elif stub.failures:
                status = stub.failures.pop(0)
            elif number in stub.answers:
                status, answer = 200, stub.answers[number]
            elif number in stub.schemas:
                status, answer = 200, {"schema": json.dumps(stub.schemas[number])}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        # Handshakes in the requests' own threads: one that fails must not end the server's.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        stub.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
