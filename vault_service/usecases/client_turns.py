"""One OAuthClient's background requests in one process: so many at once, and none too soon after
the one before.

The plan spaces slots over all replicas; this keeps what waited, because the process or the database
stood still, from starting all in one moment.
"""

from __future__ import annotations

import asyncio

from vault_service.domain import limits


class ClientTurn:
    """Held, as a context, by each refresh from its start to its end."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(limits.SCHEDULER_CLIENT_PARALLEL_MAX)
        self._next = 0.0

    async def __aenter__(self) -> None:
        await self._places.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._places.release()

    def claim_s(self, now: float, gap_s: float) -> float:
        """How long to wait from ``now`` (monotonic) for the next start: a few follow each other at
        once, then one each ``gap_s``."""
        start = max(now, self._next - limits.SCHEDULER_BURST * gap_s)
        self._next = max(now, self._next) + gap_s
        return start - now
