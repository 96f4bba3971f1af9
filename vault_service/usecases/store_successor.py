"""The tokens of a refresh into their grant's row, or, where the row has moved on, where they do no
harm and are not lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from vault_service.crypto.envelopes import Sealer
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.attempt import AttemptState
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.errors import VaultError
from vault_service.domain.grant import Grant, GrantState, SealedTokens
from vault_service.domain.oauth import TokenAnswer
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.ports import AttemptStore, AuditLog, Clock, GrantStore
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.refresh_outcomes import Attempted
from vault_service.usecases.revoke_at_provider import RevokeAtProvider
from vault_service.usecases.seal_answer import seal_answer


class StoreSuccessor:
    """Tried again while the database is away: until it answers, the new refresh token is only in
    this process and in its spool."""

    def __init__(
        self,
        *,
        grants: GrantStore,
        attempts: AttemptStore,
        audit: AuditLog,
        revoke_at_provider: RevokeAtProvider,
        recorder: Recorder,
        clock: Clock,
        times: RefreshTimes,
    ) -> None:
        self._grants = grants
        self._attempts = attempts
        self._audit = audit
        self._revoke_at_provider = revoke_at_provider
        self._recorder = recorder
        self._clock = clock
        self._times = times

    async def __call__(
        self,
        call: Call,
        tried: Attempted,
        tokens: SealedTokens,
        state: AttemptState,
        envelope: bytes,
        detail: Mapping[str, str],
    ) -> None:
        """Returns when they are stored, queued for revocation, or kept with the attempt.

        ``envelope`` is the sealed raw answer. Raises what the stores raise, STORE_UNREACHABLE and
        AUDIT_UNAVAILABLE after ``times.commit_retry_s`` only.
        """
        facts = {
            "generation": str(tokens.generation),
            "fence": str(tried.lease.fence),
            "attempt": str(tried.attempt.attempt_id),
            "refresh_class": tried.attempt.refresh_class.name,
            "state": state.name,
            **detail,
        }
        record = self._done(call, AuditAction.GRANT_REFRESHED, tried, facts)
        late = {**facts, "how": "its refresh token, after a consent that brought none"}
        taken_up = self._done(call, AuditAction.GRANT_REFRESHED, tried, late)

        async def store() -> None:
            lease, attempt, grant = tried.lease, tried.attempt, tried.grant
            if await self._attempts.commit(lease, attempt, grant, tokens, state, record):
                return
            if not await self._taken_up(tried, tokens, taken_up):
                await self._lost_race(call, tried, tokens, envelope)

        await self._patiently(store)

    async def keep(
        self, call: Call, tried: Attempted, envelope: bytes, detail: Mapping[str, str]
    ) -> None:
        """The sealed answer, which cannot be read, into the attempt. Raises as ``__call__``."""
        facts = {"attempt": str(tried.attempt.attempt_id), **detail}
        record = self._done(call, AuditAction.REFRESH_ORPHAN_KEPT, tried, facts)
        discarded = self._done(call, AuditAction.REFRESH_RESULT_DISCARDED, tried, facts)

        async def keep() -> None:
            attempt, revision = tried.attempt, tried.revision
            if not await self._attempts.keep_orphan(attempt, envelope, record, revision):
                await self._audit.append(discarded)

        await self._patiently(keep)

    async def _patiently(self, write: Callable[[], Awaitable[None]]) -> None:
        give_up = self._clock.monotonic() + self._times.commit_retry_s
        while True:
            try:
                await write()
                return
            except VaultError as error:
                if not error.retryable or self._clock.monotonic() > give_up:
                    raise
            await asyncio.sleep(limits.LEASE_POLL_S)

    async def _taken_up(self, tried: Attempted, tokens: SealedTokens, record: AuditRecord) -> bool:
        """Whether the row, moved on by a consent without a refresh token, has this one now. Where
        the token that was presented works on, the row keeps that."""
        if tokens.refresh_envelope is None or tried.keeps_its_token:
            return False
        return await self._attempts.take_up(tried.attempt, tokens, record)

    async def _lost_race(
        self, call: Call, tried: Attempted, tokens: SealedTokens, envelope: bytes
    ) -> None:
        """The row or the lease moved on while the request was under way.

        Revocation wins: its token goes to the revocation queue. A row that stands where it stood
        has lost its lease only: the answer is kept for whoever resolves the attempt.
        """
        current = await self._grants.get(tried.grant.name)
        discarded = self._done(
            call,
            AuditAction.REFRESH_RESULT_DISCARDED,
            tried,
            {"generation": str(tokens.generation)},
        )
        if current is not None and current.state is GrantState.REVOKED:
            await self._revoke(call, current, tokens, discarded)
        elif current is not None and tried.attempt.may_change(current):
            facts = {"attempt": str(tried.attempt.attempt_id)}
            kept = self._done(call, AuditAction.REFRESH_ORPHAN_KEPT, tried, facts)
            await self._attempts.keep_orphan(tried.attempt, envelope, kept)
        else:
            await self._audit.append(discarded)

    async def _revoke(
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

    def _done(
        self, call: Call, action: AuditAction, tried: Attempted, facts: Mapping[str, str]
    ) -> AuditRecord:
        grant = tried.grant.name
        return self._recorder.done(call, action, grant.tenant, str(grant), detail=facts)


def sealed_successor(
    tried: Attempted, answer: TokenAnswer, sealer: Sealer, start: datetime
) -> SealedTokens:
    """The envelopes of the generation that this attempt makes."""
    generation = tried.attempt.base_generation + 1
    return seal_answer(answer, tried.grant, generation, start, tried.profile, sealer, renewed=True)
