"""Refresh one grant: prepare, wait for a place at the provider, lease, write the attempt, then
present the refresh token.

One refresh per grant at a time, in this process by a flight and over all processes by a lease
with a fence. Everything that can fail happens before the POST, which is the point of no return.
"""

from __future__ import annotations

import uuid

from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.attempt import (
    Begun,
    Busy,
    Deferred,
    SpoolEntry,
    Unresolved,
    by_attempt,
)
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.priority import Priority
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.ports import (
    AttemptStore,
    Clock,
    Entropy,
    GrantBell,
    GrantStore,
    NewAttempt,
    Spool,
)
from vault_service.usecases.flights import Flights
from vault_service.usecases.outages import Outages, Permit
from vault_service.usecases.present_refresh_token import Prepared, PresentRefreshToken
from vault_service.usecases.provider_faults import waiting
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.refresh_outcomes import Attempted
from vault_service.usecases.resolve_attempt import ResolveAttempt
from vault_service.usecases.rings import wait_for_ring


class RefreshGrant:
    """Makes a newer generation of a grant, once, however many ask."""

    def __init__(
        self,
        *,
        grants: GrantStore,
        attempts: AttemptStore,
        spool: Spool,
        present: PresentRefreshToken,
        resolve: ResolveAttempt,
        recorder: Recorder,
        clock: Clock,
        entropy: Entropy,
        flights: Flights,
        outages: Outages,
        times: RefreshTimes,
        bell: GrantBell,
    ) -> None:
        self._grants = grants
        self._attempts = attempts
        self._spool = spool
        self._present = present
        self._resolve = resolve
        self._recorder = recorder
        self._clock = clock
        self._entropy = entropy
        self._flights = flights
        self._outages = outages
        self._times = times
        self._bell = bell

    async def __call__(
        self, call: Call, grant: Grant, priority: Priority = Priority.CALLER
    ) -> None:
        """Returns when this generation has a successor or the row has changed otherwise.

        Raises the reason why there is none; REFRESH_IN_PROGRESS when the caller's time is over
        first (the refresh goes on without it), REFRESH_IN_DOUBT as soon as that is known.
        """
        if priority is Priority.CALLER:
            self._outages.hurry(grant)
        ended = await self._flights.join(
            ("refresh", grant.tenant, grant.grant_id),
            lambda: self._run(call, grant, priority),
            call.answer_by,
        )
        if not ended:
            raise _in_progress()

    async def _run(self, call: Call, grant: Grant, priority: Priority) -> None:
        prepared = await self._present.prepare(grant)
        client, provider = prepared.registration.client, prepared.registration.provider
        times = self._times_of(prepared)
        give_up = self._clock.monotonic() + times.lease_s + times.lease_margin_s
        while self._clock.monotonic() < give_up:
            with await self._outages.permit(client, provider, grant, priority) as permit:
                if not await self._begin(call, grant, prepared, permit):
                    return
            if await self._moved_while_held(grant, give_up):
                return
        raise _in_progress()

    async def _begin(self, call: Call, grant: Grant, prepared: Prepared, permit: Permit) -> bool:
        """True where another process has the lease; else all is done that could be."""
        attempt_id = self._entropy.uuid7()
        entry = await self._spool.reserve(attempt_id, grant.tenant, grant.grant_id)
        try:
            return await self._begin_with(call, grant, prepared, permit, entry)
        finally:
            # Freed by now, or what it says is for recovery.
            self._spool.leave(entry)

    async def _begin_with(
        self,
        call: Call,
        grant: Grant,
        prepared: Prepared,
        permit: Permit,
        entry: SpoolEntry,
    ) -> bool:
        asked = self._clock.monotonic()
        # Where this raises it may have been written all the same: then the entry, which stays,
        # says that nothing was sent.
        lease_s = self._times_of(prepared).lease_s
        begun = await self._attempts.begin(
            grant,
            self._new(entry.attempt_id, prepared),
            lease_s,
            self._spool.holds(),
            self._started(call, grant, entry.attempt_id),
        )
        if isinstance(begun, Begun):
            profile = prepared.registration.provider.profile
            revision = prepared.registration.provider.revision
            tried = Attempted(begun.lease, begun.attempt, grant, profile, revision=revision)
            await self._present(call, tried, prepared, permit, entry, asked)
            return False
        await self._spool.free(entry)
        if isinstance(begun, Deferred):
            raise _deferred(begun)
        if isinstance(begun, Unresolved):
            await self._resolve_first(call, begun, lease_s, asked, permit)
            return False
        return begun is Busy.HELD

    async def _resolve_first(
        self, call: Call, found: Unresolved, lease_s: float, asked: float, permit: Permit
    ) -> None:
        lease, attempt = found.lease, found.attempt
        since = await self._present.lengthen(lease, attempt, lease_s, asked)
        if since is not None:
            earlier = by_attempt(await self._spool.left_over()).get(attempt.attempt_id)
            await self._resolve(call, lease, attempt, earlier, since, permit)

    async def _moved_while_held(self, grant: Grant, give_up: float) -> bool:
        """Wait for the holder of the lease; whether it has moved the grant on. Raises what
        ``begin`` would where the holder's request is in doubt by then."""
        with self._bell.waiting(grant.grant_id) as changed:
            while (left_s := give_up - self._clock.monotonic()) > 0:
                changed.clear()
                current = await self._grants.get(grant.name)
                if current is None or not _same_generation(current, grant):
                    return True
                holder = await self._attempts.holder(grant)
                if isinstance(holder, Deferred):
                    raise _deferred(holder)
                if holder is None:
                    return False
                await wait_for_ring(changed, min(limits.HELD_LOOK_S, left_s))
        raise _in_progress()

    def _times_of(self, prepared: Prepared) -> RefreshTimes:
        profile = prepared.registration.provider.profile
        return self._times.for_class(profile.refresh_class, profile.grace_s)

    def _new(self, attempt_id: uuid.UUID, prepared: Prepared) -> NewAttempt:
        profile = prepared.registration.provider.profile
        acting = self._times.class_of(profile.refresh_class, profile.grace_s)
        return NewAttempt(attempt_id, acting, profile.grace_s, self._spool.spool_id)

    def _started(self, call: Call, grant: Grant, attempt_id: uuid.UUID) -> AuditRecord:
        return self._recorder.done(
            call,
            AuditAction.GRANT_REFRESH_STARTED,
            grant.tenant,
            str(grant.name),
            detail={"attempt": str(attempt_id), "generation": str(grant.generation)},
        )


def _same_generation(current: Grant, grant: Grant) -> bool:
    return current.generation == grant.generation and current.state is GrantState.ACTIVE


def _deferred(held_back: Deferred) -> VaultError:
    """The refusal that the last request had, until it may be asked again."""
    if held_back.waits_for is not None:
        return waiting(held_back.waits_for)
    reason = Reason[held_back.reason] if held_back.reason in Reason.__members__ else None
    left_s = (held_back.until - held_back.read_time).total_seconds()
    if held_back.until_it_answers:
        left_s = min(left_s, limits.OUTAGE_TOLD_MAX_S)
    return VaultError(
        reason or Reason.PROVIDER_UNAVAILABLE,
        "the last refresh of this grant failed, and it is too early to ask the provider again; "
        "try again after the delay",
        retry_after_s=max(left_s, limits.LEASE_POLL_S),
    )


def _in_progress() -> VaultError:
    return VaultError(
        Reason.REFRESH_IN_PROGRESS,
        "a refresh of this grant is under way; ask again in a moment",
        retry_after_s=0.2,
    )
