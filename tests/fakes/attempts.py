"""In-memory refresh attempts and leases."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.fakes.kept_answers import FakeKeptAnswers
from tests.fakes.tables import FakeTables
from tests.fakes.turns import by_turns
from tests.fakes.upkeep import FakeUpkeep, note_refreshed
from vault_service.domain import limits
from vault_service.domain.attempt import (
    UNRESOLVED,
    AttemptState,
    Beginning,
    Begun,
    Busy,
    Deferred,
    RefreshAttempt,
    Unresolved,
    resolvable,
)
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EventKind
from vault_service.domain.grant import (
    Grant,
    GrantState,
    Lease,
    ReauthorizationCause,
    SealedTokens,
)
from vault_service.domain.names import ProviderName
from vault_service.domain.provider import RefreshClass
from vault_service.ports import Ending, NewAttempt

_NEVER = datetime.min.replace(tzinfo=UTC)


class FakeAttemptStore(FakeKeptAnswers):
    """One process of it: ``instance`` names who writes."""

    def __init__(
        self,
        tables: FakeTables,
        instance: str = "i-1",
        spool_wait_s: float = limits.SPOOL_WAIT_S,
    ) -> None:
        super().__init__(tables, timedelta(seconds=spool_wait_s))
        self._instance = instance

    async def begin(
        self,
        grant: Grant,
        new: NewAttempt,
        lease_s: float,
        spools: Sequence[uuid.UUID],
        record: AuditRecord,
    ) -> Beginning:
        await self._tables.reach()
        lease = self._acquire(grant.grant_id, lease_s)
        earlier = self._open(grant.grant_id)
        if lease is None:
            return Busy.MOVED if self._moved(grant) else self._held(grant, earlier)
        if earlier is not None and self._may_resolve(earlier, spools):
            return Unresolved(lease, earlier)
        hindrance = self._hindrance(grant, earlier)
        if hindrance is not None:
            self._end_lease(lease)
            return hindrance
        try:
            self._tables.record(record)
        except VaultError:
            self._end_lease(lease)
            raise
        attempt = RefreshAttempt(
            attempt_id=new.attempt_id,
            tenant=grant.tenant,
            grant_id=grant.grant_id,
            base_generation=grant.generation,
            refresh_class=new.refresh_class,
            grace_s=new.grace_s,
            instance=self._instance,
            spool_id=new.spool_id,
            state=AttemptState.INTENT,
            retries=0,
            orphan_envelope=None,
            create_time=lease.acquire_time,
            next_try_time=lease.acquire_time + timedelta(seconds=lease_s),
            read_time=lease.acquire_time,
            awaited=(new.spool_id,),
        )
        self._put(attempt)
        return Begun(lease, attempt)

    async def holder(self, grant: Grant) -> Deferred | Busy | None:
        await self._tables.reach()
        if self._tables.leases.get(grant.grant_id, (0, _NEVER))[1] < self._tables.clock.now():
            return None
        return self._held(grant, self._open(grant.grant_id))

    async def renew(self, lease: Lease, attempt: RefreshAttempt, lease_s: float) -> bool:
        await self._tables.reach()
        if not self._holds(lease):
            return False
        now = self._tables.clock.now()
        self._tables.leases[lease.grant_id] = (lease.fence, now + timedelta(seconds=lease_s))
        current = self._tables.attempts[attempt.attempt_id]
        if current.state in UNRESOLVED:
            self._put(replace(current, state=AttemptState.IN_DOUBT, next_try_time=now))
        self._tables.ring_grant(attempt.grant_id)
        return True

    async def release(self, lease: Lease, tenant: str) -> None:
        await self._tables.reach()
        self._end_lease(lease)
        self._tables.ring_grant(lease.grant_id)

    async def take_over(
        self, attempt: RefreshAttempt, lease_s: float, spools: Sequence[uuid.UUID]
    ) -> tuple[Lease, RefreshAttempt] | None:
        await self._tables.reach()
        lease = self._acquire(attempt.grant_id, lease_s)
        if lease is None:
            return None
        current = self._read(attempt.attempt_id)
        if current is None or not self._may_resolve(current, spools):
            self._end_lease(lease)
            return None
        return lease, current

    async def take_ordered(
        self, attempt: RefreshAttempt, lease_s: float
    ) -> tuple[Lease, RefreshAttempt] | None:
        await self._tables.reach()
        lease = self._acquire(attempt.grant_id, lease_s)
        current = self._read(attempt.attempt_id)
        return None if lease is None or current is None else (lease, current)

    async def retry(
        self,
        lease: Lease,
        attempt: RefreshAttempt,
        spools: Sequence[uuid.UUID],
        record: AuditRecord,
    ) -> bool:
        await self._tables.reach()
        if not self._holds(lease):
            return False
        self._tables.record(record)
        self._put(
            replace(
                attempt,
                state=AttemptState.INTENT,
                instance=self._instance,
                spool_id=spools[0],
                retries=attempt.retries + 1,
                waits_for=None,
            )
        )
        earlier = [spool for spool in attempt.awaited if spool not in spools]
        self._tables.earlier_spools[attempt.attempt_id] = earlier
        return True

    async def commit(
        self,
        lease: Lease,
        attempt: RefreshAttempt,
        grant: Grant,
        tokens: SealedTokens,
        state: AttemptState,
        record: AuditRecord,
    ) -> bool:
        await self._tables.reach()
        current = self._changeable(lease, attempt)
        if current is None:
            return self._tables.is_recorded(record)
        self._tables.record(record)
        self._end_lease(lease)
        kept = tokens.refresh_envelope is None
        changed = replace(
            current,
            state=GrantState.ACTIVE,
            cause=None,
            generation=tokens.generation,
            access_envelope=tokens.access_envelope,
            access_generation=tokens.generation,
            access_expire_time=tokens.access_expire_time,
            access_life_s=tokens.access_life_s,
            refresh_envelope=current.refresh_envelope if kept else tokens.refresh_envelope,
            refresh_generation=current.refresh_generation if kept else tokens.generation,
            scopes=tokens.scopes,
            token_type=tokens.token_type,
            unrenewed_time=self._tables.clock.now() if tokens.unrenewed else None,
        )
        committed = self._change(current, changed)
        self._end_in(attempt, Ending(state, ""))
        self._supersede(attempt)
        note_refreshed(self._tables, changed)
        if current.state is not GrantState.ACTIVE:
            self._tables.tell(record, committed, EventKind.RECOVERED)
        return True

    async def end(
        self, lease: Lease, attempt: RefreshAttempt, ending: Ending, record: AuditRecord
    ) -> bool:
        await self._tables.reach()
        if not self._holds(lease):
            return self._tables.is_recorded(record)
        self._tables.record(record)
        in_doubt = ending.state is AttemptState.IN_DOUBT
        acting = replace(attempt, read_time=self._tables.clock.now()).acting_class
        if not (in_doubt and acting is RefreshClass.S and not ending.waits_for):
            self._end_lease(lease)
        self._end_in(attempt, ending)
        self._note(attempt, ending)
        return True

    async def condemn(
        self,
        lease: Lease,
        attempt: RefreshAttempt,
        cause: ReauthorizationCause,
        state: AttemptState,
        record: AuditRecord,
    ) -> bool:
        await self._tables.reach()
        current = self._changeable(lease, attempt)
        if current is None:
            return self._tables.is_recorded(record)
        kept = self._tables.attempts[attempt.attempt_id].orphan_envelope
        if kept is not None and cause is not ReauthorizationCause.BY_OPERATOR:
            self._end_lease(lease)
            return False
        self._tables.record(record)
        self._end_lease(lease)
        condemned = GrantState.REAUTHORIZATION_REQUIRED
        changed = self._change(current, replace(current, state=condemned, cause=cause))
        self._end_in(attempt, Ending(state, cause.name))
        self._tables.tell(record, changed, EventKind.REAUTHORIZATION_REQUIRED)
        return True

    async def unresolved(self, spools: Sequence[uuid.UUID], limit: int) -> Sequence[RefreshAttempt]:
        await self._tables.reach()
        now = self._tables.clock.now()
        found = []
        open_ones = [a for a in self._tables.attempts.values() if a.state in UNRESOLVED]
        for attempt in filter(None, (self._read(one.attempt_id) for one in open_ones)):
            leased = self._tables.leases.get(attempt.grant_id, (0, _NEVER))[1] >= now
            if attempt.next_try_time <= now and not leased and resolvable(attempt, spools):
                found.append(attempt)
        found.sort(key=lambda one: (not one.grace_left_s(now), one.next_try_time))
        return by_turns(found, lambda attempt: attempt.tenant)[:limit]

    async def hasten(self, providers: Collection[ProviderName], limit: int) -> int:
        await self._tables.reach()
        now = self._tables.clock.now()
        due = now - timedelta(seconds=limits.IN_DOUBT_RETRY_S)
        doubtful = []
        for attempt_id in sorted(self._tables.until_it_answers):
            attempt = self._tables.attempts[attempt_id]
            pausing = attempt.state is AttemptState.IN_DOUBT and attempt.next_try_time > now
            waited = self._tables.attempt_times[attempt_id] < due
            if pausing and waited and self._provider(attempt) in providers:
                doubtful.append(attempt)
        doubtful.sort(key=lambda attempt: attempt.next_try_time)
        hastened = by_turns(doubtful, self._provider)[:limit]
        for attempt in hastened:
            self._tables.attempts[attempt.attempt_id] = replace(attempt, next_try_time=now)
        return len(hastened)

    def _provider(self, attempt: RefreshAttempt) -> ProviderName:
        return ProviderName(attempt.tenant, self._tables.grants[attempt.grant_id].provider)

    async def find(self, tenant: str, attempt_id: uuid.UUID) -> RefreshAttempt | None:
        await self._tables.reach()
        found = self._read(attempt_id)
        return found if found and found.tenant == tenant else None

    async def refused_since(self, grant: Grant) -> datetime | None:
        await self._tables.reach()
        upkeep = self._tables.upkeep.get(grant.grant_id, FakeUpkeep())
        same = upkeep.refused_generation == grant.generation
        return upkeep.refused_time if same else None

    @staticmethod
    def _may_resolve(attempt: RefreshAttempt, spools: Sequence[uuid.UUID]) -> bool:
        due = attempt.due_anew or attempt.next_try_time <= attempt.read_time
        return due and resolvable(attempt, spools)

    def _acquire(self, grant_id: uuid.UUID, lease_s: float) -> Lease | None:
        if grant_id not in self._tables.grants:
            raise VaultError(Reason.GRANT_NOT_FOUND, "no such grant")
        now = self._tables.clock.now()
        _, until = self._tables.leases.get(grant_id, (0, None))
        if until is not None and until >= now:
            return None
        self._tables.fences += 1
        fence = self._tables.fences
        self._tables.leases[grant_id] = (fence, now + timedelta(seconds=lease_s))
        return Lease(grant_id, fence, now)

    def _open(self, grant_id: uuid.UUID) -> RefreshAttempt | None:
        for attempt in self._tables.attempts.values():
            if attempt.grant_id == grant_id and attempt.state in UNRESOLVED:
                return self._read(attempt.attempt_id)
        return None

    def _moved(self, grant: Grant) -> bool:
        current = self._tables.grants.get(grant.grant_id)
        standing = (grant.tenant, grant.generation, GrantState.ACTIVE)
        return current is None or (current.tenant, current.generation, current.state) != standing

    def _deferred(self, attempt: RefreshAttempt, lease_end: datetime) -> Deferred:
        now = self._tables.clock.now()
        waits = attempt.awaited and attempt.next_try_time <= now
        pause_s = limits.IN_DOUBT_RETRY_S if waits else limits.RETRY_AFTER_S
        until = max(attempt.next_try_time, lease_end, now + timedelta(seconds=pause_s))
        reason = Reason.REFRESH_IN_DOUBT.name
        return Deferred(until, now, reason, attempt.waits_for, attempt.until_it_answers)

    def _held(self, grant: Grant, attempt: RefreshAttempt | None) -> Deferred | Busy:
        if attempt is None or not (attempt.retries or attempt.state is AttemptState.IN_DOUBT):
            return Busy.HELD
        return self._deferred(attempt, self._tables.leases[grant.grant_id][1])

    def _hindrance(self, grant: Grant, earlier: RefreshAttempt | None) -> Deferred | Busy | None:
        now = self._tables.clock.now()
        if self._moved(grant):
            return Busy.MOVED
        if earlier is not None:
            return self._deferred(earlier, now)
        upkeep = self._tables.upkeep.get(grant.grant_id, FakeUpkeep())
        if upkeep.not_before is not None and upkeep.not_before > now:
            return Deferred(upkeep.not_before, now, upkeep.reason)
        return None

    def _changeable(self, lease: Lease, attempt: RefreshAttempt) -> Grant | None:
        current = self._tables.grants.get(attempt.grant_id)
        if current is None or not attempt.may_change(current) or not self._holds(lease):
            return None
        return current

    def _change(self, current: Grant, new: Grant) -> Grant:
        now = self._tables.clock.now()
        changed = replace(new, revision=current.revision + 1, update_time=now)
        self._tables.grants[new.grant_id] = changed
        return changed

    def _note(self, attempt: RefreshAttempt, ending: Ending) -> None:
        if ending.until_it_answers:
            self._tables.until_it_answers.add(attempt.attempt_id)
        now = self._tables.clock.now()
        known = self._tables.upkeep.get(attempt.grant_id, FakeUpkeep())
        pause_s = ending.pause_s
        if ending.doubles:
            pause_s = min(pause_s * 2.0**known.failures, limits.BACKOFF_MAX_S)
        noted = replace(
            known,
            failures=known.failures + 1,
            not_before=now + timedelta(seconds=pause_s),
            reason=ending.reason,
        )
        if ending.refused and known.refused_generation != attempt.base_generation:
            noted.refused_generation, noted.refused_time = attempt.base_generation, now
        self._tables.upkeep[attempt.grant_id] = noted
