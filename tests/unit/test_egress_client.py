"""The one HTTP client, against a TLS server that misbehaves in each way once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.https_server import (
    Behaviour,
    CountingSocket,
    DevCertificates,
    Request,
    Server,
    make_certificates,
    reply,
    reset,
    serve,
)
from vault_service.domain import limits
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard

OK = reply(b'{"access_token":"at"}')
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevCertificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def server(certificates: DevCertificates) -> AsyncIterator[Server]:
    async with serve(OK, certificates) as state:
        yield state


@pytest.fixture
async def http(server: Server, certificates: DevCertificates) -> AsyncIterator[HttpClient]:
    client = HttpClient(EgressGuard([server.authority]), certificates.ca_file, now=lambda: NOW)
    yield client
    await client.close()


async def _failure(http: HttpClient, url: str, limit_s: float = 2.0) -> TransportFailure:
    with pytest.raises(TransportFailure) as caught:
        await http.post_form(url, {"a": "b"}, limit_s=limit_s)
    return caught.value


async def test_request_is_as_written(server: Server, http: HttpClient) -> None:
    """The form goes out in its order, encoded as RFC 6749 appendix B, asking for plain JSON."""
    basic = Sensitive(b"id:pass")
    fields: dict[str, str | Sensitive] = {"z": " %&+£€", "a": Sensitive("ü=".encode())}
    answer = await http.post_form(f"{server.url}?tenant=a%20b", fields, basic=basic)
    request = server.requests[0]
    assert request.body == b"z=+%25%26%2B%C2%A3%E2%82%AC&a=%C3%BC%3D"
    assert request.head.startswith("POST /token?tenant=a%20b HTTP/1.1\r\n")
    assert request.header("Host") == server.authority
    assert request.header("Authorization") == "Basic aWQ6cGFzcw=="
    assert request.header("Content-Type") == "application/x-www-form-urlencoded"
    assert request.header("Accept") == "application/json"
    assert request.header("Accept-Encoding") == "identity"
    assert request.header("User-Agent") == "tokenvault"
    assert (answer.status, answer.body.reveal(), answer.refusal) == (
        200,
        b'{"access_token":"at"}',
        "",
    )
    assert answer.content_type == "application/json"
    assert "access_token" not in repr(answer)


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
async def test_redirects_are_not_followed(server: Server, http: HttpClient, status: str) -> None:
    """A redirect is an answer like any other: one request, and nothing at its Location."""
    async with CountingSocket() as other:
        location = f"Location: https://127.0.0.1:{other.port}/\r\n"
        server.behaviour = reply(b"", status, extra=location)
        answer = await http.post_form(server.url, {"a": "b"})
        assert (answer.status, len(server.requests), other.connections) == (int(status[:3]), 1, 0)


async def test_environment_is_not_asked(
    server: Server, http: HttpClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a proxy, nor a netrc file, nor a TLS key log of the environment is used."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    async with CountingSocket() as proxy:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        assert (await http.post_form(server.url, {})).status == 200
        assert proxy.connections == 0
    assert server.requests[0].header("Authorization") is None
    assert not (tmp_path / "keys").exists()


async def test_cookies_are_not_kept(server: Server, http: HttpClient) -> None:
    """A cookie of one answer is not in the next request; the connection is used again."""
    server.behaviour = reply(b"{}", extra="Set-Cookie: a=b; Path=/\r\n")
    for _ in range(2):
        await http.post_form(server.url, {})
    assert [request.header("Cookie") for request in server.requests] == [None, None]
    assert server.connections == 1


async def test_body_is_cut(server: Server, http: HttpClient) -> None:
    """One megabyte is cut at 64 KiB and refused; 64 KiB exactly is read."""
    server.behaviour = reply(b"x" * 1_000_000)
    answer = await http.post_form(server.url, {})
    assert (len(answer.body), answer.refusal) == (
        limits.BODY_MAX_BYTES,
        f"longer than {limits.BODY_MAX_BYTES} bytes",
    )
    server.behaviour = reply(b"x" * limits.BODY_MAX_BYTES)
    answer = await http.post_form(server.url, {})
    assert (len(answer.body), answer.refusal) == (limits.BODY_MAX_BYTES, "")


async def test_endless_body_is_cut(server: Server, http: HttpClient) -> None:
    """A body without an end is cut at 64 KiB, not read until the limit of time."""

    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 4_096 + b"\r\n")
            await writer.drain()

    server.behaviour = endless
    answer = await http.post_form(server.url, {}, limit_s=5)
    assert (len(answer.body), answer.refusal != "") == (limits.BODY_MAX_BYTES, True)


@pytest.mark.parametrize("head_first", [False, True])
async def test_slow_drip_is_cut(server: Server, http: HttpClient, head_first: bool) -> None:
    """An answer that drips, in its head or its body, ends at the limit of time: what came is
    kept, and said not to be whole."""

    async def drip(request: Request, writer: asyncio.StreamWriter) -> None:
        if head_first:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.02)

    server.behaviour = drip
    start = time.monotonic()
    answer = await http.post_form(server.url, {}, limit_s=0.4)
    assert 0.35 < time.monotonic() - start < 1.5
    assert (answer.status, answer.refusal) == (200, "no whole answer within the limit")
    assert (len(answer.body) > 0) is head_first


async def _reset(request: Request, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def _close(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _half(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()


async def _broken_chunks(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret-of-theirs\r\n")


async def _no_http(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 secret-of-theirs ESMTP\r\n\r\n")


async def _huge_head(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: " + b"secret-of-theirs" * 10_000 + b"\r\n\r\n")


async def _silence(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("behaviour", "body"),
    [(_half, b"{"), (_broken_chunks, b"secret-of-theirs\r\n"), (_huge_head, b"")],
)
async def test_what_came_of_an_answer_is_kept(
    server: Server, http: HttpClient, behaviour: Behaviour, body: bytes
) -> None:
    """After a status line whatever breaks gives an answer with what came, said not to be whole."""
    server.behaviour = behaviour
    answer = await http.post_form(server.url, {}, limit_s=1.0)
    assert (answer.status, answer.body.reveal(), answer.refusal != "") == (200, body, True)
    assert "secret-of-theirs" not in answer.noted
    assert len(server.requests) == 1


@pytest.mark.parametrize("behaviour", [_reset, _close, _no_http, _silence])
async def test_failures_after_the_request_are_sent(
    server: Server, http: HttpClient, behaviour: Behaviour
) -> None:
    """Whatever breaks after the request went out and before a status counts as sent, and is told
    in our words."""
    server.behaviour = behaviour
    failure = await _failure(http, server.url)
    assert failure.sent
    assert len(server.requests) == 1
    assert "secret-of-theirs" not in str(failure)


async def test_reset_on_a_used_connection_is_sent(server: Server, http: HttpClient) -> None:
    """A pooled connection that is cut under the second request counts as sent, without a retry."""
    await http.post_form(server.url, {})
    server.behaviour = _reset
    assert (await _failure(http, server.url)).sent
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_connection_closed_while_idle_is_not_used(server: Server, http: HttpClient) -> None:
    """A pooled connection that the server closed before is replaced, not failed on."""

    async def answer_and_close(request: Request, writer: asyncio.StreamWriter) -> None:
        await OK(request, writer)
        await writer.drain()
        writer.close()

    server.behaviour = answer_and_close
    for _ in range(2):
        assert (await http.post_form(server.url, {})).status == 200
        await asyncio.sleep(0.1)
    assert server.connections == 2


async def test_connection_refused_is_not_sent(certificates: DevCertificates) -> None:
    """A closed port is a failure before anything was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
    http = HttpClient(EgressGuard([authority]), certificates.ca_file)
    failure = await _failure(http, f"https://{authority}/")
    assert (failure.sent, failure.detail) == (False, "connection refused, cut or unreachable")
    await http.close()


async def test_reset_in_the_handshake_is_not_sent(certificates: DevCertificates) -> None:
    """A peer that cuts the connection before TLS stands has not seen the request."""
    async with CountingSocket() as plain:
        http = HttpClient(EgressGuard([f"127.0.0.1:{plain.port}"]), certificates.ca_file)
        failure = await _failure(http, f"https://127.0.0.1:{plain.port}/")
        assert (failure.sent, plain.connections) == (False, 1)
        await http.close()


async def test_silent_handshake_is_cut_and_not_sent(certificates: DevCertificates) -> None:
    """A peer that accepts and says nothing ends at the limit of time as not sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
        http = HttpClient(EgressGuard([authority]), certificates.ca_file)
        assert not (await _failure(http, f"https://{authority}/", limit_s=0.3)).sent
        await http.close()


async def test_unknown_ca_is_not_sent(server: Server) -> None:
    """A server whose CA is not trusted gets no request; the detail says why."""
    http = HttpClient(EgressGuard([server.authority]))
    failure = await _failure(http, server.url)
    assert not failure.sent
    assert failure.detail.startswith("TLS: ")
    assert server.requests == []
    await http.close()


async def test_other_name_in_the_certificate_is_not_sent(
    server: Server, certificates: DevCertificates
) -> None:
    """A certificate for another name is refused."""

    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    guard = EgressGuard([f"other.test:{server.port}"])
    http = HttpClient(guard, certificates.ca_file, lookup=lookup)
    failure = await _failure(http, f"https://other.test:{server.port}/")
    assert not failure.sent
    assert "ostname mismatch" in failure.detail
    await http.close()


async def test_connects_to_the_checked_address_only(
    server: Server, certificates: DevCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is looked up once for a connection and by the guarded resolver only."""
    looked_up: list[tuple[str, int]] = []
    system: list[Any] = []

    async def lookup(host: str, port: int) -> list[str]:
        looked_up.append((host, port))
        return ["127.0.0.1"]

    ask = socket.getaddrinfo

    def watched(*args: Any, **kwargs: Any) -> Any:
        system.append(args)
        return ask(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", watched)
    authority = f"pinned.test:{server.port}"
    http = HttpClient(EgressGuard([authority]), certificates.ca_file, lookup=lookup)
    assert (await http.post_form(f"https://{authority}/", {})).status == 200
    assert looked_up == [("pinned.test", server.port)]
    assert system == []
    await http.close()


async def test_unknown_name_is_not_sent() -> None:
    """A name that cannot be looked up is a failure before anything was sent."""

    async def lookup(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    http = HttpClient(EgressGuard(), lookup=lookup)
    failure = await _failure(http, "https://provider.example/token")
    assert (failure.sent, failure.detail) == (False, "the name cannot be looked up")
    await http.close()


async def test_guard_refusal_is_not_sent() -> None:
    """What the guard refuses is told with the guard's own words."""
    http = HttpClient(EgressGuard())
    failure = await _failure(http, "https://127.0.0.1/token")
    assert not failure.sent
    assert "egress.allowed_private" in failure.detail


async def test_connections_per_host_are_bounded(server: Server, http: HttpClient) -> None:
    """A slow host holds sixteen connections; the request that waits for one was not sent."""
    release = asyncio.Event()

    async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await OK(request, writer)

    server.behaviour = slow
    limit = limits.HTTP_CONNECTIONS_PER_HOST_MAX
    tasks = [asyncio.create_task(http.post_form(server.url, {})) for _ in range(limit)]
    while len(server.requests) < limit:
        await asyncio.sleep(0.01)
    assert not (await _failure(http, server.url, limit_s=0.2)).sent
    assert server.connections == limit
    release.set()
    assert {answer.status for answer in await asyncio.gather(*tasks)} == {200}


async def test_cancellation_goes_through(server: Server, http: HttpClient) -> None:
    """A cancelled request is cancelled, not turned into a failure."""

    async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    server.behaviour = slow
    task = asyncio.create_task(http.post_form(server.url, {}))
    while not server.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closed_client_sends_nothing(server: Server, http: HttpClient) -> None:
    """After close a request fails as not sent."""
    await http.post_form(server.url, {})
    await http.close()
    assert not (await _failure(http, server.url)).sent
    assert len(server.requests) == 1


async def test_retry_after_comes_along(server: Server, http: HttpClient) -> None:
    """Retry-After is read from the answer, here as a date."""
    date = "Retry-After: Thu, 01 Jan 2026 00:00:30 GMT\r\n"
    server.behaviour = reply(b"", "503 Busy", extra=date)
    assert (await http.post_form(server.url, {})).retry_after_s == 30.0
