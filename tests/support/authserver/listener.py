"""The sockets of one server: the endpoints under TLS, and the control plane beside them."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.support.authserver.faults import Answer
from tests.support.authserver.service import Request, Service
from tests.support.authserver.wire import Connection, Gates, Hub

_BACKLOG = 4_096  # a race opens hundreds of connections at once
LOOPBACK = "127.0.0.1"
Control = Callable[[Request], Awaitable[Answer]]


def tls_context(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    """Of a server; sessions may be resumed, as with real providers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context


class Listener:
    """Used on one running loop only."""

    def __init__(self, service: Service, tls: ssl.SSLContext, port: int) -> None:
        self.service = service
        self.gates = Gates()
        self.port = port
        self._tls = tls
        self._hub: Hub = set()
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._control: asyncio.Server | None = None

    async def up(self) -> None:
        """Listen, if it does not."""
        if self._server is None:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Connection(self.service, self.gates, self._hub, next(self._numbers)),
                LOOPBACK,
                self.port,
                ssl=self._tls,
                backlog=_BACKLOG,
            )

    def down(self) -> None:
        """Listen no more, and reset every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._hub):
            connection.abort()

    async def up_control(self, control: Control) -> int:
        """The control plane, plain HTTP on loopback; its port."""
        hub: Hub = set()
        self._control = await asyncio.get_running_loop().create_server(
            lambda: Connection(self.service, self.gates, hub, 0, control), LOOPBACK, 0
        )
        port: int = self._control.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """The end of everything."""
        self.down()
        if self._control is not None:
            self._control.close()
        self.service.ledger.close()
