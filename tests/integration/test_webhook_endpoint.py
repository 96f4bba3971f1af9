"""The way to a webhook's endpoint, against one that misbehaves in each way once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.https_server import (
    CountingSocket,
    DevCertificates,
    Request,
    Server,
    make_certificates,
    reply,
    reset,
    serve,
)
from vault_service.adapters.webhook_endpoint import HttpWebhookEndpoint
from vault_service.domain import limits
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.webhook import SignedMessage, WebhookAnswer
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard

_OK = reply(b"", "204 No Content")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevCertificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def server(certificates: DevCertificates) -> AsyncIterator[Server]:
    async with serve(_OK, certificates) as state:
        yield state


@pytest.fixture
async def http(server: Server, certificates: DevCertificates) -> AsyncIterator[HttpClient]:
    client = HttpClient(EgressGuard([server.authority]), certificates.ca_file)
    yield client
    await client.close()


def message(url: str) -> SignedMessage:
    return SignedMessage(url, "id-1", 1_700_000_000, "v1,AAAA", Sensitive(b'{"type":"t"}'))


async def send(http: HttpClient, server: Server, path: str = "/hook?a=b") -> WebhookAnswer:
    return await HttpWebhookEndpoint(http).send(message(f"https://{server.authority}{path}"))


async def test_a_request_as_the_specification_has_it(server: Server, http: HttpClient) -> None:
    """One POST of the JSON as it was signed, with the three headers and no other secret."""
    assert await send(http, server) == WebhookAnswer(204, "status 204")
    (request,) = server.requests
    assert request.head.startswith("POST /hook?a=b HTTP/1.1\r\n")
    assert request.body == b'{"type":"t"}'
    assert request.header("webhook-id") == "id-1"
    assert request.header("webhook-timestamp") == "1700000000"
    assert request.header("webhook-signature") == "v1,AAAA"
    assert request.header("Content-Type") == "application/json"
    assert request.header("Authorization") is None


@pytest.mark.parametrize(
    ("status", "taken"),
    [("200 OK", True), ("202 A", True), ("410 G", False), ("429 T", False), ("500 E", False)],
)
async def test_the_status_decides(
    server: Server, http: HttpClient, status: str, taken: bool
) -> None:
    """2xx is taken and everything else is not; Retry-After is told."""
    server.behaviour = reply(b"", status, extra="Retry-After: 7\r\n")
    answer = await send(http, server)
    assert (answer.status, answer.taken) == (int(status[:3]), taken)
    assert answer.retry_after_s == 7


async def test_a_redirect_is_not_followed(server: Server, http: HttpClient) -> None:
    """A redirect is a failure, and nobody connects to where it points."""
    async with CountingSocket() as counting:
        target = f"Location: https://127.0.0.1:{counting.port}/\r\n"
        server.behaviour = reply(b"", "307 T", extra=target)
        answer = await send(http, server)
        assert (answer.status, answer.taken) == (307, False)
        assert "redirect" in answer.detail
        assert counting.connections == 0


async def test_a_private_address_is_never_called(
    certificates: DevCertificates, server: Server
) -> None:
    """An address that is not public is refused before anything is sent, also when it is found only
    by looking the name up (it was public when the webhook was put)."""

    async def rebound(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    client = HttpClient(EgressGuard([]), certificates.ca_file, lookup=rebound)
    endpoint = HttpWebhookEndpoint(client)
    for url in (
        f"https://127.0.0.1:{server.port}/hook",
        f"https://pinned.test:{server.port}/hook",
        "https://169.254.169.254/latest",
    ):
        answer = await endpoint.send(message(url))
        assert answer.status == 0, url
        assert "not public" in answer.detail or "private" in answer.detail or answer.detail, url
    assert server.connections == 0
    await client.close()


async def test_a_huge_answer_is_not_read(server: Server, http: HttpClient) -> None:
    """Of a body without end a few kilobytes are read; the status counts all the same."""
    sent = 0

    async def flood(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while sent < 200_000_000:
                writer.write(b"x" * 65_536)
                sent += 65_536
                await writer.drain()
        except OSError:
            pass

    server.behaviour = flood
    assert (await send(http, server)).status == 200
    assert sent < 50_000_000


async def test_a_slow_answer_is_given_up(
    server: Server, http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that drips is cut off at the limit of one request; it has said its status."""
    monkeypatch.setattr(limits, "WEBHOOK_LIMIT_S", 0.4)

    async def drip(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    server.behaviour = drip
    began = time.monotonic()
    answer = await send(http, server)
    assert time.monotonic() - began < 2
    assert answer.status == 200
    assert "limit" in answer.detail


async def test_broken_ways(
    server: Server, http: HttpClient, certificates: DevCertificates, tmp_path: Path
) -> None:
    """A reset, nonsense, nothing listening and a foreign CA are failures without a status, told in
    our words."""

    async def cut(request: Request, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async def nonsense(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"canary-of-the-other-side\r\n\r\n")
        writer.close()

    for behaviour in (cut, nonsense):
        server.behaviour = behaviour
        answer = await send(http, server)
        assert answer.status == 0
        assert answer.detail
        assert "canary" not in answer.detail
    stranger = HttpClient(EgressGuard([server.authority]))
    answer = await send(stranger, server)
    assert answer.status == 0
    assert "TLS" in answer.detail
    await stranger.close()


async def test_fails_once_then_taken(server: Server, http: HttpClient) -> None:
    """An endpoint that fails and then works gets the same request, byte for byte."""
    server.behaviour = reply(b"oops", "500 E")
    assert not (await send(http, server)).taken
    server.behaviour = _OK
    assert (await send(http, server)).taken
    first, second = server.requests
    assert first.body == second.body
