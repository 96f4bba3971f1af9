"""Resolves refreshes and exchanges of codes whose process died or whose answer never came."""

from __future__ import annotations

from vault_service.domain import limits
from vault_service.domain.access import Call, Caller
from vault_service.ports import Clock, Entropy
from vault_service.usecases.recover_attempts import RecoverAttempts
from vault_service.usecases.recover_consents import RecoverConsents

INTERVAL_S = limits.ATTEMPT_SWEEP_S
_BUDGET_S = INTERVAL_S  # what takes longer goes on in its flight, and the sweep with the others


class AttemptSweep:
    """Acts as the service, under no caller."""

    def __init__(
        self,
        recover: RecoverAttempts,
        recover_consents: RecoverConsents,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._recover = recover
        self._recover_consents = recover_consents
        self._clock = clock
        self._entropy = entropy

    async def step(self) -> None:
        """One batch of what is due."""
        call = Call(
            caller=Caller("", ""),
            rpc="worker/AttemptSweep",
            request_id=self._entropy.uuid7().hex,
            source="",
            deadline=self._clock.monotonic() + _BUDGET_S,
        )
        # First: a person waits for it, and it asks no provider.
        fault: Exception | None = None
        try:
            await self._recover_consents(call)
        except Exception as error:
            fault = error  # refreshes do not wait until consents are mended
        await self._recover(call)
        if fault is not None:
            raise fault
