"""Connections to checked addresses only, bounded in number, and used again only where the exchange
before ended cleanly.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohappyeyeballs import AddrInfoType, start_connection

from vault_service.domain import limits
from vault_service.egress.answer import TransportFailure
from vault_service.egress.connection import Connection
from vault_service.egress.endpoint import Endpoint
from vault_service.egress.resolver import AddressRefusedError, GuardedResolver

# Callers have entered a share before (usecases.shares), so nobody waits here in practice. A request
# that waits for a late answer holds no place at its provider, but a connection.
_CONNECTIONS_MAX = limits.HTTP_CONNECTIONS_MAX + limits.HTTP_LATE_MAX
_TURNS_MAX = 16  # of the loop, until a connection that was cut is gone


@dataclass(slots=True)
class _Host:
    """One host and port."""

    users: int = 0  # at work, or waiting for a connection
    idle: list[Connection] = field(default_factory=list)  # the last one was used last


class ConnectionPool:
    """Lends connections. Raises TransportFailure (not sent), OSError, TimeoutError."""

    def __init__(self, tls: ssl.SSLContext, resolver: GuardedResolver) -> None:
        self._tls = tls
        self._resolver = resolver
        self._places = asyncio.Semaphore(_CONNECTIONS_MAX)
        self._hosts: dict[str, _Host] = {}
        self._live: set[Connection] = set()
        self._closed = False

    @contextlib.asynccontextmanager
    async def connection(self, endpoint: Endpoint, *, fresh: bool) -> AsyncIterator[Connection]:
        """A place and a connection: a ``fresh`` one, or one that stands from before."""
        name = endpoint.authority
        host = self._hosts.setdefault(name, _Host())
        host.users += 1
        try:
            async with self._places:
                if self._closed:
                    raise TransportFailure(False, "the HTTP client is closed")
                connection = None if fresh else self._standing(host)
                connection = connection or await self._new(endpoint)
                try:
                    yield connection
                finally:
                    self._take_back(name, host, connection)
        finally:
            host.users -= 1
            self._forget(name, host)

    async def hang_up(self) -> None:
        """End all connections; requests under way end with what came so far."""
        for host in self._hosts.values():
            host.idle.clear()
        for connection in tuple(self._live):
            connection.abort()
        for _ in range(_TURNS_MAX):
            if not self._live:
                break
            await asyncio.sleep(0)
        self._live.clear()

    async def close(self) -> None:
        """As ``hang_up``, and none is lent any more."""
        self._closed = True
        await self.hang_up()

    def _standing(self, host: _Host) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while host.idle:
            connection = host.idle.pop()
            # Looked at here too: the timer of a process that stood still comes too late.
            if connection.fit and now - connection.idle_since < limits.HTTP_KEEP_ALIVE_S:
                return connection
            connection.abort()
        return None

    def _take_back(self, name: str, host: _Host, connection: Connection) -> None:
        if connection.reusable and not self._closed:
            loop = asyncio.get_running_loop()
            connection.idle_since = loop.time()
            host.idle.append(connection)
            loop.call_later(limits.HTTP_KEEP_ALIVE_S, self._expire, name, host, connection)
        elif connection.ended_well:
            connection.close()
        else:
            connection.abort()

    def _expire(self, name: str, host: _Host, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        used_since = now - connection.idle_since < limits.HTTP_KEEP_ALIVE_S
        if connection in host.idle and not used_since:
            host.idle.remove(connection)
            connection.close()
            self._forget(name, host)

    def _forget(self, name: str, host: _Host) -> None:
        if not host.users and not host.idle and self._hosts.get(name) is host:
            del self._hosts[name]

    async def _new(self, endpoint: Endpoint) -> Connection:
        """To the first address that takes part, TLS included; each has HTTP_CONNECT_LIMIT_S."""
        addresses = await self._addresses(endpoint)
        while True:
            peer: object = None
            try:
                async with asyncio.timeout(limits.HTTP_CONNECT_LIMIT_S):
                    raw = await start_connection(
                        addresses, happy_eyeballs_delay=limits.HTTP_NEXT_ADDRESS_S
                    )
                    peer = _peer(raw)
                    return await self._secured(endpoint, raw)
            except OSError:  # TLS and time-outs included
                left = [one for one in addresses if one[4][:2] != peer]
                if peer is None or not left:
                    raise
                addresses = left

    async def _secured(self, endpoint: Endpoint, raw: socket.socket) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._live.discard),
            sock=raw,
            ssl=self._tls,
            server_hostname=endpoint.host,
            ssl_shutdown_timeout=limits.HTTP_GOODBYE_S,
        )
        if connection.stale:
            # It was cut, or spoke before it was asked: what it said is no answer.
            connection.abort()
            raise ConnectionAbortedError("not usable")
        self._live.add(connection)
        return connection

    async def _addresses(self, endpoint: Endpoint) -> list[AddrInfoType]:
        if endpoint.literal is not None:
            found = [str(endpoint.literal)]
        else:
            try:
                answers = await self._resolver.resolve(endpoint.host, endpoint.port)
            except AddressRefusedError as error:
                raise TransportFailure(False, str(error)) from error
            except OSError as error:
                raise TransportFailure(False, "the name cannot be looked up") from error
            found = [answer["host"] for answer in answers]
        return [_address(one, endpoint.port) for one in found]


def _address(address: str, port: int) -> AddrInfoType:
    if ":" in address:
        there: tuple[str, int] | tuple[str, int, int, int] = (address, port, 0, 0)
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", there)
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))


def _peer(raw: socket.socket) -> object:
    try:
        return raw.getpeername()[:2]
    except OSError:
        return None  # cut again already
