"""The worker's own call: it acts as the service, under no caller."""

from __future__ import annotations

from vault_service.domain.access import Call, Caller
from vault_service.ports import Clock, Entropy
from vault_service.usecases.revoke_at_provider import RevokeAtProvider

INTERVAL_S = 5.0
_BUDGET_S = 60.0


class RevocationSweep:
    """Tells providers what they have not confirmed yet."""

    def __init__(self, revoke: RevokeAtProvider, clock: Clock, entropy: Entropy) -> None:
        self._revoke = revoke
        self._clock = clock
        self._entropy = entropy

    async def step(self) -> None:
        """One batch of what is due."""
        call = Call(
            caller=Caller("", ""),
            rpc="worker/RevocationSweep",
            request_id=self._entropy.uuid7().hex,
            source="",
            deadline=self._clock.monotonic() + _BUDGET_S,
        )
        await self._revoke.due(call)
