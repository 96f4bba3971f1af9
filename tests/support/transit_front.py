"""An https front before a real transit that changes its clock or its health, as a proxy might."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

from vault_service.embedded.devca import DevCA

_HEALTH = "/v1/sys/health"


@contextlib.contextmanager
def transit_front(
    address: str, ca: DevCA, *, ahead: timedelta = timedelta(0), health: int = 0
) -> Iterator[str]:
    """The front's address. Its Date is ``ahead`` of ours; its health has this status, unless 0."""
    issued = ca.issue("transit-front", ips=("127.0.0.1",), server=True, client=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate_file, issued.key_file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(address, ca.root_file, ahead, health))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(
    address: str, ca_file: Path, ahead: timedelta, health: int
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass_on(b"")

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def _pass_on(self, body: bytes) -> None:
            token = self.headers.get("X-Vault-Token", "")
            with requests.Session() as session:
                session.trust_env = False
                answer = session.request(
                    self.command,
                    f"{address}{self.path}",
                    data=body,
                    headers={"X-Vault-Token": token} if token else {},
                    verify=str(ca_file),
                    timeout=10,
                )
            status = health if health and self.path == _HEALTH else answer.status_code
            self.send_response_only(status)
            self.send_header("Date", format_datetime(datetime.now(UTC) + ahead, usegmt=True))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: object) -> None:
            """Tests read no log of it."""

    return Handler
