"""In-memory events: a list in the order of commits, which is the order of the real store."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from tests.fakes.tables import FakeTables
from vault_service.adapters.postgres import cursors
from vault_service.adapters.postgres.cursors import Place
from vault_service.domain import limits
from vault_service.domain.event import EventBatch

_KEEP = timedelta(seconds=limits.EVENT_KEEP_S)
_LAST = 2**63 - 1


class FakeEventStore:
    """ports.EventStore. The n-th event of all tenants has the place (n, n)."""

    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def begin(self, tenant: str, cursor: str) -> str:
        place = cursors.decode(cursor) if cursor else None
        await self._tables.reach()
        if place is None:
            return self._end()
        too_old = place.time < self._tables.clock.now() - _KEEP
        if too_old or place.order_xid > len(self._tables.events):
            raise cursors.expired()
        return cursor

    async def read(self, tenant: str, cursor: str, limit: int) -> EventBatch:
        place = cursors.decode(cursor)
        await self._tables.reach()
        now = self._tables.clock.now()
        if place.time < now - _KEEP:
            raise cursors.expired()
        later = [
            (event, cursors.encode(Place(n, n, now)))
            for n, event in enumerate(self._tables.events, 1)
            if (n, n) > (place.order_xid, place.position) and event.tenant == tenant
        ]
        more = len(later) > limit
        return EventBatch(later[:limit], later[limit - 1][1] if more else self._end(), more)

    def _end(self) -> str:
        return cursors.encode(Place(len(self._tables.events), _LAST, self._tables.clock.now()))


class FakeEventBell:
    """ports.EventBell, rung by the tables themselves."""

    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def wait(self, tenant: str, heard: int, limit_s: float) -> int:
        if len(self._tables.events) == heard:
            event = self._tables.rings.setdefault(tenant, asyncio.Event())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await event.wait()
        return len(self._tables.events)

    def ring_all(self) -> None:
        for tenant in list(self._tables.rings):
            self._tables.ring(tenant)
