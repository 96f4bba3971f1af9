"""ports.EventBell on LISTEN: a connection of its own that hears of every tenant's new events, and
of grants for ``PostgresGrantBell``."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from vault_service.adapters.postgres.errors import store_errors
from vault_service.adapters.postgres.events import CHANNEL
from vault_service.adapters.postgres.grant_bell import GRANT_CHANNEL, PostgresGrantBell
from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits


class PostgresEventBell:
    """Rings at the commit of a change, on whatever replica it was made."""

    def __init__(self, database: Database, grants: PostgresGrantBell | None = None) -> None:
        self._database = database
        self._grants = grants or PostgresGrantBell()
        self._rings = 0
        # Only of tenants that somebody waits for or waited for: streams are bounded, so is this.
        self._heard: dict[str, int] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    async def wait(self, tenant: str, heard: int, limit_s: float) -> int:
        """Returns when it rang for the tenant since ``heard``, or after ``limit_s``."""
        if self._heard.setdefault(tenant, 0) == heard:
            event = self._waiting.setdefault(tenant, asyncio.Event())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await event.wait()
        return self._heard[tenant]

    def ring_all(self) -> None:
        """Everyone looks."""
        for tenant in list(self._heard):
            self._ring(tenant)

    async def listen(self) -> None:
        """Hear until the connection breaks; the worker calls it again. STORE_UNREACHABLE."""
        async with self._database.unbounded_connection() as connection:
            await connection.add_listener(CHANNEL, self._on_notification)
            await connection.add_listener(GRANT_CHANNEL, self._grants.on_notification)
            # What was told while nobody listened: everyone reads again.
            self.ring_all()
            self._grants.ring_all()
            while True:
                await asyncio.sleep(limits.LISTEN_PING_S)
                # A peer that vanished closes nothing.
                with store_errors():
                    async with asyncio.timeout(_PING_LIMIT_S):
                        await connection.execute("SELECT 1")

    def _on_notification(self, _: object, __: int, ___: str, payload: object) -> None:
        if isinstance(payload, str):
            self._ring(payload)

    def _ring(self, tenant: str) -> None:
        if tenant not in self._heard:
            return
        self._rings += 1
        self._heard[tenant] = self._rings
        event = self._waiting.pop(tenant, None)
        if event is not None:
            event.set()


_PING_LIMIT_S: Final = 5.0
