"""From the point of no return to the commit: POST, keep the answer, judge it, store the tokens.

Everything that can fail has happened before this begins. The raw answer goes to the spool while
the database takes what it says: whichever is durable first ends the danger.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime

from vault_service.crypto.envelopes import Envelopes, Sealer
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.attempt import AttemptState, SpoolEntry, answer_binding
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, GrantState, ReauthorizationCause, SealedTokens
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import ClientCredential, TokenAnswer
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_refresh
from vault_service.ports import AttemptStore, AuditLog, Clock, GrantStore, Spool, TokenEndpoint
from vault_service.usecases.credentials import Credentials, Registration, require_in_service
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.refresh_outcomes import Attempted, RefreshOutcomes
from vault_service.usecases.revoke_at_provider import RevokeAtProvider
from vault_service.usecases.seal_answer import seal_answer

_SUCCESS = range(200, 300)


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


class PresentRefreshToken:
    """One request for a grant under its lease, and all that follows from the answer."""

    def __init__(
        self,
        *,
        grants: GrantStore,
        attempts: AttemptStore,
        spool: Spool,
        audit: AuditLog,
        endpoint: TokenEndpoint,
        credentials: Credentials,
        envelopes: Envelopes,
        outcomes: RefreshOutcomes,
        revoke_at_provider: RevokeAtProvider,
        recorder: Recorder,
        clock: Clock,
        times: RefreshTimes,
    ) -> None:
        self._grants = grants
        self._attempts = attempts
        self._spool = spool
        self._audit = audit
        self._endpoint = endpoint
        self._credentials = credentials
        self._envelopes = envelopes
        self._outcomes = outcomes
        self._revoke_at_provider = revoke_at_provider
        self._recorder = recorder
        self._clock = clock
        self._times = times

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
        self, call: Call, tried: Attempted, prepared: Prepared, entry: SpoolEntry, asked: float
    ) -> None:
        """Returns when the row has moved on; raises why it has not.

        ``asked``: the monotonic moment before the lease was asked for. The entry is freed as soon
        as the database knows how it ended, and left where it does not.
        """
        if not self._fits(asked):
            # A preparation that took longer than the margin would let the POST outlive the lease.
            error = TokenEndpointError(AnswerClass.NOT_SENT, detail="the lease is too short by now")
            await self._give_up(call, tried, entry, error)
            return
        entry = await self._spool.mark_sent(entry)
        kept: list[_Kept] = []
        try:
            answer, version = await self._post(tried, prepared, entry, asked, kept)
        except TokenEndpointError as error:
            await self._settle(kept)
            await self._give_up(call, tried, entry, error, kept)
            return
        tokens = self.sealed(tried, answer, prepared.sealer, tried.lease.acquire_time)
        detail = {"credential_version": str(version)}
        state = (
            AttemptState.RESOLVED_REFRESHED if tried.in_doubt else AttemptState.COMMITTED
        )
        try:
            await self.commit(call, tried, tokens, state, kept[0].envelope, detail)
        finally:
            # Before anything else may happen to this process, the disk has it or the database.
            await self._settle(kept)
        await self._spool.free(entry)

    @staticmethod
    def sealed(
        tried: Attempted, answer: TokenAnswer, sealer: Sealer, start: datetime
    ) -> SealedTokens:
        """The envelopes of the generation that this attempt makes."""
        generation = tried.attempt.base_generation + 1
        life_s = tried.profile.default_life_s
        return seal_answer(answer, tried.grant, generation, start, life_s, sealer)

    async def commit(
        self,
        call: Call,
        tried: Attempted,
        tokens: SealedTokens,
        state: AttemptState,
        envelope: bytes,
        detail: dict[str, str],
    ) -> None:
        """The tokens into the row, tried again while the database is away: until then the new
        refresh token is only here and in the spool. ``envelope``: the sealed raw answer."""
        facts = {
            "generation": str(tokens.generation),
            "fence": str(tried.lease.fence),
            "attempt": str(tried.attempt.attempt_id),
            "refresh_class": tried.attempt.refresh_class.name,
            "state": state.name,
            **detail,
        }
        record = self._recorder.done(
            call,
            AuditAction.GRANT_REFRESHED,
            tried.grant.tenant,
            str(tried.grant.name),
            detail=facts,
        )
        give_up = self._clock.monotonic() + self._times.commit_retry_s
        while True:
            try:
                await self._commit_once(call, tried, tokens, state, envelope, record)
                return
            except VaultError as error:
                if not error.retryable or self._clock.monotonic() > give_up:
                    raise
            await asyncio.sleep(limits.LEASE_POLL_S)

    async def _commit_once(
        self,
        call: Call,
        tried: Attempted,
        tokens: SealedTokens,
        state: AttemptState,
        envelope: bytes,
        record: AuditRecord,
    ) -> None:
        lease, attempt, grant = tried.lease, tried.attempt, tried.grant
        if not await self._attempts.commit(lease, attempt, grant, tokens, state, record):
            await self._lost_race(call, tried, tokens, envelope)

    async def _lost_race(
        self, call: Call, tried: Attempted, tokens: SealedTokens, envelope: bytes
    ) -> None:
        """The row or the lease moved on while the POST was under way.

        Revocation wins: its token goes to the revocation queue. A row that stands where it stood
        has lost its lease only: the answer is kept for whoever resolves the attempt.
        """
        current = await self._grants.get(tried.grant.name)
        record = self._discarded(call, tried, tokens)
        if current is not None and current.state is GrantState.REVOKED:
            await self._revoke_result(call, current, tokens, record)
        elif current is not None and _stands(current, tried):
            orphan = self._recorder.done(
                call,
                AuditAction.REFRESH_ORPHAN_KEPT,
                tried.grant.tenant,
                str(tried.grant.name),
                detail={"attempt": str(tried.attempt.attempt_id)},
            )
            await self._attempts.keep_orphan(tried.attempt, envelope, orphan)
        else:
            await self._audit.append(record)

    async def _revoke_result(
        self, call: Call, current: Grant, tokens: SealedTokens, record: AuditRecord
    ) -> None:
        if tokens.refresh_envelope is None:
            await self._audit.append(record)
            return
        await self._grants.queue_revocation(
            current, tokens.refresh_envelope, tokens.generation, record
        )
        # The queue has it: what fails from here on must not queue it once more.
        with contextlib.suppress(VaultError):
            await self._revoke_at_provider.for_grant(call, current)

    async def _post(
        self,
        tried: Attempted,
        prepared: Prepared,
        entry: SpoolEntry,
        asked: float,
        kept: list[_Kept],
    ) -> tuple[TokenAnswer, int]:
        profile = prepared.registration.provider.profile

        async def request(credential: ClientCredential) -> TokenAnswer:
            raw = await self._endpoint.refresh(
                profile,
                credential,
                token_endpoint=tried.grant.token_endpoint,
                refresh_token=prepared.refresh_token,
                scopes=tried.grant.scopes,
            )
            if raw.status in _SUCCESS and not raw.refusal:
                kept.append(self._keep(tried, raw, entry, prepared.sealer))
            sent = (credential.client_secret, prepared.refresh_token)
            return read_refresh(raw, profile, sent)

        presented = await self._credentials.present(
            prepared.registration, request, lambda: self._fits(asked)
        )
        return presented.answer, presented.credential_version

    def _keep(
        self, tried: Attempted, raw: HttpAnswer, entry: SpoolEntry, sealer: Sealer
    ) -> _Kept:
        binding = answer_binding(tried.grant, tried.attempt.base_generation)
        envelope = sealer.seal(binding, raw.to_bytes())
        return _Kept(envelope, asyncio.create_task(self._spool.store(entry, envelope)))

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
        if kept:
            # A success that cannot be read may hold the only successor: it stays with the attempt.
            orphan = self._recorder.done(
                call,
                AuditAction.REFRESH_ORPHAN_KEPT,
                tried.grant.tenant,
                str(tried.grant.name),
                detail={"attempt": str(tried.attempt.attempt_id), **error.recorded()},
            )
            await self._attempts.keep_orphan(tried.attempt, kept[-1].envelope, orphan)
        try:
            await self._outcomes.failed(call, tried, error)
        except VaultError as fault:
            if fault.reason not in _STORE_AWAY:
                await self._spool.free(entry)
            raise
        await self._spool.free(entry)

    def _discarded(self, call: Call, tried: Attempted, tokens: SealedTokens) -> AuditRecord:
        return self._recorder.done(
            call,
            AuditAction.REFRESH_RESULT_DISCARDED,
            tried.grant.tenant,
            str(tried.grant.name),
            detail={"generation": str(tokens.generation)},
        )

    def _fits(self, asked: float) -> bool:
        """Whether a POST that begins now ends inside the lease, which runs on the database's clock
        since the monotonic moment ``asked`` or later."""
        return self._times.post_fits(self._clock.monotonic() - asked)


_STORE_AWAY = frozenset({Reason.STORE_UNREACHABLE, Reason.AUDIT_UNAVAILABLE})


def _stands(current: Grant, tried: Attempted) -> bool:
    lost = current.cause is ReauthorizationCause.SUCCESSOR_LOST
    same = current.generation == tried.attempt.base_generation
    return same and (lost or current.state is GrantState.ACTIVE)
