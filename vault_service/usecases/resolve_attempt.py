"""What became of a refresh whose process died, or whose answer never came.

In order: what the spool or the attempt itself has kept; whether anything was sent at all; then by
provider class. The danger is concurrency, not the retry: the lease with its fence comes first.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import NoReturn

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.attempt import (
    UNRESOLVED,
    RefreshAttempt,
    SpoolEntry,
    SpoolMark,
    WaitsFor,
    resolvable,
)
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Lease
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import Liveness
from vault_service.domain.priority import Priority
from vault_service.domain.provider import Recovery, RefreshClass
from vault_service.domain.refresh_times import RefreshTimes, grace_pace_s, grace_room_s
from vault_service.ports import AttemptStore, GrantStore, Spool, TokenEndpoint
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.flights import Flights
from vault_service.usecases.kept_answers import WAITS_FOR, Kept, KeptAnswers
from vault_service.usecases.outages import Outages, Permit
from vault_service.usecases.present_refresh_token import Prepared, PresentRefreshToken
from vault_service.usecases.provider_faults import refusal
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.refresh_outcomes import Attempted, RefreshOutcomes


class ResolveAttempt:
    """Resolves one attempt under its lease, or leaves it in doubt until later."""

    def __init__(
        self,
        *,
        grants: GrantStore,
        attempts: AttemptStore,
        spool: Spool,
        endpoint: TokenEndpoint,
        credentials: Credentials,
        envelopes: Envelopes,
        present: PresentRefreshToken,
        outcomes: RefreshOutcomes,
        kept: KeptAnswers,
        recorder: Recorder,
        outages: Outages,
        flights: Flights,
        times: RefreshTimes,
    ) -> None:
        self._grants = grants
        self._attempts = attempts
        self._spool = spool
        self._endpoint = endpoint
        self._credentials = credentials
        self._envelopes = envelopes
        self._present = present
        self._outcomes = outcomes
        self._kept = kept
        self._recorder = recorder
        self._outages = outages
        self._flights = flights
        self._times = times

    async def permit(self, attempt: RefreshAttempt, entry: SpoolEntry | None) -> Permit | None:
        """Wait for a place at the provider, before the lease is taken. None where the provider
        need not be asked, or cannot be now."""
        if not _asks_the_provider(attempt, entry):
            return None
        grant = await self._grants.get(attempt.grant)
        if grant is None:
            return None
        self._tell_joiners(attempt)
        client, provider = await self._credentials.find(
            OAuthClientName(grant.tenant, grant.oauth_client)
        )
        wait_s = limits.PERMIT_WAIT_S
        if in_grace := attempt.acting_class is RefreshClass.G:
            wait_s = min(wait_s, grace_pace_s(attempt.grace_s))
        try:
            return await self._outages.permit(client, provider, grant, Priority.RECOVERY, wait_s)
        except VaultError as refused:
            if in_grace and not _ends_in_time(refused, attempt):
                wait_s = min(wait_s, attempt.grace_left_s(attempt.read_time))
                return await self._outages.last_chance(client, provider, grant.grant_id, wait_s)
        return None

    async def __call__(
        self,
        call: Call,
        lease: Lease,
        attempt: RefreshAttempt,
        entry: SpoolEntry | None,
        asked: float,
        permit: Permit | None,
    ) -> None:
        """Returns when it is resolved or the row has moved on; raises why it is not.

        ``entry`` is what a spool that this process holds knows of it. It is freed once the
        database knows the outcome. ``asked``: the monotonic moment before the lease was asked for.
        ``permit``: to ask the provider, where there is one already.
        """
        grant = await self._grants.get(attempt.grant)
        if grant is None:
            return  # its tenant is gone, and everything with it
        _, provider = await self._credentials.find(
            OAuthClientName(grant.tenant, grant.oauth_client)
        )
        tried = Attempted(
            lease, attempt, grant, provider.profile, in_doubt=True, revision=provider.revision
        )
        kept = await self._kept.read(call, tried, entry)
        try:
            if kept is not Kept.STORED:
                await self._go_on(call, tried, entry, kept, permit, asked)
            elif not attempt.may_change(grant):
                # The answer was discarded or revoked: nobody misses it, and nobody looks again.
                await self._outcomes.superseded(call, tried, "the grant has moved on")
        except VaultError as fault:
            # The database knows all that the spool did, and the wait may be long.
            if entry is not None and "waits_for" in fault.metadata:
                await self._spool.free(entry)
            raise
        if entry is not None:
            await self._spool.free(entry)

    async def still_waits(self, call: Call, tried: Attempted, kept: Kept, asked: float) -> None:
        """An operator had the answer read again, in vain. Raises as a call."""
        await self._go_on(call, tried, None, kept, None, asked)

    async def present_again(self, call: Call, tried: Attempted, asked: float) -> None:
        """As an operator ordered, whatever the profile's ``recovery`` says. Raises as a call."""
        prepared = await self._prepared(tried)
        with await self._permit_now(call, tried, prepared) as permit:
            await self._retry(call, tried, prepared, permit, None, asked)

    async def _go_on(
        self,
        call: Call,
        tried: Attempted,
        entry: SpoolEntry | None,
        kept: Kept,
        permit: Permit | None,
        asked: float,
    ) -> None:
        """No answer that was kept settles it."""
        attempt = tried.attempt
        waits_for = WAITS_FOR.get(kept)
        if not attempt.may_change(tried.grant):
            await self._outcomes.superseded(call, tried, "the grant has moved on")
        elif attempt.state not in UNRESOLVED:
            # Ended before, and its answer still cannot be read: that it is kept is all.
            await self._attempts.read_in_vain(tried.lease, attempt, tried.revision)
        elif waits_for is not None and not tried.keeps_its_token:
            await self._with_its_answer(call, tried, waits_for, permit)
        elif entry is not None and entry.mark is SpoolMark.RESERVED and attempt.retries == 0:
            await self._outcomes.unchanged(call, tried, "nothing was sent")
        else:
            await self._by_class(call, tried, entry, permit, asked)

    async def _with_its_answer(
        self, call: Call, tried: Attempted, waits_for: WaitsFor, permit: Permit | None
    ) -> None:
        """Nobody presents the token while an answer is kept that nobody can read; only the
        provider's word that it lives ends the wait."""
        if tried.may_be_probed and await self._is_told_alive(tried, permit):
            await self._outcomes.unchanged(call, tried, "the provider had not carried it out")
            return
        how = "the answer is kept and cannot be read"
        error = TokenEndpointError(AnswerClass.UNREADABLE_SUCCESS, detail=how)
        await self._outcomes.wait_for(call, tried, waits_for, error)

    async def _is_told_alive(self, tried: Attempted, permit: Permit | None) -> bool:
        self._tell_joiners(tried.attempt)
        with contextlib.suppress(VaultError):
            prepared = await self._present.prepare(tried.grant)
            registration = prepared.registration
            with permit or await self._outages.permit(
                registration.client,
                registration.provider,
                tried.grant,
                Priority.RECOVERY,
                wait_s=0.0,
            ):
                token = await self._introspect(prepared)
                return token is Liveness.ACTIVE or await self._old_access_token_lives(tried)
        return False

    async def _by_class(
        self,
        call: Call,
        tried: Attempted,
        entry: SpoolEntry | None,
        permit: Permit | None,
        asked: float,
    ) -> None:
        in_grace = tried.attempt.acting_class is RefreshClass.G
        if tried.keeps_its_token:
            await self._outcomes.unchanged(call, tried, "the old refresh token works on")
            return
        if self._may_lie_elsewhere(tried.attempt):
            await self._outcomes.wait(call, tried, "a spool that is away may hold its answer")
        if not in_grace and tried.profile.recovery is Recovery.MANUAL:
            await self._wait_for_operator(call, tried, "an operator decides")
        self._tell_joiners(tried.attempt)
        prepared = await self._prepared(tried)
        with permit or await self._permit_now(call, tried, prepared) as allowed:
            if in_grace:
                await self._retry(call, tried, prepared, allowed, entry, asked)
            else:
                await self._ask_about(call, tried, prepared, allowed, entry, asked)

    def _tell_joiners(self, attempt: RefreshAttempt) -> None:
        """The provider is about to be asked, and may hang: callers in this process need not wait
        for it, but mostly its answer is here long before its lease ends."""
        doubt = refusal(TokenEndpointError(AnswerClass.IN_DOUBT, detail="recovery is at work"))
        lease_s = self._times.for_attempt(attempt).lease_s
        doubt.retry_after_s = min(lease_s, limits.IN_DOUBT_RETRY_S)
        self._flights.tell_joiners(("refresh", attempt.tenant, attempt.grant_id), doubt)

    def _may_lie_elsewhere(self, attempt: RefreshAttempt) -> bool:
        """Whether it was open to this process only for an answer that turned out to be none."""
        without = replace(attempt, orphan_envelope=None)
        return attempt.orphan_envelope is not None and not resolvable(without, self._spool.holds())

    async def _permit_now(self, call: Call, tried: Attempted, prepared: Prepared) -> Permit:
        """Under the lease nobody waits for a place: without one it stays in doubt for a while."""
        registration = prepared.registration
        try:
            return await self._outages.permit(
                registration.client,
                registration.provider,
                tried.grant,
                Priority.RECOVERY,
                wait_s=0.0,
            )
        except VaultError as refused:
            try:
                how = "the provider cannot be asked now"
                pause_s = refused.retry_after_s or 0.0
                if _is_steady(tried.attempt, refused):
                    pause_s = 0.0
                held = refused.reason is not Reason.PROVIDER_RATE_LIMITED
                await self._outcomes.wait(call, tried, how, pause_s, until_it_answers=held)
            finally:
                # Nothing was sent under this lease: whoever may ask first goes on from here.
                await self._release(tried)

    async def _ask_about(
        self,
        call: Call,
        tried: Attempted,
        prepared: Prepared,
        permit: Permit,
        entry: SpoolEntry | None,
        asked: float,
    ) -> None:
        """Class S, and class G when its grace is over."""
        token = await self._introspect(prepared)
        if token is Liveness.INACTIVE:
            await self._outcomes.dead(call, tried, "introspection: not active")
        elif token is Liveness.ACTIVE or await self._old_access_token_lives(tried):
            await self._outcomes.unchanged(call, tried, "the provider had not carried it out")
        elif tried.profile.recovery is Recovery.PROBE_ONLY:
            how = "no probe tells, and a retry is not allowed"
            await self._wait_for_operator(call, tried, how)
        else:
            await self._retry(call, tried, prepared, permit, entry, asked)

    async def _wait_for_operator(self, call: Call, tried: Attempted, how: str) -> NoReturn:
        error = TokenEndpointError(AnswerClass.IN_DOUBT, detail=how)
        await self._outcomes.wait_for(call, tried, WaitsFor.OPERATOR, error)

    async def _introspect(self, prepared: Prepared) -> Liveness:
        registration = prepared.registration
        return await self._endpoint.introspect(
            registration.provider.profile,
            registration.credential,
            refresh_token=prepared.refresh_token,
        )

    async def _old_access_token_lives(self, tried: Attempted) -> bool:
        """Whether it works still, where a refresh would have ended it."""
        grant, profile = tried.grant, tried.profile
        if not (profile.refresh_kills_old_access_token and profile.probe_endpoint):
            return False
        ended = grant.access_expire_time is None or grant.access_expire_time <= grant.read_time
        if ended or grant.access_envelope is None:
            return False
        access_token = await self._envelopes.open(grant.access_binding(), grant.access_envelope)
        alive = await self._endpoint.probe_access_token(profile, access_token=access_token)
        return alive is Liveness.ACTIVE

    async def _prepared(self, tried: Attempted) -> Prepared:
        """As for a first request. What fails here is ours: it is tried again in a while, and not at
        every look, since a suspended OAuthClient or a key store that is away may last."""
        try:
            return await self._present.prepare(tried.grant)
        except VaultError as fault:
            pause_s = max(fault.retry_after_s or 0.0, limits.IN_DOUBT_RETRY_S)
            with contextlib.suppress(VaultError):
                await self._attempts.put_off(tried.lease, tried.attempt, pause_s)
            raise

    async def _release(self, tried: Attempted) -> None:
        with contextlib.suppress(VaultError):
            await self._attempts.release(tried.lease, tried.attempt.tenant)

    async def _retry(
        self,
        call: Call,
        tried: Attempted,
        prepared: Prepared,
        permit: Permit,
        earlier: SpoolEntry | None,
        asked: float,
    ) -> None:
        """Present the same refresh token once more, prepared as carefully as the first time."""
        attempt = tried.attempt
        entry = await self._spool.reserve(attempt.attempt_id, attempt.tenant, attempt.grant_id)
        facts = {"attempt": str(attempt.attempt_id), "retry": str(attempt.retries + 1)}
        record = self._recorder.done(
            call,
            AuditAction.GRANT_REFRESH_STARTED,
            attempt.tenant,
            str(attempt.grant),
            detail=facts,
        )
        try:
            if not self._present.fits(attempt, asked):
                await self._put_off(tried, entry)
            held = self._spool.holds()
            if not await self._attempts.retry(tried.lease, attempt, held, record):
                await self._spool.free(entry)
                return
            if earlier is not None:
                await self._spool.free(earlier)
            again = replace(tried, attempt=replace(attempt, retries=attempt.retries + 1))
            await self._present(call, again, prepared, permit, entry, asked)
        finally:
            self._spool.leave(entry)

    async def _put_off(self, tried: Attempted, entry: SpoolEntry) -> NoReturn:
        """What was prepared too slowly for its lease is prepared again: it was no try, so nothing
        is counted, and no pause that was meant for the provider delays the next one."""
        await self._spool.free(entry)
        await self._attempts.release(tried.lease, tried.attempt.tenant)
        how = "the lease is too short by now"
        raise refusal(TokenEndpointError(AnswerClass.IN_DOUBT, detail=how))


def _asks_the_provider(attempt: RefreshAttempt, entry: SpoolEntry | None) -> bool:
    """Whether nothing that was kept settles it, as far as is known before it is opened."""
    if attempt.refresh_class in (RefreshClass.N, RefreshClass.M):
        return False
    kept = attempt.orphan_envelope is not None
    if entry is None:
        return not kept
    unsent = entry.mark is SpoolMark.RESERVED and attempt.retries == 0
    return not (kept or unsent or entry.mark is SpoolMark.RECEIVED)


def _ends_in_time(refused: VaultError, attempt: RefreshAttempt) -> bool:
    """Whether the pause that the provider asked for leaves time for a try inside the grace."""
    left_s = attempt.grace_left_s(attempt.read_time) - grace_room_s(attempt.grace_s)
    asked = refused.reason is Reason.PROVIDER_RATE_LIMITED
    return asked and (refused.retry_after_s or 0.0) < left_s


def _is_steady(attempt: RefreshAttempt, refused: VaultError) -> bool:
    """Whether the pause of a grace is kept although others wait longer."""
    in_grace = attempt.acting_class is RefreshClass.G
    return in_grace and not _ends_in_time(refused, attempt)
