"""Which grants were used lately, noted in memory and written in batches.

A disclosure pays one assignment for it. What a process noted since the last write is lost when it
is killed: such a grant counts as used when it was written before, or from its next use on.
"""

from __future__ import annotations

import uuid

from vault_service.domain import limits
from vault_service.domain.grant import Grant
from vault_service.domain.schedule import UsedGrant
from vault_service.ports import Clock, RefreshSchedule


class UsedGrants:
    """At most ``limits.USED_GRANTS_MAX`` between two writes; more are not noted and counted in
    ``missed``. With ``in_use_s`` 0 nothing is noted: nobody asks."""

    def __init__(self, schedule: RefreshSchedule, clock: Clock, in_use_s: float) -> None:
        self._schedule = schedule
        self._clock = clock
        self._in_use_s = in_use_s
        self._used: dict[uuid.UUID, tuple[str, float]] = {}
        self.missed = 0

    def __len__(self) -> int:
        return len(self._used)

    def note(self, grant: Grant) -> None:
        """Its access token was disclosed just now."""
        if not self._in_use_s:
            return
        if len(self._used) >= limits.USED_GRANTS_MAX and grant.grant_id not in self._used:
            self.missed += 1
            return
        self._used[grant.grant_id] = (grant.tenant, self._clock.monotonic())

    async def write(self) -> int:
        """Write what was noted; returns how many rows changed. STORE_UNREACHABLE: what is not
        written stays noted."""
        written = 0
        while self._used:
            now = self._clock.monotonic()
            batch = list(self._used.items())[: limits.USED_BATCH_MAX]
            used = [UsedGrant(tenant, grant_id, now - at) for grant_id, (tenant, at) in batch]
            written += await self._schedule.note_used(used, self._in_use_s)
            for grant_id, noted in batch:
                # A use that came meanwhile is for the next write.
                if self._used[grant_id] == noted:
                    del self._used[grant_id]
            if len(batch) < limits.USED_BATCH_MAX:
                break
        return written
