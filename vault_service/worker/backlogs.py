"""What waits in the database, looked at now and then, for who scrapes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from vault_service.domain.schedule import Backlog

INTERVAL_S: Final = 5.0


class Backlogs:
    """As of the last look; zeros before the first one."""

    def __init__(
        self,
        attempts: Callable[[], Awaitable[tuple[int, float]]],
        schedule: Callable[[], Awaitable[Backlog]],
    ) -> None:
        self._attempts = attempts
        self._schedule = schedule
        self.unresolved = 0
        self.oldest_s = 0.0
        self.due = Backlog(0, 0.0)

    async def step(self) -> None:
        """Look once. STORE_UNREACHABLE."""
        self.unresolved, self.oldest_s = await self._attempts()
        self.due = await self._schedule()
