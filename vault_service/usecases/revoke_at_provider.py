"""Tell the provider about a revocation (RFC 7009), now or later.

The tombstone has committed before this runs, so a dead provider never blocks a revocation. The
refresh token's envelope is kept for this alone, at most seven days.
"""

from __future__ import annotations

import asyncio

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import VaultError
from vault_service.domain.grant import Grant, ProviderRevocation
from vault_service.domain.names import OAuthClientName
from vault_service.ports import QueuedRevocation, RevocationQueue, TokenEndpoint
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.shares import Shares

_FIRST_DELAY_S = 30.0
_DELAY_MAX_S = 3_600.0


class RevokeAtProvider:
    """Works the queue of revocations."""

    def __init__(
        self,
        *,
        queue: RevocationQueue,
        endpoint: TokenEndpoint,
        credentials: Credentials,
        envelopes: Envelopes,
        recorder: Recorder,
    ) -> None:
        self._queue = queue
        self._endpoint = endpoint
        self._credentials = credentials
        self._envelopes = envelopes
        self._recorder = recorder
        self.places = Shares(limits.ERRAND_PLACES_MAX)

    async def for_grant(self, call: Call, grant: Grant) -> None:
        """The attempt that follows a tombstone at once; a failure leaves the row queued."""
        for item in await self._queue.take_for(grant):
            await self._attempt(call, item)

    async def due(self, call: Call) -> int:
        """One batch of what is due, for the worker; returns how many were tried."""
        items = await self._queue.take_due(limits.REVOCATION_BATCH_MAX)
        # Side by side: one provider that hangs must not hold up the others.
        tried = await asyncio.gather(
            *(self._attempt(call, item) for item in items), return_exceptions=True
        )
        for outcome in tried:
            if isinstance(outcome, BaseException):
                raise outcome
        return len(items)

    async def _attempt(self, call: Call, item: QueuedRevocation) -> None:
        try:
            async with self.places.place(item.grant.tenant, limits.ERRAND_WAIT_S):
                outcome, facts = await self._tell(item)
        except VaultError as error:
            # The key store or database is away, or its tenant has many: the queue keeps it.
            outcome, facts = ProviderRevocation.PENDING, {"reason": error.reason.name}
        expired = item.expire_time <= item.grant.read_time
        if outcome is ProviderRevocation.PENDING and not expired:
            delay_s = min(_FIRST_DELAY_S * 2.0 ** min(item.attempts, 10), _DELAY_MAX_S)
            await self._queue.postpone(item, delay_s)
            return
        done = outcome is ProviderRevocation.DONE
        action = (
            AuditAction.PROVIDER_REVOCATION_DONE
            if done
            else AuditAction.PROVIDER_REVOCATION_ABANDONED
        )
        record = self._recorder.done(
            call, action, item.grant.tenant, str(item.grant.name), detail=facts
        )
        final = ProviderRevocation.DONE if done else ProviderRevocation.UNSUPPORTED
        await self._queue.finish(item, final, record)

    async def _tell(self, item: QueuedRevocation) -> tuple[ProviderRevocation, dict[str, str]]:
        grant = item.grant
        registration = await self._credentials.open(
            OAuthClientName(grant.tenant, grant.oauth_client)
        )
        if not registration.provider.profile.revocation_endpoint:
            return ProviderRevocation.UNSUPPORTED, {"reason": "no revocation endpoint"}
        binding = grant.refresh_binding(item.generation)
        refresh_token = await self._envelopes.open(binding, item.refresh_envelope)
        try:
            await self._credentials.present(
                registration,
                lambda credential: self._endpoint.revoke(
                    registration.provider.profile, credential, refresh_token=refresh_token
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
