"""One bounded HTTPS request to a child of ours on loopback: is it ready, does its login work.

Egress owns the HTTP client, with its rules about addresses; a child's own port needs none of it.
HTTP/1.0, so that the body ends where the connection does (RFC 9112 §6.3).
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vault_service.embedded.machine import LOOPBACK

_ANSWER_MAX_BYTES: Final = 65_536
_CHUNK_BYTES: Final = 8_192
_LIMIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status 0: nobody answered."""

    status: int
    body: bytes

    def member(self, *names: str) -> Any:
        """What stands in the JSON body under these names; None where there is nothing."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found


def request(
    port: int,
    ca_file: Path,
    path: str,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """GET, or POST when there is a JSON body. Raises nothing: see ``Answer``."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.0",
        f"Host: {LOOPBACK}:{port}",
        f"Content-Length: {len(content)}",
        "Content-Type: application/json",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    message = "\r\n".join([*lines, "", ""]).encode() + content
    try:
        context = ssl.create_default_context(cafile=ca_file)
        with (
            socket.create_connection((LOOPBACK, port), _LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname=LOOPBACK) as connection,
        ):
            connection.sendall(message)
            return _parse(_read(connection))
    except (OSError, ValueError):
        return Answer(0, b"")


def _read(connection: ssl.SSLSocket) -> bytes:
    answer = b""
    while len(answer) < _ANSWER_MAX_BYTES and (chunk := connection.recv(_CHUNK_BYTES)):
        answer += chunk
    return answer


def _parse(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    return Answer(int(head.split(b" ", 2)[1][:3]), body)
