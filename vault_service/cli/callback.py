"""Receives one authorization callback on loopback (RFC 8252 §7.3), for the command line only."""

from __future__ import annotations

import hmac
import html
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from vault_service.cli.output import fail

_HOSTS = frozenset({"127.0.0.1", "localhost"})
_PATH_MAX_CHARS = 8_192


@dataclass(frozen=True, slots=True)
class Callback:
    """The parameters of the callback; "" where it had none."""

    state: str
    code: str
    iss: str
    error: str


def is_loopback(redirect_uri: str) -> bool:
    """Whether this machine can receive the callback by plain http on a port."""
    parts = urlsplit(redirect_uri)
    return parts.scheme == "http" and parts.hostname in _HOSTS and parts.port is not None


class CallbackListener:
    """Listens from the start, so that no callback comes too early."""

    def __init__(self, redirect_uri: str) -> None:
        parts = urlsplit(redirect_uri)
        received = self._received = list[Callback]()
        expected_path = parts.path or "/"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = urlsplit(self.path[:_PATH_MAX_CHARS])
                query = {key: values[0] for key, values in parse_qs(asked.query).items()}
                if asked.path != expected_path or "state" not in query:
                    self._answer(404, "Not the callback.")
                    return
                received.append(
                    Callback(
                        state=query["state"],
                        code=query.get("code", ""),
                        iss=query.get("iss", ""),
                        error=query.get("error", ""),
                    )
                )
                self._answer(200, "Done. You can close this window and go back to the terminal.")

            def _answer(self, status: int, text: str) -> None:
                body = html.escape(text).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """The path holds the code: nothing of it is printed."""

        try:
            self._server = HTTPServer(("127.0.0.1", parts.port or 0), Handler)
        except OSError as error:
            fail(f"cannot listen for the callback on port {parts.port}: {error.strerror}")

    def wait(self, state: str) -> Callback:
        """The callback with our state; others are not ours and are left alone."""
        with self._server:
            while True:
                self._server.handle_request()
                for callback in self._received:
                    if hmac.compare_digest(callback.state.encode(), state.encode()):
                        return callback
