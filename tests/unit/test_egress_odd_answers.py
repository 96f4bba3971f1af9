"""Answers that are odd and readable, from a TLS server through the real client to the tokens."""

from __future__ import annotations

import asyncio
import gzip
import time

import pytest

from tests.fakes.https_server import (
    DevCertificates,
    Request,
    Server,
    reply,
)
from tests.fakes.odd_answers import ENDS, ODD_ANSWERS, TEXT, TOKENS, behaves
from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.content_coding import contents
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.token_answer import read_refresh
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard


def stand_still(seconds: float) -> None:
    """The whole loop, its timers too: as in a stopped process."""
    time.sleep(seconds)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that never comes is not waited for."""
    monkeypatch.setattr(limits, "HTTP_TAIL_S", 0.05)


@pytest.mark.parametrize("name", ODD_ANSWERS)
@pytest.mark.usefixtures("impatient")
async def test_tokens_are_read(server: Server, http: HttpClient, name: str) -> None:
    """Whatever ended the transfer and whatever its labels say, the tokens that came are read, from
    the bytes that a spool has kept too, and what was odd is noted; the next request is answered
    as it should be."""
    odd = ODD_ANSWERS[name]
    server.behaviour = behaves(odd)
    kept = (await http.post_form(server.url, {"a": "b"})).to_bytes()
    answer = HttpAnswer.from_bytes(kept)
    tokens = read_refresh(answer, a_profile(), ())
    assert tokens.access_token.reveal_text() == TOKENS["access_token"]
    assert tokens.refresh_token is not None
    assert tokens.refresh_token.reveal_text() == TOKENS["refresh_token"]
    assert bool(answer.noted) is not odd.clean
    assert "at-1" not in answer.noted
    server.behaviour = reply(b'{"n":2}')
    again = await http.post_form(server.url, {"a": "b"})
    assert (again.body.reveal(), again.noted, len(server.requests)) == (b'{"n":2}', "", 2)


@pytest.mark.parametrize("name", ["the last chunk never comes", "no length, kept open"])
async def test_an_end_that_never_comes(server: Server, http: HttpClient, name: str) -> None:
    """Where the object is whole and the server silent, nobody waits for the limit of time."""
    server.behaviour = behaves(ENDS[name])
    answer = await http.post_form(server.url, {}, limit_s=3_600.0)
    assert (answer.body.reveal(), answer.refusal) == (TEXT, "its end did not come")


async def test_an_object_that_is_not_whole_is_waited_for(server: Server, http: HttpClient) -> None:
    """Silence in the middle of an object ends nothing."""

    async def in_two(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(TEXT) + TEXT[:50])
        await writer.drain()
        await asyncio.sleep(limits.HTTP_TAIL_S * 1.5)
        writer.write(TEXT[50:])

    server.behaviour = in_two
    answer = await http.post_form(server.url, {})
    assert (answer.body.reveal(), answer.noted) == (TEXT, "")


async def test_a_length_too_small_whose_rest_comes_later(server: Server, http: HttpClient) -> None:
    """A length that ends inside an object is not believed at once: the rest is taken too."""

    async def in_two(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + TEXT[:50])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(TEXT[50:])

    server.behaviour = in_two
    answer = await http.post_form(server.url, {})
    assert (answer.body.reveal(), answer.framed_bytes) == (TEXT, 50)
    assert contents(answer)[1].reveal() == TEXT


async def test_bytes_that_nobody_asked_for(server: Server, http: HttpClient) -> None:
    """What a server sends between two requests is never taken for the second one's answer."""

    async def twice(request: Request, writer: asyncio.StreamWriter) -> None:
        await reply(b'{"n":1}')(request, writer)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b'{"forged":1}')

    server.behaviour = twice
    await http.post_form(server.url, {})
    await asyncio.sleep(0.2)
    server.behaviour = reply(b'{"n":2}')
    assert (await http.post_form(server.url, {})).body.reveal() == b'{"n":2}'
    assert server.connections == 2


async def test_a_coding_is_kept_as_it_came(server: Server, http: HttpClient) -> None:
    """The client keeps the coded bytes; a bomb is unpacked no further than the bound."""
    bomb = gzip.compress(b"\0" * 10_000_000)
    server.behaviour = reply(bomb, extra="Content-Encoding: gzip\r\n")
    answer = await http.post_form(server.url, {})
    assert (answer.body.reveal(), answer.content_encoding, answer.refusal) == (bomb, "gzip", "")
    assert answer.oddities == ("a content coding that nobody asked for",)
    assert [len(content) for content in contents(answer)] == [limits.BODY_MAX_BYTES]


async def test_nothing_is_sent_after_its_limit(
    server: Server, certificates: DevCertificates
) -> None:
    """A request that has not begun to be sent at ``send_limit_s`` never is, and says so."""
    found = asyncio.Event()

    async def lookup(host: str, port: int) -> list[str]:
        await found.wait()
        return ["127.0.0.1"]

    authority = f"pinned.test:{server.port}"
    http = HttpClient(EgressGuard([authority]), certificates.ca_file, lookup=lookup)
    with pytest.raises(TransportFailure) as caught:
        await http.post_form(f"https://{authority}/", {}, limit_s=3_600.0, send_limit_s=0.1)
    found.set()
    await asyncio.sleep(0.1)
    assert not caught.value.sent
    assert server.requests == []
    await http.close()


async def test_an_answer_later_than_the_limit_of_sending(server: Server, http: HttpClient) -> None:
    """What was sent in time is waited for until ``limit_s``."""
    await http.post_form(server.url, {})  # the connection stands

    async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1.2)
        await reply(b'{"late":1}')(request, writer)

    server.behaviour = slow
    answer = await http.post_form(server.url, {}, limit_s=3_600.0, send_limit_s=1.0)
    assert (answer.body.reveal(), server.connections) == (b'{"late":1}', 1)


async def test_a_process_that_stood_still_sends_nothing(
    server: Server, certificates: DevCertificates
) -> None:
    """A process that wakes after the limit of sending does not send any more."""

    async def lookup(host: str, port: int) -> list[str]:
        stand_still(0.3)
        return ["127.0.0.1"]

    authority = f"pinned.test:{server.port}"
    http = HttpClient(EgressGuard([authority]), certificates.ca_file, lookup=lookup)
    with pytest.raises(TransportFailure) as caught:
        await http.post_form(f"https://{authority}/", {}, limit_s=3_600.0, send_limit_s=0.2)
    assert not caught.value.sent
    assert server.requests == []
    await http.close()
