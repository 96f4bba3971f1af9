"""ports.GrantBell on NOTIFY: told in the transaction that ends an attempt or changes a grant's
state, heard on the connection that ``PostgresEventBell`` listens with.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

GRANT_CHANNEL: Final = "tokenvault_grants"


async def ring(connection: Connection, grant_id: uuid.UUID) -> None:
    """Delivered at commit, to every replica."""
    await connection.execute("SELECT pg_notify($1, $2)", GRANT_CHANNEL, str(grant_id))


class PostgresGrantBell:
    """Keeps an event for each who waits, and nothing of other grants."""

    def __init__(self) -> None:
        self._waiting: dict[uuid.UUID, set[asyncio.Event]] = {}

    @contextlib.contextmanager
    def waiting(self, grant_id: uuid.UUID) -> Iterator[asyncio.Event]:
        """See ports.GrantBell."""
        event = asyncio.Event()
        events = self._waiting.setdefault(grant_id, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events and self._waiting.get(grant_id) is events:
                del self._waiting[grant_id]

    def ring_all(self) -> None:
        """Everyone looks: the connection was away."""
        for events in self._waiting.values():
            _set(events)

    def on_notification(self, _: object, __: int, ___: str, payload: object) -> None:
        """Of ``GRANT_CHANNEL``."""
        with contextlib.suppress(ValueError):
            _set(self._waiting.get(uuid.UUID(str(payload)), set()))


def _set(events: set[asyncio.Event]) -> None:
    for event in events:
        event.set()
