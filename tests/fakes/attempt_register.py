"""In-memory refresh attempts, as operators list them."""

from __future__ import annotations

import uuid

from tests.fakes.attempts import FakeAttemptStore
from tests.fakes.tables import FakeTables
from vault_service.adapters.postgres import pages
from vault_service.domain.attempt import AttemptFilter, AttemptState, RefreshAttempt
from vault_service.ports import Page
from vault_service.ports.attempts import ListedAttempt


class FakeAttemptRegister:
    """ports.attempts.AttemptRegister."""

    def __init__(self, tables: FakeTables, attempts: FakeAttemptStore) -> None:
        self._tables = tables
        self._attempts = attempts

    async def list(
        self, tenant: str, which: AttemptFilter, provider: str, page_size: int, page_token: str
    ) -> Page[ListedAttempt]:
        await self._tables.reach()
        after = pages.uuid_key(page_token, pages.FIRST_UUID)
        found = []
        for attempt_id in sorted(self._tables.attempts):
            one = await self.get(tenant, attempt_id)
            if one is None or attempt_id <= after or not self._is_among(one.attempt, which):
                continue
            if provider in ("", one.provider):
                found.append(one)
        return pages.page_of(found, page_size, lambda one: one.attempt.attempt_id.bytes)

    async def get(self, tenant: str, attempt_id: uuid.UUID) -> ListedAttempt | None:
        attempt = await self._attempts.find(tenant, attempt_id)
        if attempt is None:
            return None
        provider = self._tables.grants[attempt.grant_id].provider
        reason = self._tables.attempt_reasons.get(attempt_id, "")
        moved = self._tables.attempt_times[attempt_id]
        return ListedAttempt(attempt, provider, reason, moved)

    def _is_among(self, attempt: RefreshAttempt, which: AttemptFilter) -> bool:
        if which is AttemptFilter.ALL:
            return True
        if which is AttemptFilter.WAITING:
            return attempt.waits_for is not None or attempt.orphan_envelope is not None
        _, until = self._tables.leases.get(attempt.grant_id, (0, None))
        leased = until is not None and until >= self._tables.clock.now()
        left = attempt.state is AttemptState.INTENT and not leased
        return left or attempt.state is AttemptState.IN_DOUBT
