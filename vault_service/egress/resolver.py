"""Look up once, check every answer, connect to those answers only.

A name server that answers differently the second time (DNS rebinding) has no second time: the
connector takes addresses from here and nowhere else, and asks again for each new connection.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence

from aiohttp.abc import AbstractResolver, ResolveResult

from vault_service.domain import limits
from vault_service.domain.errors import VaultError
from vault_service.egress.guard import EgressGuard
from vault_service.egress.lookups import Lookups

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""From (host, port) to numeric addresses; raises OSError when there are none."""


class AddressRefusedError(OSError):
    """The look-up's answer is not allowed. An OSError, so that the connector reports it."""


class GuardedResolver(AbstractResolver):
    """aiohttp's resolver with the guard behind each look-up."""

    def __init__(self, guard: EgressGuard, lookup: Lookup | None = None) -> None:
        self._guard = guard
        self._lookup = lookup or Lookups()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Checked addresses; raises OSError (``AddressRefusedError`` where the guard refuses)."""
        addresses = list(dict.fromkeys(await self._lookup(host, port)))
        if not addresses:
            raise OSError("the look-up gave no address")
        try:
            self._guard.check_addresses(host, port, addresses)
        except VaultError as error:
            raise AddressRefusedError(error.message) from error
        return [_pinned(host, port, address) for address in addresses[: limits.ADDRESSES_MAX_COUNT]]

    async def close(self) -> None:
        """Nothing is held."""


def _pinned(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=family,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
