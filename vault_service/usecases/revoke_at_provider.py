"""Tell the provider about a revocation (RFC 7009), now or later.

The tombstone has committed before this runs, so a dead provider never blocks a revocation. The
refresh token's envelope is kept for this alone, at most seven days. So are the tokens of a consent
that could not be accepted.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.audit import AuditAction
from vault_service.domain.consent import DiscardedToken, TokenKind
from vault_service.domain.envelope import Binding
from vault_service.domain.errors import VaultError
from vault_service.domain.grant import Grant, ProviderRevocation
from vault_service.domain.names import OAuthClientName
from vault_service.ports import (
    DiscardedTokens,
    QueuedRevocation,
    RevocationQueue,
    TokenEndpoint,
)
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.shares import Shares
from vault_service.usecases.under_way import UnderWay

_FIRST_DELAY_S = 30.0
_DELAY_MAX_S = 3_600.0


class RevokeAtProvider:
    """Works the queues of revocations: of grants, and of consents that made none."""

    def __init__(
        self,
        *,
        queue: RevocationQueue,
        discarded: DiscardedTokens,
        endpoint: TokenEndpoint,
        credentials: Credentials,
        envelopes: Envelopes,
        recorder: Recorder,
    ) -> None:
        self._queue = queue
        self._discarded = discarded
        self._endpoint = endpoint
        self._credentials = credentials
        self._envelopes = envelopes
        self._recorder = recorder
        self.places = Shares(limits.ERRAND_PLACES_MAX)
        self._grants = UnderWay(limits.REVOCATION_BATCH_MAX)
        self._tokens = UnderWay(limits.REVOCATION_BATCH_MAX)

    async def for_grant(self, call: Call, grant: Grant) -> None:
        """The attempt that follows a tombstone at once; a failure leaves the row queued."""
        for item in await self._queue.take_for(grant):
            await self._attempt(call, item)

    async def for_consent(self, call: Call, tenant: str, authorization_id: uuid.UUID) -> None:
        """The attempt that follows a refused consent at once; a failure leaves the row queued."""
        for token in await self._discarded.take_for(tenant, authorization_id):
            await self._attempt_discarded(call, token)

    async def due(self, call: Call) -> int:
        """What is due and has room, for the worker; returns how many were begun. What takes longer
        goes on without the call, and holds its tenant's part of the room: a provider that hangs
        holds up no other tenant."""
        items = await self._queue.take_due(self._grants.room, self._grants.held)
        for item in items:
            self._grants.begin(item.grant.tenant, self._attempt(call, item))
        tokens = await self._discarded.take_due(self._tokens.room, self._tokens.held)
        for token in tokens:
            self._tokens.begin(token.tenant, self._attempt_discarded(call, token))
        both = (
            self._grants.wait(limits.REVOCATION_WAIT_S),
            self._tokens.wait(limits.REVOCATION_WAIT_S),
        )
        for outcome in await asyncio.gather(*both, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        return len(items) + len(tokens)

    async def close(self) -> None:
        """Give up what is under way: who takes it next tells the provider."""
        await self._grants.close()
        await self._tokens.close()

    async def _attempt(self, call: Call, item: QueuedRevocation) -> None:
        grant = item.grant
        client = OAuthClientName(grant.tenant, grant.oauth_client)
        binding = grant.refresh_binding(item.generation)
        outcome, facts = await self._told(client, binding, item.refresh_envelope, TokenKind.REFRESH)
        if _tries_on(outcome, item.expire_time, grant.read_time):
            await self._queue.postpone(item, _delay_s(item.attempts))
            return
        record = self._recorder.done(
            call, _ACTION[outcome], grant.tenant, str(grant.name), detail=facts
        )
        await self._queue.finish(item, _final(outcome), record)

    async def _attempt_discarded(self, call: Call, token: DiscardedToken) -> None:
        outcome, facts = await self._told(token.client, token.binding, token.envelope, token.kind)
        if _tries_on(outcome, token.expire_time, token.read_time):
            await self._discarded.postpone(token, _delay_s(token.attempts))
            return
        facts |= {"token": token.kind.value}
        record = self._recorder.done(
            call, _ACTION[outcome], token.tenant, token.resource, detail=facts
        )
        await self._discarded.finish(token, record)

    async def _told(
        self, client: OAuthClientName, binding: Binding, envelope: bytes, kind: TokenKind
    ) -> tuple[ProviderRevocation, dict[str, str]]:
        try:
            async with self.places.place(client.tenant, limits.ERRAND_WAIT_S):
                return await self._tell(client, binding, envelope, kind)
        except VaultError as error:
            # The key store or database is away, or its tenant has many: the queue keeps it.
            return ProviderRevocation.PENDING, {"reason": error.reason.name}

    async def _tell(
        self, client: OAuthClientName, binding: Binding, envelope: bytes, kind: TokenKind
    ) -> tuple[ProviderRevocation, dict[str, str]]:
        registration = await self._credentials.open(client)
        if not registration.provider.profile.revocation_endpoint:
            return ProviderRevocation.UNSUPPORTED, {"reason": "no revocation endpoint"}
        token = await self._envelopes.open(binding, envelope)
        try:
            await self._credentials.present(
                registration,
                lambda credential: self._endpoint.revoke(
                    registration.provider.profile, credential, token=token, kind=kind
                ),
                lambda: True,
            )
        except TokenEndpointError as error:
            if error.answer_class is AnswerClass.INVALID_GRANT:
                return ProviderRevocation.DONE, error.recorded()  # it is dead there already
            if error.error == "unsupported_token_type":
                return ProviderRevocation.UNSUPPORTED, error.recorded()
            return ProviderRevocation.PENDING, error.recorded()
        return ProviderRevocation.DONE, {}


_ACTION = {
    ProviderRevocation.DONE: AuditAction.PROVIDER_REVOCATION_DONE,
    ProviderRevocation.UNSUPPORTED: AuditAction.PROVIDER_REVOCATION_ABANDONED,
    ProviderRevocation.PENDING: AuditAction.PROVIDER_REVOCATION_ABANDONED,  # its time is over
}


def _final(outcome: ProviderRevocation) -> ProviderRevocation:
    done = outcome is ProviderRevocation.DONE
    return ProviderRevocation.DONE if done else ProviderRevocation.UNSUPPORTED


def _tries_on(outcome: ProviderRevocation, expire_time: datetime, now: datetime) -> bool:
    return outcome is ProviderRevocation.PENDING and expire_time > now


def _delay_s(attempts: int) -> float:
    return min(_FIRST_DELAY_S * 2.0 ** min(attempts, 10), _DELAY_MAX_S)
