"""A PostgreSQL on TCP with TLS: a front that speaks the SSLRequest and passes on to a socket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # PostgreSQL protocol §53.7
_CHUNK_BYTES = 65_536


@dataclass
class TlsFront:
    """What the front saw; ``answer`` is what it says to an SSLRequest (N: no TLS here)."""

    socket: Path
    context: ssl.SSLContext
    answer: bytes = b"S"
    port: int = 0
    plain_bytes: bytes = b""
    versions: set[str] = field(default_factory=set)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            first = await reader.readexactly(8)
            if first != _SSL_REQUEST:
                self.plain_bytes += first
                return
            writer.write(self.answer)
            if self.answer != b"S":
                self.plain_bytes += await reader.read(_CHUNK_BYTES)
                return
            await writer.start_tls(self.context)
            self.versions.add(writer.get_extra_info("ssl_object").version())
            inner_reader, inner_writer = await asyncio.open_unix_connection(self.socket)
            with contextlib.closing(inner_writer):
                await asyncio.gather(_pass(reader, inner_writer), _pass(inner_reader, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def tls_front(front: TlsFront) -> AsyncIterator[TlsFront]:
    """Run it on a port of the system's choice."""
    server = await asyncio.start_server(front.handle, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    async with server:
        yield front
