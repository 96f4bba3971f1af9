"""HTTP/1.1 over a socket: an own parser, because the races want thousands of answers a second."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.support.authserver.endings import framed, head
from tests.support.authserver.faults import Answer, Cut, Fault
from tests.support.authserver.service import Exchange, Request, Service

_HEAD_MAX_BYTES = 16_384
_BODY_MAX_BYTES = 1_048_576  # of a control request; token requests are far below
_LINGER_NONE = struct.pack("ii", 1, 0)
_DRAIN_POLL_S = 0.0005
_CUT_PAUSE_S = 0.01  # so that the client has read what was sent before the cut


class BadRequestError(Exception):
    """Not HTTP as we speak it."""


def parse(received: bytearray) -> Request | None:
    """Take one request off the front, None: it is not complete yet. Raises BadRequestError."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > _HEAD_MAX_BYTES:
            raise BadRequestError("head too long")
        return None
    lines = bytes(received[:end]).decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError("request line")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdecimal() or int(length) > _BODY_MAX_BYTES:
        raise BadRequestError("body")
    start, stop = end + 4, end + 4 + int(length)
    if len(received) < stop:
        return None
    body = bytes(received[start:stop])
    del received[:stop]
    return Request(parts[0], parts[1], headers, body)


class Gates:
    """Named doors that faults wait at; an open one stays open."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Event] = {}

    def gate(self, name: str) -> asyncio.Event:
        """The door of this name."""
        return self._gates.setdefault(name, asyncio.Event())


Hub = set["Connection"]


class Connection(asyncio.Protocol):
    """One client; its requests are answered one after another.

    Without a fault the whole exchange happens inside ``data_received``. What has begun goes on
    when its client leaves, as it does in a server that has taken a request.
    """

    def __init__(
        self,
        service: Service,
        gates: Gates,
        hub: Hub,
        number: int,
        control: Callable[[Request], Awaitable[Answer]] | None = None,
    ) -> None:
        self._service = service
        self._gates = gates
        self._hub = hub
        self._number = number
        self._control = control
        self._received = bytearray()
        self._lost = False
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._hub.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        self._received += data
        if self._task is None:
            self._answer_all()

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing that is sent from now on arrives."""
        self._lost = True
        self._hub.discard(self)

    def abort(self) -> None:
        """A reset, now."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._transport.abort()

    def _answer_all(self) -> None:
        while not self._lost:
            try:
                request = parse(self._received)
            except BadRequestError:
                self._write(Answer(status=400))
                self._transport.close()
                return
            if request is None:
                return
            if self._control is not None:
                self._begin(self._answer_control(self._control, request))
                return
            exchange = self._service.arrive(request, self._number)
            if exchange.fault is None:
                sent = self._write(self._service.commit(exchange))
                if not self._pending():
                    self._service.end(exchange, sent, delivered=self._alive())
                    continue
                self._begin(self._finish(exchange, sent))
            else:
                self._begin(self._with_fault(exchange, exchange.fault))
            return

    def _begin(self, slow: Coroutine[None, None, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(slow)
        self._task.add_done_callback(self._next)

    async def _answer_control(
        self, control: Callable[[Request], Awaitable[Answer]], request: Request
    ) -> None:
        self._write(await control(request))

    def _next(self, done: asyncio.Task[None]) -> None:
        self._task = None
        if not done.cancelled():
            done.result()
            self._answer_all()

    def _alive(self) -> bool:
        return not self._lost and not self._transport.is_closing()

    def _pending(self) -> int:
        """Bytes that are not the kernel's yet; under TLS there are two buffers."""
        inner: Any = getattr(getattr(self._transport, "_ssl_protocol", None), "_transport", None)
        below = inner.get_write_buffer_size() if inner is not None and self._alive() else 0
        return int(below) + (self._transport.get_write_buffer_size() if self._alive() else 0)

    def _write(self, answer: Answer) -> int:
        data = head(answer) + answer.body
        if self._alive():
            self._transport.write(data)
        return len(data)

    async def _drained(self) -> None:
        while self._pending():
            await asyncio.sleep(_DRAIN_POLL_S)

    async def _finish(self, exchange: Exchange, sent: int) -> None:
        await self._drained()
        self._service.end(exchange, sent, delivered=self._alive())

    async def _with_fault(self, exchange: Exchange, fault: Fault) -> None:
        sent = 0
        whole = closes = False
        try:
            if fault.gate:
                await self._gates.gate(fault.gate).wait()
            if fault.delay_before_s:
                await asyncio.sleep(fault.delay_before_s)
            if fault.cut is Cut.BEFORE_COMMIT:
                return
            answer = self._service.commit(exchange)
            if fault.delay_after_s:
                await asyncio.sleep(fault.delay_after_s)
            if fault.cut is Cut.AFTER_COMMIT:
                return
            data, closes = framed(answer, fault.ending)
            body_at = data.index(b"\r\n\r\n") + 4
            cut_at = {
                Cut.AFTER_HEADERS: body_at,
                Cut.MID_BODY: len(data) - (len(data) - body_at + 1) // 2,
            }
            due = cut_at.get(fault.cut, len(data)) if fault.cut else len(data)
            sent = await self._send(data[:due], fault)
            if fault.cut is not None:
                await asyncio.sleep(_CUT_PAUSE_S)
                return
            whole = sent == len(data) and self._alive()
        finally:
            # A client that saw the end of its answer may ask for this entry at once.
            self._service.end(exchange, sent, delivered=whole)
            if fault.cut is not None:
                self._cut(fault)
            elif closes:
                self._transport.close()

    async def _send(self, data: bytes, fault: Fault) -> int:
        """How much went to the kernel while the client was there."""
        step = fault.drip_bytes or len(data) or 1
        sent = 0
        while sent < len(data) and self._alive():
            self._transport.write(data[sent : sent + step])
            await self._drained()
            if not self._alive():
                break
            sent = min(sent + step, len(data))
            if fault.drip_bytes and sent < len(data):
                await asyncio.sleep(fault.drip_s)
        return sent

    def _cut(self, fault: Fault) -> None:
        if self._lost:
            return
        if fault.cut_by_close:
            self._transport.close()
        else:
            self.abort()
