"""A client of the scripted authorization server that hides nothing of what came."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote_plus, urlencode

from tests.support.authserver.service import CLIENT_ID, CLIENT_SECRET

_LIMIT_S = 20.0
_LOGIN = (CLIENT_ID, CLIENT_SECRET)
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Came:
    """An answer; the names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object."""
        members: dict[str, Any] = json.loads(self.body)
        return members


class AuthServerClient:
    """One connection, kept open between requests."""

    def __init__(self, port: int, ca_file: Path) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_LIMIT_S, context=self._tls
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def refresh(
        self, token: str, *, path: str = "/token", headers: Mapping[str, str] | None = None
    ) -> Came:
        """A refresh by Basic and a form."""
        return self.post(path, refresh_fields(token), headers=headers)

    def post(
        self,
        path: str,
        fields: Mapping[str, str],
        *,
        login: tuple[str, str] | None = _LOGIN,
        headers: Mapping[str, str] | None = None,
    ) -> Came:
        """A form."""
        sent = {"Content-Type": _FORM, **_basic(login), **(headers or {})}
        return self._ask("POST", path, urlencode(fields).encode(), sent)

    def post_json(self, path: str, fields: Mapping[str, str]) -> Came:
        """JSON, and no Authorization."""
        sent = {"Content-Type": "application/json"}
        return self._ask("POST", path, json.dumps(fields).encode(), sent)

    def resource(self, access_token: str) -> Came:
        """GET /resource."""
        return self._ask("GET", "/resource", b"", {"Authorization": f"Bearer {access_token}"})

    def bytes_of_refresh(self, token: str) -> tuple[bytes, str]:
        """All bytes that came on a connection of its own, and its end: "reset" or "close"."""
        body = urlencode(refresh_fields(token)).encode()
        head = [
            "POST /token HTTP/1.1",
            "Host: test",
            f"Content-Type: {_FORM}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in _basic(_LOGIN).items()),
        ]
        request = "\r\n".join(head).encode() + b"\r\n\r\n" + body
        with socket.create_connection(("127.0.0.1", self._port), timeout=_LIMIT_S) as raw:
            return _exchange(raw, self._tls, request)

    def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Came:
        self._connection.request(method, path, body or None, dict(headers))
        answer = self._connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Came(answer.status, named, answer.read())


def refresh_fields(token: str) -> dict[str, str]:
    """RFC 6749 §6."""
    return {"grant_type": "refresh_token", "refresh_token": token}


def _basic(login: tuple[str, str] | None) -> dict[str, str]:
    if login is None:
        return {}
    pair = ":".join(quote_plus(part) for part in login)
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _exchange(raw: socket.socket, tls: ssl.SSLContext, request: bytes) -> tuple[bytes, str]:
    """TLS in memory, because an SSLSocket tells a reset as an end."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = tls.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    came = b""
    asked = False
    while True:
        try:
            if not asked:
                session.do_handshake()
                session.write(request)
                asked = True
            while chunk := session.read(65_536):
                came += chunk
            return came, "close"
        except ssl.SSLWantReadError:
            due = outgoing.read()
        try:
            if due:
                raw.sendall(due)
            received = raw.recv(65_536)
        except ConnectionResetError:
            return came, "reset"
        if not received:
            return came, "close"
        incoming.write(received)
