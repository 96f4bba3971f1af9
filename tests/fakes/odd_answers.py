"""Answers of a token endpoint that libraries throw away and a careful person reads, as bytes.

Each holds TOKENS; ``then`` says what the server does after the last byte.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Final

from tests.fakes.https_server import Behaviour, Request, reset

TOKENS: Final = {
    "access_token": "at-1",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "rt-2",
    "scope": "read",
}
TEXT: Final = json.dumps(TOKENS).encode()
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_CHUNKED: Final = _OK + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Odd:
    """What is sent. ``then``: close, reset or keep (the connection stays open, and silent)."""

    wire: bytes
    then: str = "keep"
    whole: bool = True  # whether it has no ``refusal``
    clean: bool = False  # whether nothing about it is odd


def raw_deflate(data: bytes) -> bytes:
    """Without zlib's head and sum, as old servers send it."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def _sized(body: bytes, head: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return _OK + head + b"Content-Length: %d\r\n\r\n" % size + body


def _coded(body: bytes, coding: str) -> Odd:
    return Odd(_sized(body, f"Content-Encoding: {coding}\r\n".encode()))


def _chunk(data: bytes, size: int | None = None) -> bytes:
    return b"%x\r\n" % (len(data) if size is None else size) + data + b"\r\n"


def _headed(head: bytes) -> Odd:
    return Odd(_sized(TEXT, head))


_GZIPPED: Final = gzip.compress(TEXT)
_IN_TWO: Final = _chunk(TEXT[:20]) + _chunk(TEXT[20:])

CODINGS: Final = {
    "gzip, unasked": _coded(_GZIPPED, "gzip"),
    "gzip in capitals": _coded(_GZIPPED, "GZIP"),
    "x-gzip": _coded(_GZIPPED, "x-gzip"),
    "deflate": _coded(zlib.compress(TEXT), "deflate"),
    "deflate without zlib's head": _coded(raw_deflate(TEXT), "deflate"),
    "deflate labelled gzip": _coded(zlib.compress(TEXT), "gzip"),
    "gzip labelled deflate": _coded(_GZIPPED, "deflate"),
    "gzip labelled br": _coded(_GZIPPED, "br"),
    "gzip without a label": Odd(_sized(_GZIPPED)),
    "gzip called identity": _coded(_GZIPPED, "identity"),
    "identity, gzip": _coded(_GZIPPED, "identity, gzip"),
    "gzip twice": _coded(gzip.compress(_GZIPPED), "gzip, gzip"),
    "gzip of two members": _coded(gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]), "gzip"),
    "gzip with a wrong sum": _coded(_GZIPPED[:-8] + bytes(8), "gzip"),
    "gzip without its sum": _coded(_GZIPPED[:-8], "gzip"),
    "gzip in chunks": Odd(
        _OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        + _chunk(_GZIPPED[:9]) + _chunk(_GZIPPED[9:]) + b"0\r\n\r\n"
    ),
    "gzip as a transfer coding": Odd(_OK + b"Transfer-Encoding: gzip\r\n\r\n" + _GZIPPED, "close"),
    "plain, called gzip": _coded(TEXT, "gzip"),
    "plain, called deflate": _coded(TEXT, "deflate"),
    "plain, called br": _coded(TEXT, "br"),
    "plain, called zstd": _coded(TEXT, "zstd"),
    "plain, called utf-8": _coded(TEXT, "utf-8"),
    "plain, called none": _coded(TEXT, "none"),
    "plain, called many things": _coded(TEXT, "gzip, br, deflate, zstd, x, y, z"),
    "two headers of coding": _headed(b"Content-Encoding: gzip\r\nContent-Encoding: utf-8\r\n"),
    "blanks before gzip": _coded(b"\xef\xbb\xbf\r\n" + _GZIPPED, "gzip"),
    "gzip with junk behind it": _coded(_GZIPPED + b"\r\n<!-- x -->\0", "gzip"),
    "the length of the plain text": Odd(
        _sized(_GZIPPED, b"Content-Encoding: gzip\r\n", len(TEXT)), "close", whole=False
    ),
    "the length of the compressed text": Odd(_sized(TEXT, length=len(_GZIPPED))),
    "a quoted coding with a weight": _coded(_GZIPPED, '"gzip";q=1'),
    "odd bytes in the coding": _headed(b"Content-Encoding: \xff\x01gzip\r\n"),
}  # fmt: skip

ENDS: Final = {
    "the last chunk is missing": Odd(_CHUNKED + _IN_TWO, "close", whole=False),
    "the last chunk is missing, reset": Odd(_CHUNKED + _IN_TWO, "reset", whole=False),
    "the last chunk never comes": Odd(_CHUNKED + _IN_TWO, whole=False),
    "half of the last chunk": Odd(_CHUNKED + _IN_TWO + b"0", "close"),
    "the end of the chunks is missing": Odd(_CHUNKED + _IN_TWO + b"0\r\n", "close"),
    "the end of the chunks never comes": Odd(_CHUNKED + _IN_TWO + b"0\r\n"),
    "half a trailer": Odd(_CHUNKED + _IN_TWO + b"0\r\nX-Sum: 1", "close"),
    "a trailer": Odd(_CHUNKED + _IN_TWO + b"0\r\nX-Sum: 1\r\n\r\n", clean=True),
    "no line end after the chunk": Odd(_CHUNKED + _IN_TWO[:-2], "close", whole=False),
    "half the size of another chunk": Odd(_CHUNKED + _IN_TWO + b"1f", "close", whole=False),
    "a size that is none": Odd(_CHUNKED + _IN_TWO + b"zz\r\n\r\n", "close"),
    "a size that is none, kept open": Odd(_CHUNKED + _IN_TWO + b"<html>", whole=False),
    "a negative size": Odd(_CHUNKED + _IN_TWO + b"-1\r\n", "close"),
    "a size that is too small": Odd(_CHUNKED + _chunk(TEXT, len(TEXT) - 5) + b"0\r\n\r\n"),
    "a size that is too large": Odd(
        _CHUNKED + _chunk(TEXT, len(TEXT) + 50) + b"0\r\n\r\n", "close", whole=False
    ),
    "no chunks at all": Odd(_CHUNKED + TEXT, "close"),
    "no chunks at all, kept open": Odd(_CHUNKED + TEXT, whole=False),
    "chunks with bare line feeds": Odd(
        _OK + b"Transfer-Encoding: chunked\r\n\r\n%x\n%s\n0\n\n" % (len(TEXT), TEXT)
    ),
    "empty lines between chunks": Odd(_CHUNKED + b"\r\n" + _IN_TWO + b"\r\n0\r\n\r\n"),
    "junk after the last chunk": Odd(_CHUNKED + _IN_TWO + b"0\r\n\r\njunk"),
    "another answer after it": Odd(_sized(TEXT) + b"HTTP/1.1 500 X\r\n\r\n"),
    "junk after the body": Odd(_sized(TEXT) + b"\r\n<!-- served by x -->"),
    "a length that is too large": Odd(_sized(TEXT, length=len(TEXT) + 2), "close", whole=False),
    "a length that is too large, reset": Odd(
        _sized(TEXT, length=len(TEXT) + 2), "reset", whole=False
    ),
    "a length that is too large, kept open": Odd(_sized(TEXT, length=len(TEXT) + 2), whole=False),
    "a length that is too small": Odd(_sized(TEXT, length=len(TEXT) - 7)),
    "a length of one": Odd(_sized(TEXT, length=1), "close"),
    "a length of nothing": Odd(_sized(TEXT, length=0)),
    "the length twice": _headed(b"Content-Length: %d\r\n" % len(TEXT)),
    "the length as a list": Odd(
        _OK + b"Content-Length: %d, %d\r\n\r\n" % (len(TEXT), len(TEXT)) + TEXT
    ),
    "two lengths": Odd(_sized(TEXT, b"Content-Length: 7\r\n"), "close"),
    "two lengths, kept open": Odd(_sized(TEXT, b"Content-Length: 700\r\n"), whole=False),
    "a negative length": Odd(_OK + b"Content-Length: -1\r\n\r\n" + TEXT, "close"),
    "a length that is no number": Odd(_OK + b"Content-Length: many\r\n\r\n" + TEXT, "close"),
    "a length of a thousand digits": Odd(
        _OK + b"Content-Length: " + b"9" * 1_000 + b"\r\n\r\n" + TEXT, "close"
    ),
    "an empty length": Odd(_OK + b"Content-Length:\r\n\r\n" + TEXT, "close"),
    "a length beside chunks": Odd(
        _OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + _IN_TWO + b"0\r\n\r\n"
    ),
    "closed at its end": Odd(_OK + b"Connection: close\r\n\r\n" + TEXT, "close", clean=True),
    "reset at its end": Odd(_OK + b"Connection: close\r\n\r\n" + TEXT, "reset", whole=False),
    "no length, kept open": Odd(_OK + b"\r\n" + TEXT, whole=False),
    "more than a body may have": Odd(_sized(TEXT + b" " * 70_000), whole=False),
    "chunks without a header": Odd(_OK + b"\r\n" + _IN_TWO + b"0\r\n\r\n", "close", clean=True),
    "chunks under a length": Odd(_sized(_IN_TWO + b"0\r\n\r\n"), clean=True),
    "chunks in chunks": Odd(
        _CHUNKED + _chunk(_IN_TWO + b"0\r\n\r\n") + b"0\r\n\r\n", clean=True
    ),
    "chunks in a 204": Odd(
        b"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n" + _IN_TWO + b"0\r\n\r\n"
    ),
    "an extension with quotes": Odd(
        _CHUNKED + b'%x;a="b;c\\"d"\r\n%s\r\n0;x=1\r\n\r\n' % (len(TEXT), TEXT), clean=True
    ),
    "a size in decimals": Odd(_CHUNKED + b"%d\r\n%s\r\n0\r\n\r\n" % (len(TEXT), TEXT), "close",
                              whole=False),
    "a size of twenty digits": Odd(_CHUNKED + b"%020x\r\n%s\r\n0\r\n\r\n" % (len(TEXT), TEXT),
                                   "close"),
    "tokens in a 204": Odd(b"HTTP/1.1 204 No Content\r\n\r\n" + TEXT),
}  # fmt: skip

HEADS: Final = {
    "bare line feeds": Odd(_sized(TEXT).replace(b"\r\n", b"\n")),
    "a header without a colon": _headed(b"nonsense\r\n"),
    "a header without a name": _headed(b": x\r\n"),
    "a space before the colon": _headed(b"X-A : b\r\n"),
    "control bytes in a header": _headed(b"X-A: \x00\x01\x07b\r\n"),
    "a lone carriage return in a header": _headed(b"X-A: b\rc\r\n"),
    "bytes that are no ASCII in a header": _headed(b"X-A: \xc3\xa9\xff\r\n"),
    "odd bytes in a name": _headed(b"X(A)\xff: b\r\n"),
    "a folded header": _headed(b"X-A: b\r\n  c\r\n\td\r\n"),
    "a folded line first": Odd(b"HTTP/1.1 200 OK\r\n folded\r\n\r\n" + TEXT, "close"),
    "a very long header": _headed(b"X-A: " + b"b" * 60_000 + b"\r\n"),
    "very many headers": Odd(_sized(TEXT, b"X-A: b\r\n" * 5_000), clean=True),
    "a hundred cookies": Odd(_sized(TEXT, b"Set-Cookie: a=b; Path=/\r\n" * 100), clean=True),
    "no headers at all": Odd(b"HTTP/1.1 200 OK\r\n\r\n" + TEXT, "close", clean=True),
    "no empty line before the body": Odd(b"HTTP/1.1 200 OK\r\nX-A: b\r\n" + TEXT, "close"),
    "no reason": Odd(_sized(TEXT).replace(b"200 OK", b"200"), clean=True),
    "an odd reason": Odd(_sized(TEXT).replace(b"200 OK", b"200 \xff\x00 tr\xc3\xa8s bien")),
    "a long reason": Odd(_sized(TEXT).replace(b"OK", b"O" * 20_000)),
    "two spaces in the status line": Odd(_sized(TEXT).replace(b" 200", b"  200"), clean=True),
    "HTTP/1.0": Odd(_sized(TEXT).replace(b"/1.1", b"/1.0"), "close", clean=True),
    "HTTP/1.0 without a length": Odd(b"HTTP/1.0 200 OK\r\n\r\n" + TEXT, "close", clean=True),
    "HTTP/1.2": Odd(_sized(TEXT).replace(b"/1.1", b"/1.2"), clean=True),
    "HTTP/2 in letters": Odd(_sized(TEXT).replace(b"/1.1", b"/2"), clean=True),
    "http in small letters": Odd(_sized(TEXT).replace(b"HTTP", b"http"), clean=True),
    "empty lines first": Odd(b"\r\n\r\n" + _sized(TEXT)),
    "100 before it": Odd(b"HTTP/1.1 100 Continue\r\n\r\n" + _sized(TEXT), clean=True),
    "103 with headers before it": Odd(
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\nLink: </a>\r\n\r\n" + _sized(TEXT),
        clean=True,
    ),
    "no line with a status": Odd(TEXT, "close"),
    "a mark before its status": Odd(b"\xef\xbb\xbf " + _sized(TEXT)),
    "no version": Odd(_sized(TEXT).replace(b"HTTP/1.1", b"HTTP"), clean=True),
    "another protocol's name": Odd(_sized(TEXT).replace(b"HTTP/1.1", b"ICY"), clean=True),
    "no space after its status": Odd(_sized(TEXT).replace(b"200 OK", b"200OK"), clean=True),
    "lines that end with a carriage return": Odd(
        _sized(TEXT).replace(b"\r\n", b"\r"), "close", whole=False
    ),
    "a list, and no empty line before it": Odd(
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n[" + TEXT + b"]", "close", whole=False
    ),
    "a body after 100 Continue": Odd(b"HTTP/1.1 100 X\r\n\r\n{}" + _sized(TEXT), "close"),
    "no type": Odd(_sized(TEXT).replace(b"Content-Type: application/json\r\n", b""), clean=True),
}  # fmt: skip

ODD_ANSWERS: Final[dict[str, Odd]] = {**CODINGS, **ENDS, **HEADS}


def behaves(odd: Odd) -> Behaviour:
    """Sends it, then does what it says."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(odd.wire)
        await writer.drain()
        if odd.then == "close":
            writer.close()
        elif odd.then == "reset":
            await asyncio.sleep(0.02)  # it is read before the reset comes, or with it
            reset(writer)

    return behave
