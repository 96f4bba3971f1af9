"""In-memory refresh attempts and leases."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tests.fakes.kept_answers import FakeKeptAnswers
from tests.fakes.tables import FakeTables
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
from vault_service.domain.provider import RefreshClass
from vault_service.ports import Ending, NewAttempt


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
        if lease is None:
            return Busy.HELD
        earlier = self._open(grant.grant_id)
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
            spool_gone=False,
        )
        self._put(attempt)
        return Begun(lease, attempt)

    async def is_held(self, grant: Grant) -> bool:
        await self._tables.reach()
        _, until = self._tables.leases.get(grant.grant_id, (0, None))
        return until is not None and until >= self._tables.clock.now()

    async def release(self, lease: Lease, tenant: str) -> None:
        await self._tables.reach()
        self._end_lease(lease)

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
        self, lease: Lease, attempt: RefreshAttempt, spool_id: uuid.UUID, record: AuditRecord
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
                spool_id=spool_id,
                retries=attempt.retries + 1,
                waits_for=None,
            )
        )
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
        waits = in_doubt and attempt.refresh_class is RefreshClass.S and not ending.waits_for
        if not waits:
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
        # Most have ended long ago: those are not read.
        for attempt_id, row in self._tables.attempts.items():
            if row.state not in UNRESOLVED:
                continue
            attempt = self._read(attempt_id)
            assert attempt is not None
            _, until = self._tables.leases.get(attempt.grant_id, (0, None))
            leased = until is not None and until >= now
            due = attempt.state in UNRESOLVED and attempt.next_try_time <= now and not leased
            if due and resolvable(attempt, spools):
                found.append(attempt)
        found.sort(key=lambda attempt: attempt.next_try_time)
        return found[:limit]

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

    def _hindrance(self, grant: Grant, earlier: RefreshAttempt | None) -> Deferred | Busy | None:
        now = self._tables.clock.now()
        if earlier is not None:
            moment = now + timedelta(seconds=limits.RETRY_AFTER_S)
            until = max(earlier.next_try_time, moment)
            return Deferred(until, now, Reason.REFRESH_IN_DOUBT.name, earlier.waits_for)
        current = self._tables.grants.get(grant.grant_id)
        standing = (grant.tenant, grant.generation, GrantState.ACTIVE)
        if current is None or (current.tenant, current.generation, current.state) != standing:
            return Busy.MOVED
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
