"""Refreshes ahead of time, and writes down which grants are in use."""

from __future__ import annotations

from vault_service.domain import limits
from vault_service.domain.access import Call, Caller
from vault_service.ports import Clock, Entropy
from vault_service.usecases.refresh_ahead import RefreshAhead

INTERVAL_S = limits.SCHEDULER_TICK_S
USED_INTERVAL_S = limits.USED_WRITE_S
_BUDGET_S = limits.SCHEDULER_LEASE_S  # its refreshes go on after the step


class Scheduler:
    """Acts as the service, under no caller."""

    def __init__(self, refresh_ahead: RefreshAhead, clock: Clock, entropy: Entropy) -> None:
        self._refresh_ahead = refresh_ahead
        self._clock = clock
        self._entropy = entropy

    async def step(self) -> None:
        """Ticks until no more is due, or others should have their turn."""
        call = Call(
            caller=Caller("", ""),
            rpc="worker/Scheduler",
            request_id=self._entropy.uuid7().hex,
            source="",
            deadline=self._clock.monotonic() + _BUDGET_S,
        )
        for _ in range(limits.SCHEDULER_TICKS_MAX):
            if not await self._refresh_ahead(call):
                return
