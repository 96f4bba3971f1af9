"""Connections that stand between two requests, and how they end."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from tests.fakes.https_server import (
    DevCertificates,
    Request,
    Server,
    reply,
)
from vault_service.domain import limits
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import HttpClient
from vault_service.egress.connection import Connection
from vault_service.egress.guard import EgressGuard

_CUT_WITHIN_S = 15.0  # half of what asyncio waits unless it is told


@pytest.mark.parametrize("closes", [False, True])
async def test_what_came_and_was_not_read(server: Server, http: HttpClient, closes: bool) -> None:
    """Where a second answer, or the peer's goodbye, waits unread in the socket, the next request
    goes by another connection."""
    writers: list[asyncio.StreamWriter] = []

    async def remembers(request: Request, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reply(b'{"n":1}')(request, writer)

    server.behaviour = remembers
    await http.post_form(server.url, {})
    server.behaviour = reply(b'{"n":2}')
    # No turn of the loop until the next request: nobody can read this before.
    if closes:
        writers[0].close()
    else:
        writers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + b'{"forged":1}')
    assert (await http.post_form(server.url, {})).body.reveal() == b'{"n":2}'
    assert server.connections == 2


_LATE_BODY = b'{"access_token":"of-user-A","refresh_token":"rt-A"}'


_LATE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n"
_EMPTY = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
)


# A second whole answer after a whole one cannot be told from a true one.
@pytest.mark.parametrize(
    ("first", "head"),
    [
        *((first, head) for first in _EMPTY for head in (b"", _LATE_HEAD)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b""),
    ],
)
async def test_a_body_that_comes_late_is_nobody_elses(
    server: Server, http: HttpClient, first: bytes, head: bytes
) -> None:
    """What a peer sends after an answer that was empty, cut or whole, when the next request is on
    its way, never becomes the answer to that request: it goes by another connection, or a body
    without a status line is refused."""
    writers: list[asyncio.StreamWriter] = []

    async def of_user_a(_: Request, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(first)
        await writer.drain()

    async def of_user_b(request: Request, writer: asyncio.StreamWriter) -> None:
        if writer in writers:
            writer.write(head + _LATE_BODY)
            await writer.drain()
        else:
            await reply(b'{"access_token":"of-user-B"}')(request, writer)

    server.behaviour = of_user_a
    await http.post_form(server.url, {})
    server.behaviour = of_user_b
    if first in _EMPTY:
        answer = await http.post_form(server.url, {})
        assert answer.body.reveal() == b'{"access_token":"of-user-B"}'
    else:
        with pytest.raises(TransportFailure, match="sent: no HTTP"):
            await http.post_form(server.url, {})


async def test_a_peer_that_said_goodbye() -> None:
    """A connection is stale from the peer's close_notify on, not only when it is gone."""
    connection = Connection(lambda _: None)
    connection.eof_received()
    assert connection.stale
    assert not connection.fit


async def test_a_peer_that_never_says_goodbye(
    certificates: DevCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is not used again is cut soon, though the peer never answers its end."""
    monkeypatch.setattr(limits, "HTTP_GOODBYE_S", 0.05)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_file)

    def silent_until_cut(listener: socket.socket) -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as secured:
            secured.recv(65_536)
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            with socket.socket(fileno=secured.detach()) as raw:
                raw.settimeout(_CUT_WITHIN_S)
                while raw.recv(65_536):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
        http = HttpClient(EgressGuard([authority]), certificates.ca_file)
        peer = asyncio.create_task(asyncio.to_thread(silent_until_cut, listener))
        assert (await http.post_form(f"https://{authority}/", {})).body.reveal() == b"{}"
        await peer
        await http.close()
