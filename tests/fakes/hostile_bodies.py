"""What a hostile token endpoint could answer (threat T13), and the class it is judged as.

What has no end goes on until the client hangs up.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Final

from tests.fakes.https_server import Behaviour, Request, reply

_OK: Final = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_GIB: Final = 1 << 30
_BLOCK: Final = b"a" * 65_536
_TOKENS: Final = {"access_token": "at-1", "token_type": "Bearer", "expires_in": 60}


def _endless(head: str, block: bytes, *, pause_s: float = 0.0) -> Behaviour:
    """``head``, then ``block`` for ever."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        while True:
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return behave


def _json(text: str) -> Behaviour:
    return reply(text.encode())


def _with(member: str) -> Behaviour:
    """A good answer with one more member."""
    return _json(json.dumps(_TOKENS)[:-1] + f", {member}}}")


def _many(part: bytes, count: int, head: str = "") -> Behaviour:
    """A good answer in ``count`` chunks of one byte, each with ``part`` before its line's end."""
    body = json.dumps(_TOKENS).encode() + b" " * count

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write((_OK + head + "Transfer-Encoding: chunked\r\n\r\n").encode())
        for at in range(len(body)):
            writer.write(b"1" + part + b"\r\n" + body[at : at + 1] + b"\r\n")
            if at % 1_000 == 0:
                await writer.drain()
        writer.write(b"0\r\n\r\n")

    return behave


_BOMB: Final = gzip.compress(b"\0" * 64 * 1_048_576, 9)
_NESTED: Final = {
    "lists": "[" * 100_000 + "]" * 100_000,
    "unclosed lists": "[" * 100_000,
    "objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "lists in a member": '{"access_token":' + "[" * 30_000 + "]" * 30_000 + "}",
}

# Cut at the bound, or read and refused: a 200 whose tokens nobody can read.
FAULTS: Final[dict[str, Behaviour]] = {
    "1 GB announced": _endless(_OK + f"Content-Length: {_GIB}\r\n\r\n", _BLOCK),
    "1 GB in chunks": _endless(
        _OK + "Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + _BLOCK + b"\r\n"
    ),
    "1 GB until the end": _endless(_OK + "Connection: close\r\n\r\n", _BLOCK),
    "1 GB in one chunk": _endless(_OK + f"Transfer-Encoding: chunked\r\n\r\n{_GIB:x}\r\n", _BLOCK),
    "gzip bomb": reply(_BOMB, extra="Content-Encoding: gzip\r\n"),
    "deflate bomb": reply(zlib.compress(b"\0" * 10_000_000), extra="Content-Encoding: deflate\r\n"),
    "gzip bomb as brotli": reply(_BOMB, extra="Content-Encoding: br\r\n"),
    "gzip bomb without a label": reply(_BOMB),
    "gzip twice": reply(gzip.compress(_BOMB), extra="Content-Encoding: gzip, gzip\r\n"),
    "gzip without an end": _endless(_OK + "Content-Encoding: gzip\r\n\r\n", _BOMB[:4_096]),
    **{f"nested {what}": _json(text) for what, text in _NESTED.items()},
    "a long run of blanks": _json("access_token at" + " " * 60_000 + "x"),
    "a long run of semicolons": _json("access_token at" + ";" * 60_000 + "x"),
    "many quotes": _json("{" + "'" * 63_000),
    "many braces": _json("{" * 63_000),
    "duplicate access_token": _with('"access_token": "at-2"'),
    "duplicate, escaped": _with('"access\\u005ftoken": "at-2"'),
    "5,000 members": _json(json.dumps({f"m{n}": n for n in range(5_000)})),
    "a list": _json("[]"),
    "a token with a lone surrogate": _json('{"access_token": "a\\ud800"}'),
    "not UTF-8": reply(b'{"access_token": "\xff"}'),
    "a token of 20,000 characters": _json(json.dumps(_TOKENS | {"access_token": "a" * 20_000})),
    "a token with a line end": _json(json.dumps(_TOKENS | {"access_token": "a\r\nX: y"})),
    "nothing": reply(b""),
}  # fmt: skip

# A success that never comes to its end: cut at a bound, or at the limit of time. What came is kept.
NO_END: Final[dict[str, Behaviour]] = {
    "slow drip of a body": _endless(_OK + "Content-Length: 60000\r\n\r\n", b" ", pause_s=0.01),
    "slow drip of chunks": _endless(
        _OK + "Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", pause_s=0.01
    ),
    "slow drip of a head": _endless("HTTP/1.1 200 OK\r\nX: ", b"a", pause_s=0.01),
    "slow drip of headers": _endless("HTTP/1.1 200 OK\r\n", b"A: b\r\n", pause_s=0.01),
    "headers without an end": _endless("HTTP/1.1 200 OK\r\n", b"X-Filler: abcdefgh\r\n" * 1_000),
    "a header without an end": _endless("HTTP/1.1 200 OK\r\nX: ", _BLOCK),
    "a status without an end": _endless("HTTP/1.1 200 ", _BLOCK),
    "a chunk's extension without an end": _endless(
        _OK + "Transfer-Encoding: chunked\r\n\r\n1;x=", _BLOCK
    ),
    "a chunk's size without an end": _endless(
        _OK + "Transfer-Encoding: chunked\r\n\r\n", b"0" * 65_536
    ),
    "trailers without an end": _endless(
        _OK + "Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Filler: abcdefgh\r\n" * 1_000
    ),
    "less than announced": reply(b"{", extra="Content-Length: 10\r\n"),
}

# No final status at all: it may have counted.
NO_ANSWER: Final[dict[str, Behaviour]] = {
    "slow drip of a status": _endless("HTTP/1.1 ", b" ", pause_s=0.01),
    "empty lines without an end": _endless("", b"\r\n" * 1_000),
    "100 Continue without an end": _endless("", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "103 with headers without an end": _endless(
        "", b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" * 100
    ),
    "noise": _endless("", bytes(range(256)) * 256),
}

# Odd, and harmless.
ANSWERS: Final[dict[str, Behaviour]] = {
    "10,000 chunks of one byte": _many(b"", 10_000),
    "chunks with extensions": _many(b";x=" + b"y" * 100, 1_000),
    "NaN": _with('"x": NaN'),
    "Infinity": _with('"x": -Infinity'),
    "a number out of range": _with('"x": 1e999'),
    "a number of 60,000 digits": _with('"x": ' + "9" * 60_000),
    "a lone surrogate beside the token": _with('"\\ud800": 1'),
    "much white space": _json(json.dumps(_TOKENS) + " " * 63_000),
    "white space beyond the bound": _json(json.dumps(_TOKENS) + " " * 70_000),
    "gzip that nobody asked for": reply(
        gzip.compress(json.dumps(_TOKENS).encode()), extra="Content-Encoding: gzip\r\n"
    ),
}
