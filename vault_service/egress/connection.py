"""One TLS connection, and its exchanges: a request goes out, an answer is parsed as it comes."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Final

from vault_service.domain import limits
from vault_service.domain.content_coding import contents
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.strict_json import JsonRefusedError, parse_object
from vault_service.egress.answer_parser import AnswerParser

_CUT: Final = "the connection was cut before its end"
_QUIET: Final = "its end did not come"


class Connection(asyncio.Protocol):
    """Made by the loop. Once it is ``stale`` it carries no further request.

    After an exchange: ``reusable``, whether it may carry another; ``ended_well``, whether the peer
    may be told so in order. ``on_lost`` is called when it is gone.
    """

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        self.stale = False
        self.reusable = False
        self.ended_well = False
        self._used = False
        self._on_lost = on_lost
        self.idle_since = 0.0  # the loop's time
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: AnswerParser | None = None
        self._over: asyncio.Future[None] | None = None
        self._tail: asyncio.TimerHandle | None = None

    @property
    def fit(self) -> bool:
        """Whether it may carry a request now: it stands, and nothing came since the last answer,
        not even what nobody has read yet. That would be taken for the next answer."""
        transport = self._transport
        if self.stale or transport is None or transport.is_closing():
            return False
        unread = select.poll()
        unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not unread.poll(0)

    async def exchange(self, request: bytes, parser: AnswerParser) -> None:
        """Send ``request`` at once, and return when ``parser`` has all that comes. Never raises but
        for a cancellation; then the caller hangs up."""
        assert self._transport is not None
        assert self._parser is None
        self._parser, self._over = parser, self._loop.create_future()
        self.reusable = self.ended_well = False
        if self._used:
            parser.needs_status_line()
        self._used = True
        try:
            self._transport.write(request)
            await self._over
            self.ended_well = not parser.refusal
            self.reusable = parser.reusable and not self.stale and not _looks_cut(parser)
        finally:
            self._wait_no_more()
            self._parser = self._over = None

    def close(self) -> None:
        """In order: what is still to be sent is sent."""
        self.stale = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """At once, whatever the peer does."""
        self.stale = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio.Protocol, after the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Of asyncio.Protocol. Bytes that nobody asked for are no answer to the next request."""
        if self._parser is None or self._over is None:
            self.abort()
            return
        self._parser.feed(data)
        self._wait_no_more()
        if self._parser.done and not _looks_cut(self._parser):
            self._finish()
        elif self._parser.done or self._parser.body:
            self._tail = self._loop.call_later(limits.HTTP_TAIL_S, self._quiet)

    def eof_received(self) -> None:
        """Of asyncio.Protocol. The loop closes the connection, which may take a while."""
        self.stale = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio.Protocol."""
        self.stale = True
        if self._parser is not None:
            self._parser.ends("" if exc is None else _CUT)
            self._finish()
        self._on_lost(self)

    def _quiet(self) -> None:
        """Nothing came for a while. A whole object needs no end: the peer may have forgotten it."""
        assert self._parser is not None
        if self._parser.done or _is_object(self._parser):
            self._parser.ends(_QUIET)
            self._finish()

    def _finish(self) -> None:
        self._wait_no_more()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _wait_no_more(self) -> None:
        if self._tail is not None:
            self._tail.cancel()
            self._tail = None


def _looks_cut(parser: AnswerParser) -> bool:
    """Whether its framing ends in the middle of an object: more may be on its way."""
    if parser.refusal:
        return False
    return parser.body.lstrip().startswith(b"{") and not parser.body.rstrip().endswith(b"}")


def _is_object(parser: AnswerParser) -> bool:
    answer = HttpAnswer(
        200,
        "",
        Sensitive(bytes(parser.body)),
        content_encoding=parser.header("content-encoding"),
        framed_bytes=parser.framed_bytes,
    )
    for content in contents(answer):
        try:
            parse_object(content.reveal())
        except JsonRefusedError:
            continue
        return True
    return False
