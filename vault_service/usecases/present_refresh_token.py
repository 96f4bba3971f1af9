"""From the point of no return to the commit: POST, keep the answer, judge it, store the tokens.

Everything that can fail has happened before this begins. The raw answer goes to the spool while
the database takes what it says: whichever is durable first ends the danger.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from vault_service.crypto.envelopes import Envelopes, Sealer
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.answers import AnswerClass, Counted, TokenEndpointError
from vault_service.domain.attempt import (
    AttemptState,
    RefreshAttempt,
    SpoolEntry,
    answer_binding,
)
from vault_service.domain.content_coding import shows_a_token
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, Lease
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import ClientCredential, TokenAnswer
from vault_service.domain.refresh_times import RefreshTimes, grace_room_s
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_refresh
from vault_service.ports import AttemptStore, Clock, Spool, TokenEndpoint
from vault_service.usecases.credentials import Credentials, Registration, require_in_service
from vault_service.usecases.late_answers import LateAnswers
from vault_service.usecases.outages import Permit
from vault_service.usecases.refresh_outcomes import Attempted, RefreshOutcomes
from vault_service.usecases.store_successor import StoreSuccessor, sealed_successor

_SUCCESS = range(200, 300)
_REFUSAL = range(400, 500)


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that the POST and the sealing after it need, in memory."""

    registration: Registration
    refresh_token: Sensitive
    sealer: Sealer


@dataclass(slots=True)
class _Kept:
    """The sealed raw answer, and its way to the spool."""

    envelope: bytes
    storing: asyncio.Task[SpoolEntry]
    noted: str  # what was odd about it


class PresentRefreshToken:
    """One request for a grant under its lease, and all that follows from the answer."""

    def __init__(
        self,
        *,
        attempts: AttemptStore,
        spool: Spool,
        endpoint: TokenEndpoint,
        credentials: Credentials,
        envelopes: Envelopes,
        outcomes: RefreshOutcomes,
        store: StoreSuccessor,
        clock: Clock,
        times: RefreshTimes,
        late: LateAnswers,
    ) -> None:
        self._attempts = attempts
        self._spool = spool
        self._endpoint = endpoint
        self._credentials = credentials
        self._envelopes = envelopes
        self._outcomes = outcomes
        self._store = store
        self._clock = clock
        self._times = times
        self._late = late

    async def prepare(self, grant: Grant) -> Prepared:
        """NO_REFRESH_TOKEN, KILL_SWITCH, and what opening envelopes raises."""
        if grant.refresh_envelope is None:
            raise VaultError(
                Reason.NO_REFRESH_TOKEN,
                "the provider gave no refresh token with this consent; ask for consent again (some "
                "need access_type=offline or prompt=consent among the authorization_params)",
            )
        name = OAuthClientName(grant.tenant, grant.oauth_client)
        registration = await self._credentials.open(name)
        require_in_service(registration.client)
        refresh_token = await self._envelopes.open(grant.refresh_binding(), grant.refresh_envelope)
        return Prepared(registration, refresh_token, await self._envelopes.sealer(grant.dek_owner))

    async def __call__(
        self,
        call: Call,
        tried: Attempted,
        prepared: Prepared,
        permit: Permit,
        entry: SpoolEntry,
        asked: float,
    ) -> None:
        """Returns when the row has moved on; raises why it has not.

        ``asked``: the monotonic moment before the lease was asked for. The entry is freed as soon
        as the database knows how it ended, and left where it does not.
        """
        try:
            entry = await self._spool.mark_sent(entry)
        except VaultError as fault:
            await self._outcomes.not_sent(call, tried, fault)
        if not self.fits(tried.attempt, asked):
            # What took longer than the margin, the disk included, would let the POST outlive the
            # lease.
            error = TokenEndpointError(AnswerClass.NOT_SENT, detail="the lease is too short by now")
            await self._give_up(call, tried, entry, error)
            return
        kept: list[_Kept] = []
        try:
            answer, version = await self._post(tried, prepared, permit, entry, asked, kept)
        except TokenEndpointError as error:
            await self._settle(kept)
            await permit.report(error)
            try:
                await self._give_up(call, tried, entry, error, kept)
            except VaultError as fault:
                self._delay(fault, tried, error, asked)
                raise
            return
        await permit.report(None)
        tokens = sealed_successor(tried, answer, prepared.sealer, tried.lease.acquire_time)
        took_s = self._clock.monotonic() - asked
        detail = {"credential_version": str(version), "took_s": f"{took_s:.1f}"}
        odd = "; ".join(filter(None, (kept[-1].noted, *answer.oddities)))
        if odd:
            detail["provider_oddities"] = odd[: limits.TEXT_MAX_CHARS]
        state = AttemptState.RESOLVED_REFRESHED if tried.in_doubt else AttemptState.COMMITTED
        try:
            await self._store(call, tried, tokens, state, kept[0].envelope, detail)
        finally:
            # Before anything else may happen to this process, the disk has it or the database.
            await self._settle(kept)
        await self._spool.free(entry)

    async def _post(
        self,
        tried: Attempted,
        prepared: Prepared,
        permit: Permit,
        entry: SpoolEntry,
        asked: float,
        kept: list[_Kept],
    ) -> tuple[TokenAnswer, int]:
        profile = prepared.registration.provider.profile
        times = self._times.for_attempt(tried.attempt)

        async def request(credential: ClientCredential) -> TokenAnswer:
            asking = self._endpoint.refresh(
                profile,
                credential,
                token_endpoint=tried.grant.token_endpoint,
                refresh_token=prepared.refresh_token,
                scopes=tried.grant.scopes_to_refresh,
                post_limit_s=times.post_limit_s,
                answer_limit_s=times.answer_limit_s,
            )
            raw = await self._late.answer(asking, tried, permit, times)
            # Before it is read, and however it ended: it may be the only copy of the successor.
            if _may_hold_tokens(raw):
                kept.append(self._keep(tried, raw, entry, prepared.sealer))
            sent = (credential.client_secret, prepared.refresh_token)
            return read_refresh(raw, profile, sent)

        presented = await self._credentials.present(
            prepared.registration,
            request,
            lambda: self.fits(tried.attempt, asked) and permit.again(),
        )
        return presented.answer, presented.credential_version

    def _keep(self, tried: Attempted, raw: HttpAnswer, entry: SpoolEntry, sealer: Sealer) -> _Kept:
        binding = answer_binding(tried.grant, tried.attempt.base_generation)
        envelope = sealer.seal(binding, raw.to_bytes())
        return _Kept(envelope, asyncio.create_task(self._spool.store(entry, envelope)), raw.noted)

    @staticmethod
    async def _settle(kept: list[_Kept]) -> None:
        """Wait for the disk. What it could not take, the database may have taken."""
        await asyncio.gather(*(one.storing for one in kept), return_exceptions=True)

    async def _give_up(
        self,
        call: Call,
        tried: Attempted,
        entry: SpoolEntry,
        error: TokenEndpointError,
        kept: list[_Kept] | None = None,
    ) -> None:
        if kept and error.judgement.counted is Counted.MAYBE:
            # A success that cannot be read may hold the only successor: it stays with the attempt.
            await self._store.keep(call, tried, kept[-1].envelope, error.recorded())
        try:
            await self._outcomes.failed(call, tried, error)
        except VaultError as fault:
            if fault.reason not in _STORE_AWAY:
                await self._spool.free(entry)
            raise
        await self._spool.free(entry)

    def fits(self, attempt: RefreshAttempt, asked: float) -> bool:
        """Whether a POST that begins now ends inside the lease, which runs on the database's clock
        since the monotonic moment ``asked`` or later."""
        times = self._times.for_attempt(attempt)
        return times.post_fits(self._clock.monotonic() - asked)

    async def lengthen(
        self, lease: Lease, attempt: RefreshAttempt, had_s: float, asked: float
    ) -> float | None:
        """The lease that this attempt needs, where it turned out to need a longer one than the
        ``had_s`` since ``asked``: the moment that it is counted from. None where it was lost."""
        lease_s = self._times.for_attempt(attempt).lease_s
        if lease_s <= had_s:
            return asked
        renewed = self._clock.monotonic()
        return renewed if await self._attempts.renew(lease, attempt, lease_s) else None

    def _delay(
        self, fault: VaultError, tried: Attempted, error: TokenEndpointError, asked: float
    ) -> None:
        """Of what is in doubt, until it is tried again: where a second request would do harm the
        lease runs out first, and no pause but that of a refusal leaps over the end of a grace."""
        confirms = error.answer_class is AnswerClass.INVALID_GRANT
        waits = "waits_for" in fault.metadata or (confirms and not tried.in_doubt)
        if fault.reason is not Reason.REFRESH_IN_DOUBT or waits:
            return
        attempt, elapsed_s = tried.attempt, self._clock.monotonic() - asked
        told_s = fault.retry_after_s or 0.0
        left_s = attempt.grace_left_s(attempt.read_time) - elapsed_s
        last_s = left_s - grace_room_s(attempt.grace_s)
        if not tried.keeps_its_token and left_s <= 0:
            lease_s = self._times.for_attempt(attempt).lease_s
            fault.retry_after_s = max(told_s, lease_s - elapsed_s)
        elif last_s > 0 and not confirms:
            fault.retry_after_s = min(told_s, last_s)


def _may_hold_tokens(raw: HttpAnswer) -> bool:
    """Whether it must be kept: each 2xx, however it ended, and tokens beside another status. Not
    beside a refusal, after which the client's other credential may be tried in the same entry."""
    if raw.status in _SUCCESS:
        return True
    return raw.status not in _REFUSAL and shows_a_token(raw)


_STORE_AWAY = frozenset({Reason.STORE_UNREACHABLE, Reason.AUDIT_UNAVAILABLE})
