"""A unix socket in front of PostgreSQL's, which cuts connections, and stops at a statement.

It reads what a client sends (PostgreSQL protocol 3, §55.7: a byte, a length, a body), so that a
test can say where: before a statement runs, before its transaction's COMMIT is passed on, or after
the COMMIT was carried out and before its answer is.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

_OPERATION_LIMIT_S = 10.0
_LENGTH_BYTES = 4
_SOCKET = ".s.PGSQL.{port}"


class Moment(Enum):
    """Where a transaction that has a certain statement stands still."""

    STATEMENT = 1  # it is asked for, and not passed on
    COMMIT_UNSENT = 2  # COMMIT is asked for, and not passed on
    COMMIT_UNHEARD = 3  # COMMIT was carried out, and its answer is not passed on


@dataclass(eq=False)
class Stop:
    """The next transaction with ``text`` in a statement stands still, once."""

    text: str
    moment: Moment
    reached: threading.Event = field(default_factory=threading.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class _Wire:
    """One connection: the texts of its prepared statements, and what its transaction has run."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    prepared: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    unheard: Stop | None = None

    def cut(self) -> None:
        """Both ends, at once."""
        for end in (self.client, self.server):
            end.transport.abort()


class PostgresProxy:
    """Listens in ``folder`` under the name that clients look for; its loop has a thread."""

    def __init__(self, folder: Path, target_folder: Path, port: int) -> None:
        self.folder = folder
        self._path = folder / _SOCKET.format(port=port)
        self._target = target_folder / _SOCKET.format(port=port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._wires: set[_Wire] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._stop: Stop | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[PostgresProxy]:
        """Until the block ends."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._thread.start()
        self._do(self._listen())
        try:
            yield self
        finally:
            self._do(self._refuse())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def stop_at(self, text: str, moment: Moment) -> Stop:
        """The next transaction that fits; ``release`` lets it go."""
        stop = Stop(text, moment)
        self._stop = stop
        return stop

    def release(self, stop: Stop) -> None:
        """What was held is passed on, if both ends are still there."""
        self._loop.call_soon_threadsafe(stop.released.set)

    def cut(self) -> None:
        """Every connection ends, and no new one comes about until ``heal``."""
        self._do(self._refuse())

    def heal(self) -> None:
        """Connections come about again."""
        self._do(self._listen())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_OPERATION_LIMIT_S)

    async def _listen(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self._path)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for wire in list(self._wires):
            wire.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_unix_connection(self._target)
        wire = _Wire(writer, server)
        self._wires.add(wire)
        ways = [
            asyncio.ensure_future(self._ask(reader, wire)),
            asyncio.ensure_future(self._answer(answers, wire)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._wires.discard(wire)
            server.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, wire: _Wire) -> None:
        """What the client sends, message by message. The first has no type."""
        size = await reader.readexactly(_LENGTH_BYTES)
        wire.server.write(size + await reader.readexactly(_body_bytes(size)))
        while True:
            kind = await reader.readexactly(1)
            size = await reader.readexactly(_LENGTH_BYTES)
            body = await reader.readexactly(_body_bytes(size))
            await self._meet(kind, body, wire)
            wire.server.write(kind + size + body)
            await wire.server.drain()

    async def _meet(self, kind: bytes, body: bytes, wire: _Wire) -> None:
        if kind == b"P":
            name, text = body.split(b"\0")[:2]
            wire.prepared[name.decode()] = text.decode()
        elif kind == b"B":
            text_run = wire.prepared.get(body.split(b"\0")[1].decode(), "")
            wire.ran.append(text_run)
            await self._stand(Moment.STATEMENT, [text_run], wire)
        elif kind == b"Q" and body.startswith(b"BEGIN"):
            wire.ran.clear()
        elif kind == b"Q" and body.startswith(b"COMMIT"):
            await self._stand(Moment.COMMIT_UNSENT, wire.ran, wire)
            wire.unheard = self._taken(Moment.COMMIT_UNHEARD, wire.ran)

    async def _stand(self, moment: Moment, ran: list[str], wire: _Wire) -> None:
        stop = self._taken(moment, ran)
        if stop is not None:
            # What was asked before it has been passed on.
            await wire.server.drain()
            stop.reached.set()
            await stop.released.wait()

    def _taken(self, moment: Moment, ran: list[str]) -> Stop | None:
        stop = self._stop
        if stop is None or stop.moment is not moment or not any(stop.text in one for one in ran):
            return None
        self._stop = None
        return stop

    async def _answer(self, reader: asyncio.StreamReader, wire: _Wire) -> None:
        while chunk := await reader.read(65_536):
            stop, wire.unheard = wire.unheard, None
            if stop is not None:
                # Nothing else is asked at one time: this is the answer to the COMMIT.
                stop.reached.set()
                await stop.released.wait()
            wire.client.write(chunk)
            await wire.client.drain()


def _body_bytes(size: bytes) -> int:
    return int.from_bytes(size, "big") - _LENGTH_BYTES
