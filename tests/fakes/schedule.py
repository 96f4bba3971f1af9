"""The due index in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from tests.fakes.tables import FakeTables
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.event import EventKind
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.pacing import Plan, Slots, share_out
from vault_service.domain.schedule import Backlog, DueGrant, UsedGrant
from vault_service.ports import Ask, Look


class FakeRefreshSchedule:
    """ports.RefreshSchedule over the rows of ``FakeTables``; ``takes`` counts the ticks."""

    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables
        self.takes = 0

    async def take(self, limit: int, lease_s: float) -> Sequence[DueGrant]:
        await self._tables.reach()
        self.takes += 1
        now = self._tables.clock.now()
        due = sorted(
            (row.due_time, grant_id)
            for grant_id, row in self._tables.upkeep.items()
            if row.due_time is not None and row.due_time <= now
        )
        taken = []
        for _, grant_id in due[:limit]:
            leased_until = now + timedelta(seconds=lease_s)
            self._tables.upkeep[grant_id].due_time = leased_until
            taken.append(self._due(self._tables.grants[grant_id], leased_until))
        never = datetime.max.replace(tzinfo=now.tzinfo)
        return sorted(taken, key=lambda one: (one.access_expire_time or never, one.grant_id))

    async def plan(self, asked: Mapping[OAuthClientName, Ask]) -> Mapping[OAuthClientName, Slots]:
        await self._tables.reach()
        now = self._tables.clock.now()
        never = datetime.min.replace(tzinfo=now.tzinfo)
        given = {}
        for name, ask in asked.items():
            plan = self._tables.plans.get(name, Plan(never, never))
            given[name] = share_out(now, plan, ask.wanted, ask.gap, ask.run_max)
            self._tables.plans[name] = given[name].plan
        return given

    async def put_off(self, looks: Sequence[Look]) -> None:
        await self._tables.reach()
        for look in looks:
            row = self._tables.upkeep[look.due.grant_id]
            if row.due_time == look.due.leased_until:
                row.due_time, row.planned = look.at, look.planned

    async def note_used(self, used: Sequence[UsedGrant], in_use_s: float) -> int:
        await self._tables.reach()
        now, written = self._tables.clock.now(), 0
        for one in used:
            row = self._tables.upkeep.get(one.grant_id)
            used_time = now - timedelta(seconds=one.age_s)
            if row is None or _is_known(row.last_used_time, used_time, in_use_s / 10):
                continue
            if not _is_known(row.last_used_time, used_time, in_use_s):
                row.due_time = min(row.due_time or now, now)
            row.last_used_time = used_time
            written += 1
        return written

    async def warn(self, due: DueGrant, record: AuditRecord) -> bool:
        await self._tables.reach()
        grant = self._tables.grants[due.grant_id]
        row = self._tables.upkeep[due.grant_id]
        if (grant.generation, grant.state) != (due.generation, GrantState.ACTIVE):
            return False
        if row.warned_generation == due.generation:
            return False
        self._tables.record(record)
        row.warned_generation = due.generation
        self._tables.tell(record, grant, EventKind.EXPIRING_SOON)
        return True

    async def backlog(self) -> Backlog:
        await self._tables.reach()
        now = self._tables.clock.now()
        times = [row.due_time for row in self._tables.upkeep.values() if row.due_time]
        due = sorted(time for time in times if time <= now)[: limits.BACKLOG_COUNT_MAX]
        return Backlog(len(due), (now - due[0]).total_seconds() if due else 0.0)

    def _due(self, grant: Grant, leased_until: datetime) -> DueGrant:
        row = self._tables.upkeep[grant.grant_id]
        client = self._tables.oauth_clients[OAuthClientName(grant.tenant, grant.oauth_client)]
        profile = self._tables.providers[ProviderName(grant.tenant, grant.provider)].profile
        return DueGrant(
            tenant=grant.tenant,
            grant_id=grant.grant_id,
            oauth_client=grant.oauth_client,
            state=grant.state,
            generation=grant.generation,
            has_refresh_token=grant.refresh_envelope is not None,
            access_expire_time=grant.access_expire_time,
            access_life_s=grant.access_life_s,
            refresh_time=row.refresh_time or grant.update_time,
            last_used_time=row.last_used_time,
            not_before=row.not_before,
            failures=row.failures,
            warned_generation=row.warned_generation,
            planned=row.planned,
            suspended=client.suspend_time is not None,
            max_idle_s=profile.max_idle_s,
            rate_per_s=profile.rate_per_s,
            rate_per_min=profile.rate_per_min,
            kills_old_token=profile.refresh_kills_old_access_token,
            leased_until=leased_until,
            read_time=self._tables.clock.now(),
        )


def _is_known(known: datetime | None, used_time: datetime, within_s: float) -> bool:
    return known is not None and known >= used_time - timedelta(seconds=within_s)
