"""Places that tenants share, so that none of them can take all.

A tenant may take one more while it holds fewer than are free: alone it gets half, two get a third
each, and there is always something left for one that comes. When it may not, it waits in a bounded
queue of its own, the more urgent first; the tenant that holds least goes first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.on_behalf import on_behalf_of
from vault_service.domain.priority import Priority

_Rank = tuple[Priority, int]


class Shares:
    """``places_max`` in all, ``each_max`` of one key at most."""

    def __init__(
        self,
        places_max: int,
        each_max: int | None = None,
        queue_max: int = limits.SHARE_QUEUE_MAX,
    ) -> None:
        self._places_max = places_max
        self._each_max = each_max
        self._queue_max = queue_max
        self._inside: Counter[str] = Counter()
        self._waiting: dict[str, dict[_Rank, asyncio.Future[None]]] = {}
        self._numbers = count()
        self.refused = 0  # for want of room, in all

    @property
    def inside(self) -> int:
        """How many are taken."""
        return self._inside.total()

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return sum(len(queue) for queue in self._waiting.values())

    async def enter(self, key: str, wait_s: float, priority: Priority = Priority.CALLER) -> bool:
        """Whether there was a place within ``wait_s``: call ``leave`` then. OVERLOADED where too
        many of this key wait already."""
        queue = self._waiting.get(key, {})
        if not queue and self._may_enter(key):
            self._inside[key] += 1
            return True
        if wait_s <= 0:
            return False
        if len(queue) >= self._queue_max:
            self.refused += 1
            raise overloaded()
        rank, turn = (priority, next(self._numbers)), asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, {})[rank] = turn
        try:
            await asyncio.wait({turn}, timeout=wait_s)
        except asyncio.CancelledError:
            if turn.done():
                self.leave(key)
            raise
        finally:
            self._withdraw(key, rank)
        return turn.done()

    def leave(self, key: str) -> None:
        """The place is free: the next one may go."""
        self._inside[key] -= 1
        if not self._inside[key]:
            del self._inside[key]
        while (following := self._next()) is not None:
            following.set_result(None)

    @asynccontextmanager
    async def place(self, tenant: str, wait_s: float) -> AsyncIterator[None]:
        """One place of a tenant while it lasts. OVERLOADED where there is none in time."""
        if not await self.enter(tenant, wait_s):
            raise overloaded()
        try:
            with on_behalf_of(tenant):
                yield
        finally:
            self.leave(tenant)

    def _may_enter(self, key: str) -> bool:
        held = self._inside.get(key, 0)
        within = self._each_max is None or held < self._each_max
        return within and held < self._places_max - self.inside

    def _next(self) -> asyncio.Future[None] | None:
        able = [key for key in self._waiting if self._may_enter(key)]
        if not able:
            return None
        key = min(able, key=lambda one: self._inside.get(one, 0))
        rank = min(self._waiting[key])
        turn = self._waiting[key][rank]
        self._withdraw(key, rank)
        self._inside[key] += 1
        return turn

    def _withdraw(self, key: str, rank: _Rank) -> None:
        queue = self._waiting.get(key, {})
        queue.pop(rank, None)
        if not queue:
            self._waiting.pop(key, None)


def overloaded() -> VaultError:
    """What who finds no room is told."""
    return VaultError(
        Reason.OVERLOADED,
        "too many requests of this tenant wait for their providers; try again after the delay",
        retry_after_s=limits.PERMIT_FULL_RETRY_S,
    )
