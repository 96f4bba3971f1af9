"""Refresh one grant: lease, re-read, prepare, POST, commit.

Everything that can fail happens before the POST, which is the point of no return: after it there
is local sealing and one compare-and-swap. One refresh per grant at a time, in this process by a
flight and over all processes by a lease with a fence.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta

from vault_service.crypto.envelopes import Envelopes, Sealer
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import (
    Grant,
    GrantState,
    Lease,
    ReauthorizationCause,
    SealedTokens,
)
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import ClientCredential, TokenAnswer
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.token_answer import read_refresh
from vault_service.ports import AuditLog, Clock, GrantStore, LeaseStore, TokenEndpoint
from vault_service.usecases.credentials import Credentials, Registration, require_in_service
from vault_service.usecases.flights import Flights
from vault_service.usecases.provider_faults import refusal
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.revoke_at_provider import RevokeAtProvider

_LEASE_S = limits.POST_LIMIT_S + limits.LEASE_MARGIN_S


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that the POST and the sealing after it need, in memory."""

    registration: Registration
    refresh_token: Sensitive
    sealer: Sealer


class RefreshGrant:
    """Makes a newer generation of a grant, once, however many ask."""

    def __init__(
        self,
        *,
        grants: GrantStore,
        leases: LeaseStore,
        audit: AuditLog,
        endpoint: TokenEndpoint,
        credentials: Credentials,
        envelopes: Envelopes,
        revoke_at_provider: RevokeAtProvider,
        recorder: Recorder,
        clock: Clock,
        flights: Flights,
    ) -> None:
        self._grants = grants
        self._leases = leases
        self._audit = audit
        self._endpoint = endpoint
        self._credentials = credentials
        self._envelopes = envelopes
        self._revoke_at_provider = revoke_at_provider
        self._recorder = recorder
        self._clock = clock
        self._flights = flights

    async def __call__(self, call: Call, grant: Grant) -> None:
        """Returns when this generation has a successor or the row has changed otherwise.

        Raises the reason why there is none; REFRESH_IN_PROGRESS when the caller's deadline came
        first (the refresh goes on without it).
        """
        ended = await self._flights.join(
            ("refresh", grant.tenant, grant.grant_id),
            lambda: self._run(call, grant),
            call.deadline - limits.REPLY_RESERVE_S,
        )
        if not ended:
            raise _in_progress()

    async def _run(self, call: Call, grant: Grant) -> None:
        held = await self._lease_unless_newer(grant)
        if held is None:
            return
        lease, asked = held
        try:
            # Re-read under the lease: whoever held it before may have refreshed already.
            current = await self._grants.get(grant.name)
            if current is not None and _same_generation(current, grant):
                await self._refresh(call, lease, current, asked)
        finally:
            await self._release(lease, grant.tenant)

    async def _lease_unless_newer(self, grant: Grant) -> tuple[Lease, float] | None:
        """The lease and the monotonic moment before it was asked for, or None as soon as another
        process has moved the grant on."""
        give_up = self._clock.monotonic() + _LEASE_S + limits.LEASE_MARGIN_S
        while (asked := self._clock.monotonic()) < give_up:
            lease = await self._leases.acquire(grant, _LEASE_S)
            if lease is not None:
                return lease, asked
            await asyncio.sleep(limits.LEASE_POLL_S)
            current = await self._grants.get(grant.name)
            if current is None or not _same_generation(current, grant):
                return None
        raise _in_progress()

    async def _refresh(self, call: Call, lease: Lease, grant: Grant, asked: float) -> None:
        prepared = await self._prepare(grant)
        # A preparation that took longer than the margin would let the POST outlive the lease.
        if not self._post_fits(asked):
            raise _in_progress()
        profile = prepared.registration.provider.profile
        try:
            presented = await self._credentials.present(
                prepared.registration,
                lambda credential: self._ask(grant, prepared, credential),
                lambda: self._post_fits(asked),
            )
        except TokenEndpointError as error:
            await self._failed(call, lease, grant, error)
            return
        tokens = seal_answer(
            presented.answer,
            grant,
            grant.generation + 1,
            lease,
            profile.default_life_s,
            prepared.sealer,
        )
        await self._commit(call, lease, grant, tokens, presented.credential_version)

    async def _ask(
        self, grant: Grant, prepared: _Prepared, credential: ClientCredential
    ) -> TokenAnswer:
        profile = prepared.registration.provider.profile
        answer = await self._endpoint.refresh(
            profile,
            credential,
            token_endpoint=grant.token_endpoint,
            refresh_token=prepared.refresh_token,
            scopes=grant.scopes,
        )
        return read_refresh(answer, profile, (prepared.refresh_token, credential.client_secret))

    def _post_fits(self, asked: float) -> bool:
        """Whether a POST that begins now ends inside the lease, which runs on the database's clock
        since the monotonic moment ``asked`` or later."""
        return self._clock.monotonic() - asked <= _LEASE_S - limits.POST_LIMIT_S

    async def _prepare(self, grant: Grant) -> _Prepared:
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
        return _Prepared(registration, refresh_token, await self._envelopes.sealer(grant.dek_owner))

    async def _failed(
        self, call: Call, lease: Lease, grant: Grant, error: TokenEndpointError
    ) -> None:
        fault = refusal(error)
        action = AuditAction.GRANT_REFRESH_FAILED
        record = self._recorder.failed(call, action, fault, grant.tenant, str(grant.name))
        if error.answer_class is not AnswerClass.INVALID_GRANT:
            await self._audit.append(record)
            raise fault
        # Condemned only at the generation that was refused: a sibling may have won meanwhile.
        condemned = await self._grants.require_reauthorization(
            lease, grant, ReauthorizationCause.REVOKED_BY_OWNER, record
        )
        if condemned:
            fault.metadata["cause"] = ReauthorizationCause.REVOKED_BY_OWNER.name
            raise fault

    async def _commit(
        self,
        call: Call,
        lease: Lease,
        grant: Grant,
        tokens: SealedTokens,
        credential_version: int,
    ) -> None:
        record = self._recorder.done(
            call,
            AuditAction.GRANT_REFRESHED,
            grant.tenant,
            str(grant.name),
            detail={
                "generation": str(tokens.generation),
                "fence": str(lease.fence),
                "credential_version": str(credential_version),
            },
        )
        give_up = self._clock.monotonic() + limits.COMMIT_RETRY_S
        while True:
            try:
                if not await self._grants.commit_refresh(lease, grant, tokens, record):
                    await self._discard(call, grant, tokens)
                return
            except VaultError as error:
                # The provider has moved on: the new refresh token exists only here until the
                # database takes it.
                if not error.retryable or self._clock.monotonic() > give_up:
                    raise
            await asyncio.sleep(limits.LEASE_POLL_S)

    async def _discard(self, call: Call, grant: Grant, tokens: SealedTokens) -> None:
        """The row moved on while the POST was under way: revocation wins, a newer one wins."""
        facts = {"generation": str(tokens.generation)}
        action = AuditAction.REFRESH_RESULT_DISCARDED
        record = self._recorder.done(call, action, grant.tenant, str(grant.name), detail=facts)
        current = await self._grants.get(grant.name)
        revoked = current is not None and current.state is GrantState.REVOKED
        if current is None or not revoked or tokens.refresh_envelope is None:
            await self._audit.append(record)
            return
        await self._grants.queue_revocation(
            current, tokens.refresh_envelope, tokens.generation, record
        )
        # The queue has it: what fails from here on must not queue it once more.
        with contextlib.suppress(VaultError):
            await self._revoke_at_provider.for_grant(call, current)

    async def _release(self, lease: Lease, tenant: str) -> None:
        try:
            await self._leases.release(lease, tenant)
        except VaultError:
            # It ends by itself; the outcome of the refresh must not change because of it.
            return


def seal_answer(
    answer: TokenAnswer,
    grant: Grant,
    generation: int,
    lease_or_start: Lease | None,
    default_life_s: int,
    sealer: Sealer,
) -> SealedTokens:
    """The envelopes of one answer at ``generation``.

    Lives are counted from before the request was sent, on the database's clock: from the lease,
    or for a consent from ``grant.read_time``.
    """
    start = lease_or_start.acquire_time if lease_or_start else grant.read_time
    life_s = default_life_s if answer.expires_in_s is None else answer.expires_in_s
    refresh = answer.refresh_token
    return SealedTokens(
        generation=generation,
        access_envelope=sealer.seal(grant.access_binding(generation), answer.access_token),
        access_expire_time=start + timedelta(seconds=life_s),
        access_life_s=life_s,
        refresh_envelope=(
            None if refresh is None else sealer.seal(grant.refresh_binding(generation), refresh)
        ),
        scopes=answer.scopes if answer.scopes is not None else grant.scopes,
        token_type=answer.token_type,
    )


def _same_generation(current: Grant, grant: Grant) -> bool:
    return current.generation == grant.generation and current.state is GrantState.ACTIVE


def _in_progress() -> VaultError:
    return VaultError(
        Reason.REFRESH_IN_PROGRESS,
        "a refresh of this grant is under way; ask again in a moment",
        retry_after_s=0.2,
    )
