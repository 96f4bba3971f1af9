"""What watching needs from outside, and how each of it fails."""

from __future__ import annotations

from typing import Protocol

from vault_service.domain.event import EventBatch


class EventStore(Protocol):
    """The table grant_events, read in the order in which changes became certain.

    Events are written by the stores whose transactions change grants. Cursors are texts of this
    store; they name a place and grant nothing.
    """

    async def begin(self, tenant: str, cursor: str) -> str:
        """The place to read on from: after ``cursor``, or after all there is where it is "".
        FIELD_MALFORMED for a text that is not ours, CURSOR_EXPIRED where events after it may be
        gone already. STORE_UNREACHABLE."""

    async def read(self, tenant: str, cursor: str, limit: int) -> EventBatch:
        """At most ``limit`` events after the cursor. Raises as ``begin``."""


class EventBell(Protocol):
    """Rings when a tenant has new events. It may ring for nothing and it may miss one: who waits
    looks by itself too, every ``limits.EVENT_POLL_S``."""

    async def wait(self, tenant: str, heard: int, limit_s: float) -> int:
        """Returns when it rang since ``heard``, or after ``limit_s``; the number to wait with
        next time (0 at first)."""

    def ring_all(self) -> None:
        """Everyone who waits looks at once."""
