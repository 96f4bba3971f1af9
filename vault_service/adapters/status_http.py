"""Metrics and health for machines: GET over plain http/1.1, one request a connection.

It runs on the service's own loop on purpose: where that hangs, /livez does not answer. Bounded in
connections, size and time, since whoever reaches the port may try. What is answered holds no
secret.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from vault_service.domain import limits
from vault_service.telemetry import get_logger

_log = get_logger(__name__)

_HEAD_END: Final = b"\r\n\r\n"
_STOP_LIMIT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Page:
    """What a path answers."""

    status: HTTPStatus
    content_type: str
    body: bytes


class StatusServer:
    """``pages`` gives what each path answers, made anew for every request."""

    def __init__(self, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (the system's choice for 0). OSError when taken."""
        try:
            self._server = await asyncio.start_server(
                self._accept, host, port, limit=limits.STATUS_HEAD_MAX_BYTES
            )
        except OSError as error:
            raise OSError(
                f"cannot listen for metrics on {host}:{port}: {error.strerror or error}"
            ) from error
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Take nothing more; requests under way get a second."""
        if self._server is None:
            return
        self._server.close()
        if self._connections:
            _, late = await asyncio.wait(set(self._connections), timeout=_STOP_LIMIT_S)
            for task in late:
                task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # At the limit it is hung up on: a 503 would have to be sent, and waited for, too.
        if len(self._connections) >= limits.STATUS_CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(limits.STATUS_LIMIT_S):
                with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                    writer.write(await self._answer(reader))
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        except TimeoutError:
            pass  # of a peer that is too slow nothing is expected any more
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(_HEAD_END)
        except asyncio.LimitOverrunError:
            return _encoded(_says(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), "GET")
        method, target = _request_line(head)
        if not method:
            return _encoded(_says(HTTPStatus.BAD_REQUEST), "GET")
        if method not in ("GET", "HEAD"):
            return _encoded(_says(HTTPStatus.METHOD_NOT_ALLOWED), method)
        make = self._pages.get(target.split("?", 1)[0])
        if make is None:
            return _encoded(_says(HTTPStatus.NOT_FOUND), method)
        try:
            return _encoded(make(), method)
        except Exception as fault:
            _log.error("status page failed", fault=type(fault).__name__, error=fault)
            return _encoded(_says(HTTPStatus.INTERNAL_SERVER_ERROR), method)


def _request_line(head: bytes) -> tuple[str, str]:
    """Method and target (RFC 9112 §3); ("", "") for what is no request."""
    parts = head.split(b"\r\n", 1)[0].split(b" ")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        return "", ""
    return parts[0].decode("latin-1"), parts[1].decode("latin-1")


def _says(status: HTTPStatus) -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{status.phrase}\n".encode())


def _encoded(page: Page, method: str) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if page.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = ("\r\n".join(lines)).encode() + _HEAD_END
    return head if method == "HEAD" else head + page.body
