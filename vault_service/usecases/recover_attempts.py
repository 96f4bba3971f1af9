"""Looks for attempts that nobody works on any more, and resolves them.

Any replica does, for every tenant: the lease decides who. Only class S, and class G past its grace,
wait for the processes that hold their spools (``domain.attempt.resolvable``).
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.attempt import (
    UNRESOLVED,
    AttemptState,
    RefreshAttempt,
    SpoolEntry,
    by_attempt,
)
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import VaultError
from vault_service.domain.provider import RefreshClass
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.ports import AttemptStore, Clock, Spool
from vault_service.usecases.flights import Flights
from vault_service.usecases.outages import Outages
from vault_service.usecases.present_refresh_token import PresentRefreshToken
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.resolve_attempt import ResolveAttempt

Entries = Mapping[uuid.UUID, SpoolEntry]


class RecoverAttempts:
    """One look at what is due; each attempt in the flight of its grant."""

    def __init__(
        self,
        *,
        attempts: AttemptStore,
        spool: Spool,
        resolve: ResolveAttempt,
        present: PresentRefreshToken,
        outages: Outages,
        recorder: Recorder,
        flights: Flights,
        clock: Clock,
        times: RefreshTimes,
    ) -> None:
        self._attempts = attempts
        self._spool = spool
        self._resolve = resolve
        self._present = present
        self._outages = outages
        self._recorder = recorder
        self._flights = flights
        self._clock = clock
        self._times = times
        self._next_release = 0.0
        self._under_way: set[uuid.UUID] = set()

    async def __call__(self, call: Call) -> int:
        """How many were tried. An attempt that stays in doubt is none of the sweep's failures, and
        one that takes longer than the call goes on without it."""
        entries = by_attempt(await self._spool.left_over())
        await self._release()
        due = await self._due()
        strays = await self._strays(call, entries, due)
        await asyncio.gather(*(self._in_flight(call, one, entries) for one in (*due, *strays)))
        return len(due) + len(strays)

    async def _release(self) -> None:
        """Providers that gave somebody tokens lately answer again: what is in doubt because they
        failed is looked at now, a few at a time."""
        now = self._clock.monotonic()
        answering = self._outages.answering(now)
        if answering and now >= self._next_release:
            self._next_release = now + limits.RELEASE_INTERVAL_S
            await self._attempts.hasten(answering, limits.RELEASE_BATCH_MAX)

    async def _due(self) -> Sequence[RefreshAttempt]:
        """Those whose time has come, and those for which what they wait for may have come."""
        # Those under way that wait for a place or a permit are due still, and take nobody's turn.
        batch = limits.ATTEMPT_BATCH_MAX + len(self._under_way)
        due = await self._attempts.unresolved(self._spool.holds(), batch)
        anew = await self._attempts.due_anew(limits.ATTEMPT_BATCH_MAX)
        return list({attempt.attempt_id: attempt for attempt in (*due, *anew)}.values())

    async def _in_flight(self, call: Call, attempt: RefreshAttempt, entries: Entries) -> None:
        key = ("refresh", attempt.tenant, attempt.grant_id)
        if self._flights.holds(key):
            return
        resolve = partial(self._take_and_resolve, call, attempt, entries.get(attempt.attempt_id))
        try:
            await self._flights.join(key, resolve, call.deadline)
        except VaultError:
            return  # on record, and due again after its pause

    async def _take_and_resolve(
        self, call: Call, attempt: RefreshAttempt, entry: SpoolEntry | None
    ) -> None:
        self._under_way.add(attempt.attempt_id)
        try:
            await self._resolve_one(call, attempt, entry)
        finally:
            self._under_way.discard(attempt.attempt_id)

    async def _resolve_one(
        self, call: Call, attempt: RefreshAttempt, entry: SpoolEntry | None
    ) -> None:
        permit = await self._resolve.permit(attempt, entry)
        with permit or contextlib.nullcontext():
            held = self._spool.holds()
            asked = self._clock.monotonic()
            lease_s = self._times.for_attempt(attempt).lease_s
            taken = await self._attempts.take_over(attempt, lease_s, held)
            if taken is None:
                return
            lease, current = taken
            # Its grace may have ended this moment.
            since = await self._present.lengthen(lease, current, lease_s, asked)
            if since is not None:
                await self._resolve(call, lease, current, entry, since, permit)

    async def _strays(
        self, call: Call, entries: Entries, due: Sequence[RefreshAttempt]
    ) -> list[RefreshAttempt]:
        """Entries that say more than the database knew when it gave an attempt up; what it knows
        all about is freed."""
        seen = {attempt.attempt_id for attempt in due}
        found = []
        for entry in entries.values():
            at_work = self._flights.holds(("refresh", entry.tenant, entry.grant_id))
            if entry.attempt_id in seen or at_work:
                continue
            attempt = await self._attempts.find(entry.tenant, entry.attempt_id)
            if attempt is not None and _may_miss(attempt) and entry.envelope is not None:
                found.append(await self._kept(call, attempt, entry.envelope))
            elif attempt is None or attempt.state not in UNRESOLVED:
                await self._spool.free(entry)
        return found

    async def _kept(self, call: Call, attempt: RefreshAttempt, envelope: bytes) -> RefreshAttempt:
        """With its answer, found after all, in its row: so anybody may resolve it."""
        if attempt.orphan_envelope == envelope:
            return attempt
        record = self._recorder.done(
            call,
            AuditAction.REFRESH_ORPHAN_KEPT,
            attempt.tenant,
            str(attempt.grant),
            detail={"attempt": str(attempt.attempt_id), "how": "found in a spool"},
        )
        await self._attempts.keep_orphan(attempt, envelope, record)
        return replace(attempt, orphan_envelope=envelope)


def _may_miss(attempt: RefreshAttempt) -> bool:
    """Whether an answer that is found after its end may be what its grant needs."""
    keeps_its_token = attempt.refresh_class in (RefreshClass.N, RefreshClass.M)
    unchanged = attempt.state is AttemptState.RESOLVED_UNCHANGED and not keeps_its_token
    return unchanged or attempt.state is AttemptState.RESOLVED_LOST
