"""The port for metrics and health: what it answers, and what it refuses to bear."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest

from vault_service.adapters.status_http import Page, StatusServer
from vault_service.domain import limits

HOST = "127.0.0.1"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server with a page, and one that is broken."""

    def broken() -> Page:
        raise RuntimeError("canary-page")

    pages = {
        "/readyz": lambda: Page(HTTPStatus.SERVICE_UNAVAILABLE, "application/json", b'{"a": 1}\n'),
        "/broken": broken,
    }
    server = StatusServer(pages)
    yield await server.start(HOST, 0)
    await server.stop()


async def ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer; both empty where the connection was just closed."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(request)
            await writer.drain()
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def test_answers(port: int) -> None:
    """GET gives the page with its status and length, HEAD the same without a body; what follows a
    question mark is left alone."""
    head, body = await ask(port, b"GET /readyz?verbose HTTP/1.1\r\nHost: x\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {"a": 1}
    head, body = await ask(port, b"HEAD /readyz HTTP/1.0\r\n\r\n")
    assert b"Content-Length: 9" in head
    assert body == b""


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /secret HTTP/1.1", 404),
        (b"GET / HTTP/1.1", 404),
        (b"POST /readyz HTTP/1.1", 405),
        (b"GET /readyz HTTP/2", 400),
        (b"GET  /readyz HTTP/1.1", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET /broken HTTP/1.1", 500),
    ],
)
async def test_refusals(
    port: int, request_line: bytes, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other paths, other methods, other protocols and a page that fails each have their status."""
    head, body = await ask(port, request_line + b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"canary" not in body + capsys.readouterr().err.encode()


async def test_long_head(port: int) -> None:
    """A head that never ends is cut off at 8 KiB, and the server answers on."""
    head, _ = await ask(port, b"GET /readyz HTTP/1.1\r\nX: " + b"x" * 100_000)
    assert head == b"" or head.startswith(b"HTTP/1.1 431 ")
    head, _ = await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")
    assert b" 503 " in head


async def test_slow_peers(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not finish its request in time is hung up on."""
    monkeypatch.setattr(limits, "STATUS_LIMIT_S", 0.05)
    assert await ask(port, b"GET /readyz HTT") == (b"", b"")


async def test_too_many(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of connections a new one is hung up on; then there is room again."""
    monkeypatch.setattr(limits, "STATUS_CONNECTIONS_MAX", 2)
    held = [await asyncio.open_connection(HOST, port) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n") == (b"", b"")
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.05)
    head, _ = await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")
    assert b" 503 " in head


async def test_stop_with_a_peer_that_hangs() -> None:
    """The end waits a second for who is being answered, not for who says nothing."""
    server = StatusServer({})
    port = await server.start(HOST, 0)
    _, writer = await asyncio.open_connection(HOST, port)
    await asyncio.sleep(0.05)
    async with asyncio.timeout(3):
        await server.stop()
    writer.close()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(HOST, port)


async def test_taken_port(port: int) -> None:
    """A port that is taken is named in the error."""
    with pytest.raises(OSError, match=f"cannot listen for metrics on 127.0.0.1:{port}"):
        await StatusServer({}).start(HOST, port)
