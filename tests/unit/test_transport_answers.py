"""Answers whose shape is a failure of the transport, through the real adapter over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.https_server import (
    Behaviour,
    DevCertificates,
    Request,
    Server,
    make_certificates,
    reply,
    reset,
    serve,
)
from tests.support.answers import corpus
from tests.support.samples import a_profile
from vault_service.adapters.oauth import OAuthTokenEndpoint
from vault_service.domain.answers import JUDGEMENTS, AnswerClass, Counted, TokenEndpointError
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientAuthMethod, ClientCredential
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_refresh
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard

_CLIENT: Final = ClientCredential(
    "c", Sensitive(b"a secret of ours"), ClientAuthMethod.CLIENT_SECRET_BASIC
)
_REFRESH: Final = Sensitive(b"rt-0123456789")
_TOKENS: Final = b'{"access_token":"at","refresh_token":"rt"}'
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class _Hasty(HttpClient):
    """The real client with a limit of a moment."""

    async def post_form(
        self,
        url: str,
        fields: Mapping[str, str | Sensitive],
        *,
        basic: Sensitive | None = None,
        limit_s: float = 0.3,
        send_limit_s: float | None = None,
    ) -> HttpAnswer:
        return await super().post_form(url, fields, basic=basic, limit_s=limit_s)


def _says(*parts: bytes, then: str = "close") -> Behaviour:
    """Sends the parts, then closes, resets or hangs."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then == "reset":
            await asyncio.sleep(0.01)
            reset(writer)
        elif then == "hang":
            await asyncio.sleep(5)
        else:
            writer.close()

    return behave


# What the server does once the request is there, and what it means.
_SENT: Final[Mapping[str, Behaviour]] = {
    "reset": _says(then="reset"),
    "closed without a byte": _says(),
    "no answer in time": _says(then="hang"),
    "half a status line": _says(b"HTTP/1.1 2"),
    "another protocol": _says(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "continue, then nothing": _says(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "500": reply(b"", "500 Internal Server Error"),
    "502": reply(b"<html>", "502 Bad Gateway", "text/html"),
    "503": reply(b"", "503 Service Unavailable"),
    "504": reply(b"", "504 Gateway Timeout"),
    "500 that names the grant": reply(b'{"error":"invalid_grant"}', "500 Oops"),
}


# Known to be a success, and not readable: the tokens may be lost, and what came is kept.
_LOST: Final[Mapping[str, Behaviour]] = {
    "half the headers": _says(_HEAD + b"Content-Le"),
    "headers, then nothing": _says(_HEAD + b"Content-Length: 42\r\n\r\n", then="hang"),
    "half the body": _says(_HEAD + b"Content-Length: 42\r\n\r\n" + _TOKENS[:20]),
    "half the body, reset": _says(
        _HEAD + b"Content-Length: 42\r\n\r\n" + _TOKENS[:20], then="reset"
    ),
    "a chunk without its end": _says(
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n10\r\n" + _TOKENS[:8]
    ),
    "a chunk that is none": _says(_HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nat\r\n"),
    "a header too long": _says(_HEAD + b"X: " + b"a" * 20_000 + b"\r\n\r\n"),
    "headers without end": _says(_HEAD + b"X: a\r\n" * 20_000, then="hang"),
}

# Closed at half its body; a 4xx says that nothing was carried out.
_HALF_A_REFUSAL: Final = _says(
    b'HTTP/1.1 400 Bad\r\nContent-Length: 90\r\n\r\n{"error":"invalid_grant"'
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> DevCertificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def server(certificates: DevCertificates) -> AsyncIterator[Server]:
    async with serve(reply(_TOKENS), certificates) as state:
        yield state


@contextlib.asynccontextmanager
async def _endpoint(
    authority: str, certificates: DevCertificates | None
) -> AsyncIterator[Callable[[str], Awaitable[AnswerClass | None]]]:
    http = _Hasty(EgressGuard([authority]), certificates.ca_file if certificates else None)
    endpoint = OAuthTokenEndpoint(http, FakeClock())

    async def refresh(url: str) -> AnswerClass | None:
        profile = a_profile(token_endpoint=url)
        try:
            answer = await endpoint.refresh(
                profile,
                _CLIENT,
                token_endpoint=url,
                refresh_token=_REFRESH,
                post_limit_s=0.3,
                answer_limit_s=0.3,
            )
            read_refresh(answer, profile, (_REFRESH, _CLIENT.client_secret))
        except TokenEndpointError as error:
            return error.answer_class
        return None

    yield refresh
    await http.close()


@pytest.mark.parametrize("shape", _SENT)
async def test_sent_and_not_answered_clearly(
    server: Server, certificates: DevCertificates, shape: str
) -> None:
    """Whatever goes wrong between request and status leaves a refresh in doubt, and so does a 5xx;
    it is sent once."""
    server.behaviour = _SENT[shape]
    async with _endpoint(server.authority, certificates) as refresh:
        assert await refresh(server.url) is AnswerClass.IN_DOUBT
    assert len(server.requests) == 1


@pytest.mark.parametrize("shape", _LOST)
async def test_a_success_that_breaks(
    server: Server, certificates: DevCertificates, shape: str
) -> None:
    """What breaks after the status line of a success is a success that cannot be read."""
    server.behaviour = _LOST[shape]
    async with _endpoint(server.authority, certificates) as refresh:
        assert await refresh(server.url) is AnswerClass.UNREADABLE_SUCCESS
    assert len(server.requests) == 1


async def test_a_refusal_that_breaks(server: Server, certificates: DevCertificates) -> None:
    """Half a 400 refuses nobody's grant: it is the provider's fault, and nothing has counted."""
    server.behaviour = _HALF_A_REFUSAL
    async with _endpoint(server.authority, certificates) as refresh:
        assert await refresh(server.url) is AnswerClass.PROVIDER_FAULT
    assert len(server.requests) == 1


async def test_the_same_server_can_answer(server: Server, certificates: DevCertificates) -> None:
    """What the other tests break works when nothing is broken."""
    async with _endpoint(server.authority, certificates) as refresh:
        assert await refresh(server.url) is None


async def test_refused_connection(certificates: DevCertificates) -> None:
    """A port that nobody listens at was sent nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
    async with _endpoint(authority, certificates) as refresh:
        assert await refresh(f"https://{authority}/token") is AnswerClass.NOT_SENT


async def test_name_that_nobody_knows(certificates: DevCertificates) -> None:
    """A name without an address was sent nothing (RFC 6761 §6.4: .invalid never resolves)."""
    async with _endpoint("op.invalid:443", certificates) as refresh:
        assert await refresh("https://op.invalid/token") is AnswerClass.NOT_SENT


async def test_handshake_that_fails(server: Server) -> None:
    """A certificate that is not trusted was sent nothing."""
    async with _endpoint(server.authority, None) as refresh:
        assert await refresh(server.url) is AnswerClass.NOT_SENT
    assert server.requests == []


@pytest.mark.parametrize(
    "hello", [b"", b"HTTP/1.1 400 Bad\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"]
)
async def test_handshake_that_never_comes(certificates: DevCertificates, hello: bytes) -> None:
    """A server that closes, talks plain HTTP or alerts in the handshake was sent nothing."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as plain:
        authority = f"127.0.0.1:{plain.sockets[0].getsockname()[1]}"
        async with _endpoint(authority, certificates) as refresh:
            assert await refresh(f"https://{authority}/token") is AnswerClass.NOT_SENT


async def test_handshake_that_hangs(certificates: DevCertificates) -> None:
    """A server that says nothing in the handshake until the limit was sent nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
        async with _endpoint(authority, certificates) as refresh:
            assert await refresh(f"https://{authority}/token") is AnswerClass.NOT_SENT


@pytest.mark.parametrize(
    "url", ["http://op.example/t", "https://10.0.0.1/t", "https://a@b.example/"]
)
async def test_refused_by_the_guard(certificates: DevCertificates, url: str) -> None:
    """What the egress rules refuse was sent nothing."""
    async with _endpoint("127.0.0.1:1", certificates) as refresh:
        assert await refresh(url) is AnswerClass.NOT_SENT


def test_corpus_is_whole() -> None:
    """Corpus and transport together hold 150 answers and more, every class, and every provider
    of the table; failures of the transport are exactly the two classes that no answer has."""
    rows = corpus()
    assert len(rows) + len(_SENT) + len(_LOST) >= 150
    seen = {row.facts["expect"] for row in rows}
    assert seen == {"TOKENS", *AnswerClass.__members__} - {"NOT_SENT"}
    files = {row.file for row in rows}
    named = "google microsoft-entra github-apps slack salesforce okta atlassian xero cronofy"
    assert files >= set(named.split())
    doubtful = {one for one in AnswerClass if JUDGEMENTS[one].counted is Counted.MAYBE}
    assert doubtful == {AnswerClass.IN_DOUBT, AnswerClass.UNREADABLE_SUCCESS}
