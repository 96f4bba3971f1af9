"""What waits in the database, looked at now and then, for who scrapes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from vault_service.domain.attempt_backlog import AttemptBacklog
from vault_service.domain.schedule import Backlog

INTERVAL_S: Final = 5.0


class Backlogs:
    """As of the last look; zeros before the first one."""

    def __init__(
        self,
        attempts: Callable[[], Awaitable[AttemptBacklog]],
        schedule: Callable[[], Awaitable[Backlog]],
    ) -> None:
        self._look_at_attempts = attempts
        self._look_at_schedule = schedule
        self.attempts = AttemptBacklog()
        self.due = Backlog(0, 0.0)

    async def step(self) -> None:
        """Look once. STORE_UNREACHABLE."""
        self.attempts = await self._look_at_attempts()
        self.due = await self._look_at_schedule()
