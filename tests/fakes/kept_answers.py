"""In-memory answers that are kept with their attempts, and attempts that wait."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from tests.fakes.tables import FakeTables
from tests.fakes.upkeep import FakeUpkeep
from vault_service.domain import limits
from vault_service.domain.attempt import (
    MAY_KEEP_AN_ANSWER,
    NO_SPOOL,
    READER,
    UNRESOLVED,
    AttemptState,
    RefreshAttempt,
    WaitsFor,
)
from vault_service.domain.audit import AuditRecord
from vault_service.domain.grant import Grant, GrantState, Lease, SealedTokens
from vault_service.domain.names import ProviderName
from vault_service.domain.provider import RefreshClass
from vault_service.domain.refresh_times import grace_room_s
from vault_service.ports import Ending


def in_question(tables: FakeTables, grant: Grant) -> bool:
    """See ports.AttemptStore.is_in_question."""
    upkeep = tables.upkeep.get(grant.grant_id, FakeUpkeep())
    return upkeep.refused_generation == grant.generation or any(
        (one.grant, one.base_generation) == (grant.name, grant.generation)
        and one.state in UNRESOLVED
        and one.refresh_class in (RefreshClass.G, RefreshClass.S)
        for one in tables.attempts.values()
    )


class FakeKeptAnswers:
    """The part of the fake AttemptStore that keeps answers."""

    def __init__(self, tables: FakeTables, wait: timedelta) -> None:
        self._tables = tables
        self._wait = wait
        self._looked_to = uuid.UUID(int=0)

    async def keep_orphan(
        self, attempt: RefreshAttempt, envelope: bytes, record: AuditRecord, revision: int = 0
    ) -> bool:
        await self._tables.reach()
        if self._tables.is_recorded(record):
            return True
        current = self._tables.attempts[attempt.attempt_id]
        if current.state not in MAY_KEEP_AN_ANSWER:
            return False
        self._tables.record(record)
        now = self._tables.clock.now()
        self._tables.attempts[attempt.attempt_id] = replace(
            current, orphan_envelope=envelope, next_try_time=now
        )
        self._note_read(attempt, revision, READER if revision else 0)
        self._supersede(attempt)
        self._tables.ring_grant(attempt.grant_id)
        return True

    async def read_in_vain(self, lease: Lease, attempt: RefreshAttempt, revision: int) -> None:
        await self._tables.reach()
        if self._holds(lease):
            self._end_lease(lease)
            self._note_read(attempt, revision, READER)
            self._tables.ring_grant(attempt.grant_id)

    async def forget_answer(
        self, lease: Lease, attempt: RefreshAttempt, record: AuditRecord
    ) -> bool:
        await self._tables.reach()
        if not self._holds(lease):
            return False
        self._tables.record(record)
        current = self._tables.attempts[attempt.attempt_id]
        self._tables.attempts[attempt.attempt_id] = replace(current, orphan_envelope=None)
        return True

    async def is_in_question(self, grant: Grant) -> bool:
        await self._tables.reach()
        return in_question(self._tables, grant)

    async def take_up(
        self, attempt: RefreshAttempt, tokens: SealedTokens, record: AuditRecord
    ) -> bool:
        await self._tables.reach()
        if self._tables.is_recorded(record):
            return True
        row = self._tables.grants[attempt.grant_id]
        base, state = attempt.base_generation, self._tables.attempts[attempt.attempt_id].state
        moved_on = row.state is GrantState.ACTIVE and row.generation > base
        in_it = state in (AttemptState.COMMITTED, AttemptState.RESOLVED_REFRESHED)
        if not moved_on or row.refresh_generation > base or in_it:
            return False
        self._tables.record(record)
        self._tables.grants[attempt.grant_id] = replace(
            row,
            refresh_envelope=tokens.refresh_envelope,
            refresh_generation=tokens.generation,
            revision=row.revision + 1,
            update_time=self._tables.clock.now(),
        )
        self._tables.ring_grant(attempt.grant_id)
        return True

    async def put_off(self, lease: Lease, attempt: RefreshAttempt, pause_s: float) -> None:
        await self._tables.reach()
        if not self._holds(lease):
            return
        self._end_lease(lease)
        now = self._tables.clock.now()
        last_s = attempt.grace_left_s(now) - grace_room_s(attempt.grace_s)
        pause_s = min(pause_s, last_s) if last_s > 0 else pause_s
        current = self._tables.attempts[attempt.attempt_id]
        due = now + timedelta(seconds=pause_s)
        self._tables.attempts[attempt.attempt_id] = replace(current, next_try_time=due)
        self._tables.ring_grant(attempt.grant_id)

    async def due_anew(self, limit: int) -> Sequence[RefreshAttempt]:
        await self._tables.reach()
        waiting = sorted(
            attempt_id
            for attempt_id, row in self._tables.attempts.items()
            if attempt_id > self._looked_to and (row.orphan_envelope or row.waits_for)
        )[: limits.WAITING_LOOK_MAX]
        due = [attempt for one in waiting if (attempt := self._due(one)) is not None][:limit]
        self._looked_to = uuid.UUID(int=0)
        if len(due) == limit:
            self._looked_to = due[-1].attempt_id
        elif len(waiting) == limits.WAITING_LOOK_MAX:
            self._looked_to = waiting[-1]
        return due

    def _due(self, attempt_id: uuid.UUID) -> RefreshAttempt | None:
        attempt = self._read(attempt_id)
        assert attempt is not None
        _, until = self._tables.leases.get(attempt.grant_id, (0, None))
        leased = until is not None and until >= self._tables.clock.now()
        return attempt if attempt.due_anew and not leased else None

    def _end_in(self, attempt: RefreshAttempt, ending: Ending) -> None:
        current = self._tables.attempts[attempt.attempt_id]
        in_doubt = ending.state is AttemptState.IN_DOUBT
        waits_for: WaitsFor | None = ending.waits_for if in_doubt else None
        pause_s = ending.pause_s if in_doubt else 0.0
        if waits_for and not pause_s:
            pause_s = limits.WAIT_UNTIL_TOLD_S
        now = self._tables.clock.now()
        last_s = attempt.grace_left_s(now) - grace_room_s(attempt.grace_s)
        if last_s > 0 and not ending.refused and not waits_for:
            pause_s = min(pause_s, last_s)
        self._tables.attempt_reasons[attempt.attempt_id] = ending.reason
        if waits_for:
            self._note_read(attempt, ending.revision, READER)
        self._tables.until_it_answers.discard(attempt.attempt_id)
        self._tables.ring_grant(attempt.grant_id)
        self._put(
            replace(
                current,
                state=ending.state,
                next_try_time=now + timedelta(seconds=pause_s),
                spool_id=NO_SPOOL if in_doubt else current.spool_id,
                orphan_envelope=current.orphan_envelope
                if ending.state in MAY_KEEP_AN_ANSWER
                else None,
                waits_for=waits_for,
            )
        )

    def _supersede(self, attempt: RefreshAttempt) -> None:
        for one in list(self._tables.attempts.values()):
            unchanged = one.state is AttemptState.RESOLVED_UNCHANGED
            other = one.grant_id == attempt.grant_id and one.attempt_id != attempt.attempt_id
            if unchanged and other and one.orphan_envelope is not None:
                self._tables.attempts[one.attempt_id] = replace(one, orphan_envelope=None)

    def _note_read(self, attempt: RefreshAttempt, revision: int, reader: int) -> None:
        self._tables.attempt_reads[attempt.attempt_id] = (revision, reader)

    def _due_anew(self, attempt: RefreshAttempt) -> bool:
        if attempt.orphan_envelope is None and attempt.waits_for is None:
            return False
        if attempt.state not in MAY_KEEP_AN_ANSWER:
            return False
        if attempt.state not in UNRESOLVED and any(
            one.grant_id == attempt.grant_id and one.state in UNRESOLVED
            for one in self._tables.attempts.values()
        ):
            return False
        grant = self._tables.grants[attempt.grant_id]
        provider = self._tables.providers.get(ProviderName(grant.tenant, grant.provider))
        if provider is None:
            return False
        moved = grant.generation != attempt.base_generation or grant.state is GrantState.REVOKED
        read = self._tables.attempt_reads.get(attempt.attempt_id, (0, 0))
        return moved or read != (provider.revision, READER)

    def _holds(self, lease: Lease) -> bool:
        fence, _ = self._tables.leases.get(lease.grant_id, (0, None))
        return fence == lease.fence

    def _end_lease(self, lease: Lease) -> None:
        if self._holds(lease):
            self._tables.leases.pop(lease.grant_id)

    def _read(self, attempt_id: uuid.UUID) -> RefreshAttempt | None:
        attempt = self._tables.attempts.get(attempt_id)
        if attempt is None:
            return None
        now = self._tables.clock.now()
        moved = self._tables.attempt_times[attempt_id]
        known = (*self._tables.earlier_spools.get(attempt_id, ()), attempt.spool_id)
        given_up = {NO_SPOOL, *self._tables.abandoned_spools}
        gone = moved + self._wait < now
        awaited = () if gone else tuple(spool for spool in known if spool not in given_up)
        anew = self._due_anew(attempt)
        released = attempt_id in self._tables.until_it_answers
        return replace(
            attempt, read_time=now, awaited=awaited, due_anew=anew, until_it_answers=released
        )

    def _put(self, attempt: RefreshAttempt) -> None:
        self._tables.attempts[attempt.attempt_id] = attempt
        self._tables.attempt_times[attempt.attempt_id] = self._tables.clock.now()
