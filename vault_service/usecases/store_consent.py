"""What a consent brought becomes a grant: a new one, or the account's own, connected again."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vault_service.crypto.envelopes import Envelopes, Sealer
from vault_service.domain import limits
from vault_service.domain.access import Call, Decision
from vault_service.domain.attempt import Busy
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import (
    Grant,
    GrantState,
    ProviderRevocation,
    ReauthorizationCause,
    SealedTokens,
)
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import Authorization, TokenAnswer
from vault_service.domain.provider import ProviderProfile
from vault_service.ports import AttemptStore, Clock, Entropy, GrantBell, GrantStore
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.rings import wait_for_ring
from vault_service.usecases.seal_answer import seal_answer

_TOKEN_LIVES: Final = frozenset({ReauthorizationCause.SCOPES_MISSING})
"""Causes that say nothing against the refresh token in the row; all others are its end."""


class OvertakenError(Exception):
    """The grant has a later consent: neither are its tokens replaced, nor these revoked, since many
    providers would end the newer ones with them."""


class StoreConsent:
    """One grant per (tenant, OAuthClient, subject): one refresh token has one holder."""

    def __init__(
        self,
        *,
        grants: GrantStore,
        attempts: AttemptStore,
        envelopes: Envelopes,
        recorder: Recorder,
        clock: Clock,
        entropy: Entropy,
        bell: GrantBell,
    ) -> None:
        self._grants = grants
        self._attempts = attempts
        self._envelopes = envelopes
        self._recorder = recorder
        self._clock = clock
        self._entropy = entropy
        self._bell = bell

    async def __call__(
        self,
        call: Call,
        decision: Decision | None,
        authorization: Authorization,
        profile: ProviderProfile,
        answer: TokenAnswer,
        sealer: Sealer,
        *,
        kept: bool,
    ) -> Grant:
        """The row as written. Two consents of one account at once end as one grant. An answer that
        was ``kept`` meanwhile may come after those of later consents: OvertakenError.

        Token lives are counted from ``authorization.read_time``; ``decision`` is None where
        recovery stores what a process that is gone was allowed to.
        """
        client = OAuthClientName(authorization.tenant, authorization.oauth_client)
        for _ in range(limits.COMMIT_ATTEMPTS):
            known = await self._known(client, answer)
            if kept and known and await self._grants.is_consented_since(known, authorization):
                raise OvertakenError
            fresh = self._blank(authorization, profile, answer)
            if not known:
                grant = _with_tokens(fresh, fresh, answer, profile, sealer)
                revision = 0
            else:
                # Sealed under the grant's first owner, whoever consented now.
                theirs = await self._envelopes.sealer(known.dek_owner)
                row = await self._without_a_dead_token(known)
                grant = _with_tokens(row, fresh, answer, profile, theirs)
                revision = known.revision
            record = self._recorder.done(
                call,
                AuditAction.AUTHORIZATION_COMPLETED,
                grant.tenant,
                str(grant.name),
                decision=decision,
                detail={
                    "owner": authorization.owner,
                    "label": authorization.label,
                    "generation": str(grant.generation),
                    "reconnected": str(bool(known)).lower(),
                    "refresh_token": _origin(grant),
                },
            )
            stored = (
                await self._grants.reconnect(
                    grant, revision, authorization, record, only_newest=kept
                )
                if known
                else await self._grants.insert(grant, authorization, record)
            )
            if stored:
                return grant
        raise VaultError(
            Reason.STORE_UNREACHABLE,
            "the account's grant keeps changing; try again",
            retry_after_s=limits.RETRY_AFTER_S,
        )

    async def has_grant(self, authorization: Authorization, subject: str | None) -> bool:
        """Whether the account has a live grant, of any owner."""
        client = OAuthClientName(authorization.tenant, authorization.oauth_client)
        return bool(subject and await self._grants.get_by_subject(client, subject))

    async def _known(self, client: OAuthClientName, answer: TokenAnswer) -> Grant | None:
        """The account's grant. Where its refresh token has to go on, and a refresh has presented
        it, the grant is as that refresh leaves it."""
        if not answer.subject:
            return None
        known = await self._grants.get_by_subject(client, answer.subject)
        if known is None or answer.refresh_token is not None:
            return known
        if await self._attempts.is_in_question(known):
            await self._after_its_refresh(known)
            return await self._grants.get_by_subject(client, answer.subject)
        return known

    async def _after_its_refresh(self, grant: Grant) -> None:
        """Until the first request of a refresh has its outcome, or is in doubt. One that takes
        longer is not waited for: what it brings goes into the row all the same."""
        give_up = self._clock.monotonic() + limits.COMMIT_RETRY_S
        with self._bell.waiting(grant.grant_id) as changed:
            while (left_s := give_up - self._clock.monotonic()) > 0:
                changed.clear()
                if await self._attempts.holder(grant) is not Busy.HELD:
                    return
                await wait_for_ring(changed, min(limits.HELD_LOOK_S, left_s))

    async def _without_a_dead_token(self, row: Grant) -> Grant:
        """The row, whose refresh token goes on with a consent that brings none (Google gives one
        only at the first consent). One that the provider refused, or that was presented and whose
        successor is not here, is dead: presented again it would be refused again, or end the whole
        family."""
        alive = row.state is GrantState.ACTIVE or row.cause in _TOKEN_LIVES
        if alive and not await self._attempts.is_in_question(row):
            return row
        return replace(row, refresh_envelope=None)

    def _blank(
        self, authorization: Authorization, profile: ProviderProfile, answer: TokenAnswer
    ) -> Grant:
        """A grant as this consent makes it, its tokens not yet sealed."""
        start = authorization.read_time
        return Grant(
            tenant=authorization.tenant,
            grant_id=self._entropy.uuid7(),
            owner=authorization.owner,
            oauth_client=authorization.oauth_client,
            provider=authorization.provider,
            issuer=profile.issuer,
            token_endpoint=profile.token_endpoint,
            subject=answer.subject,
            state=GrantState.ACTIVE,
            cause=None,
            scopes=authorization.scopes,
            token_type=answer.token_type,
            revision=1,
            generation=0,
            access_envelope=None,
            access_generation=0,
            access_expire_time=None,
            access_life_s=0,
            refresh_envelope=None,
            refresh_generation=0,
            provider_revocation=ProviderRevocation.NONE,
            create_time=start,
            update_time=start,
            read_time=start,
            asked_scopes=authorization.scopes,
        )


def _with_tokens(
    row: Grant, fresh: Grant, answer: TokenAnswer, profile: ProviderProfile, sealer: Sealer
) -> Grant:
    """``row`` at its next generation with this consent's tokens, scopes and endpoints."""
    # The consent's scopes are the new truth, also where the provider repeats none.
    asked = replace(row, scopes=fresh.scopes, read_time=fresh.read_time)
    tokens: SealedTokens = seal_answer(
        answer, asked, row.generation + 1, asked.read_time, profile, sealer
    )
    kept = tokens.refresh_envelope is None
    return replace(
        row,
        state=GrantState.ACTIVE,
        cause=None,
        issuer=fresh.issuer,
        token_endpoint=fresh.token_endpoint,
        scopes=tokens.scopes,
        asked_scopes=fresh.asked_scopes,
        token_type=tokens.token_type,
        generation=tokens.generation,
        access_envelope=tokens.access_envelope,
        access_generation=tokens.generation,
        access_expire_time=tokens.access_expire_time,
        access_life_s=tokens.access_life_s,
        unrenewed_time=None,
        refresh_envelope=row.refresh_envelope if kept else tokens.refresh_envelope,
        refresh_generation=row.refresh_generation if kept else tokens.generation,
    )


def _origin(grant: Grant) -> str:
    if grant.refresh_envelope is None:
        return "none"
    return "new" if grant.refresh_generation == grant.generation else "kept"
