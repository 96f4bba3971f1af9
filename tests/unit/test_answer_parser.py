"""The parser of answers, fed without a socket."""

from __future__ import annotations

import pytest

from tests.fakes.odd_answers import ODD_ANSWERS, TOKENS, Odd
from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_refresh
from vault_service.egress.answer_parser import AnswerParser

_WHY = {"close": "", "reset": "cut", "keep": "quiet"}


def parsed(wire: bytes, why: str = "", piece: int = 1 << 20) -> AnswerParser:
    """The whole of it, in pieces, then the end."""
    parser = AnswerParser()
    for at in range(0, len(wire), piece):
        parser.feed(wire[at : at + piece])
    parser.ends(why)
    return parser


def _answer(parser: AnswerParser) -> HttpAnswer:
    return HttpAnswer(
        parser.status,
        parser.header("content-type"),
        Sensitive(bytes(parser.body)),
        content_encoding=parser.header("content-encoding").encode("ascii", "ignore").decode(),
        framed_bytes=parser.framed_bytes,
    )


@pytest.mark.parametrize("name", ODD_ANSWERS)
@pytest.mark.parametrize("piece", [1 << 20, 700, 1])
def test_odd_answers_are_read(name: str, piece: int) -> None:
    """Whatever is odd about an answer whose tokens came, they are read, however it is cut into
    pieces, and what is odd is noted."""
    odd: Odd = ODD_ANSWERS[name]
    parser = parsed(odd.wire, _WHY[odd.then], piece)
    assert 200 <= parser.status < 300
    tokens = read_refresh(_answer(parser), a_profile(), ())
    assert tokens.access_token.reveal_text() == TOKENS["access_token"]
    assert tokens.refresh_token is not None
    assert tokens.refresh_token.reveal_text() == TOKENS["refresh_token"]
    assert (parser.refusal == "") is odd.whole
    if odd.clean:
        assert (parser.refusal, parser.oddities) == ("", [])
    if parser.oddities:
        assert not parser.reusable


@pytest.mark.parametrize(
    ("wire", "status", "body", "refusal"),
    [
        (b"", 0, b"", "the connection was closed before its end"),
        (b"HTTP/1.1 2", 0, b"", "the connection was closed before its end"),
        (b"HTTP/1.1 200", 0, b"", "the connection was closed before its end"),
        (b"HTTP/1.1 200 O", 200, b"", "the connection was closed before its end"),
        (b"HTTP/1.1 200 OK\r\nX: y", 200, b"", "the connection was closed before its end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 0, b"", "the connection was closed before its end"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", 0, b"", "no HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", 0, b"", "no HTTP"),
        (b"HTTP/1.1 099 OK\r\n\r\n", 0, b"", "no HTTP"),
        (b"<html>not found</html>", 0, b"", "no HTTP"),
        (b'{"error":"invalid_grant"}', 0, b'{"error":"invalid_grant"}', "no HTTP"),
        (b"HTTPS", 0, b"", "the connection was closed before its end"),
        (b"HTTPS/1.1 200 OK\r\n", 0, b"", "no HTTP"),
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"a',
            200,
            b'{"a',
            "the connection was closed before its end",
        ),
        (
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"a',
            200,
            b'{"a',
            "the connection was closed before its end",
        ),
    ],
)
def test_what_is_cut(wire: bytes, status: int, body: bytes, refusal: str) -> None:
    """An answer that ends early keeps its status and what came of its body; without a final
    status it is none."""
    parser = parsed(wire)
    assert (parser.status, bytes(parser.body), parser.refusal) == (status, body, refusal)


def test_what_came_beyond_stands_behind() -> None:
    """Bytes beyond the framing are kept behind the body, and told apart."""
    parser = parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}junk")
    assert (bytes(parser.body), parser.framed_bytes) == (b"{}junk", 2)
    assert (parser.oddities, parser.reusable) == (["bytes beyond its end"], False)


def test_only_a_clean_answer_leaves_its_connection_usable() -> None:
    """A connection is used again after a whole answer of HTTP/1.1 that does not end it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
    assert parsed(head + b"\r\n{}").reusable
    assert not parsed(head + b"Connection: keep-alive, Close\r\n\r\n{}").reusable
    assert not parsed(head.replace(b"/1.1", b"/1.0") + b"\r\n{}").reusable
    assert not parsed(b"HTTP/1.1 200 OK\r\n\r\n{}").reusable


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_an_empty_answer_ends_its_connection(wire: bytes) -> None:
    """After an answer without a body nothing else goes by its connection: the body may follow."""
    parser = parsed(wire)
    assert (parser.refusal, parser.oddities, parser.reusable) == ("", [], False)


@pytest.mark.parametrize("before", [b"", b" ", b"\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_a_used_connection_gives_no_answer_without_a_status(before: bytes) -> None:
    """Where the connection carried an answer before, a body without a status line is no answer."""
    parser = AnswerParser()
    parser.needs_status_line()
    parser.feed(before + b'{"access_token":"of-user-A"}')
    assert (parser.status, bytes(parser.body), parser.refusal) == (0, b"", "no HTTP")


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 600_000,
        b"HTTP/1.1 200 " + b"y" * 600_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
        b"\r\n" * 300_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"y" * 2_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 2_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 300_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" * 300_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n" + b"y" * 2_000_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"y" * 2_000_000,
    ],
    ids=lambda endless: repr(endless[:70]),
)
def test_every_part_is_bounded(endless: bytes) -> None:
    """What has no end is over at a bound, and nothing beyond a bound is held."""
    parser = AnswerParser()
    for at in range(0, len(endless), 65_536):
        parser.feed(endless[at : at + 65_536])
        assert len(parser._buffer) <= limits.BODY_MAX_BYTES + 65_536
    assert parser.done
    assert parser.refusal.startswith("longer than")
    assert len(parser.body) <= limits.BODY_MAX_BYTES
