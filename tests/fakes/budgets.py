"""In-memory rate budgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tests.fakes.tables import FakeTables
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName
from vault_service.domain.rates import Rates
from vault_service.ports.budgets import ClientHold, Taken


@dataclass(slots=True)
class FakeBudget:
    """A row of provider_budgets; times on the monotonic clock."""

    filled: float
    second_level: float = math.inf
    minute_level: float = math.inf
    held_until: float = 0.0


class FakeRateBudget:
    """ports.RateBudget and ports.ClientHoldStore over tables that processes share."""

    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables
        self.statements = 0

    async def take(self, client: OAuthClientName, rates: Rates, wanted: int) -> Taken:
        row = await self._row(client)
        now = self._tables.clock.monotonic()
        if row.held_until > now:
            return Taken(0, held_s=row.held_until - now)
        passed_s, row.filled = now - row.filled, now
        second, minute = rates.second, rates.minute
        row.second_level = min(second.size, row.second_level + second.per_s * passed_s)
        row.minute_level = min(minute.size, row.minute_level + minute.per_s * passed_s)
        permits = max(0, math.floor(min(wanted, row.second_level, row.minute_level)))
        wait_s = 0.0
        if permits == 0:
            wait_s = max(
                (1 - row.second_level) / second.per_s, (1 - row.minute_level) / minute.per_s
            )
        row.second_level -= permits
        row.minute_level -= permits
        return Taken(permits, wait_s)

    async def hold_back(self, client: OAuthClientName, hold_s: float, record: AuditRecord) -> None:
        row = await self._row(client)
        now = self._tables.clock.monotonic()
        if row.held_until <= now and not self._tables.is_recorded(record):
            self._tables.record(record)
        row.held_until = max(row.held_until, now + hold_s)

    async def held_s(self, client: OAuthClientName) -> float:
        row = await self._row(client)
        return max(0.0, row.held_until - self._tables.clock.monotonic())

    async def holds(self, tenant: str) -> Sequence[ClientHold]:
        await self._tables.reach()
        clock = self._tables.clock
        left = {
            client: row.held_until - clock.monotonic()
            for client, row in sorted(self._tables.budgets.items(), key=lambda one: str(one[0]))
        }
        return [
            ClientHold(client, clock.now() + timedelta(seconds=left_s), left_s)
            for client, left_s in left.items()
            if client.tenant == tenant and left_s > 0
        ][: limits.PAGE_MAX]

    async def clear(self, client: OAuthClientName, record: AuditRecord) -> bool:
        await self._tables.reach()
        row = self._tables.budgets.get(client)
        now = self._tables.clock.monotonic()
        if row is None or row.held_until <= now:
            return False
        row.held_until = now
        self._tables.record(record)
        return True

    async def _row(self, client: OAuthClientName) -> FakeBudget:
        self.statements += 1
        await self._tables.reach()
        if client not in self._tables.oauth_clients:
            raise VaultError(Reason.OAUTH_CLIENT_NOT_FOUND, "no such OAuthClient")
        new = FakeBudget(self._tables.clock.monotonic())
        row: FakeBudget = self._tables.budgets.setdefault(client, new)
        return row
