"""Reminds of secrets that expire soon."""

from __future__ import annotations

from vault_service.domain.access import Call, Caller
from vault_service.ports import Clock, Entropy
from vault_service.usecases.remind_of_secrets import RemindOfSecrets

INTERVAL_S = 60.0
_BUDGET_S = 60.0


class ReminderSweep:
    """Acts as the service, under no caller."""

    def __init__(self, remind: RemindOfSecrets, clock: Clock, entropy: Entropy) -> None:
        self._remind = remind
        self._clock = clock
        self._entropy = entropy

    async def step(self) -> None:
        """One batch of what is due."""
        call = Call(
            caller=Caller("", ""),
            rpc="worker/ReminderSweep",
            request_id=self._entropy.uuid7().hex,
            source="",
            deadline=self._clock.monotonic() + _BUDGET_S,
        )
        await self._remind(call)
