"""What an operator ordered for one attempt, under its lease."""

from __future__ import annotations

from vault_service.domain.access import Call
from vault_service.domain.attempt import (
    UNRESOLVED,
    AttemptAction,
    RefreshAttempt,
    by_attempt,
)
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Lease
from vault_service.domain.names import OAuthClientName
from vault_service.ports import AttemptStore, GrantStore, Spool
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.kept_answers import Kept, KeptAnswers
from vault_service.usecases.refresh_outcomes import Attempted, RefreshOutcomes
from vault_service.usecases.resolve_attempt import ResolveAttempt


class OrderedAttempts:
    """Does it once; what comes of it is on record as recovery's own decisions are."""

    def __init__(
        self,
        *,
        grants: GrantStore,
        attempts: AttemptStore,
        spool: Spool,
        credentials: Credentials,
        kept: KeptAnswers,
        outcomes: RefreshOutcomes,
        resolve: ResolveAttempt,
    ) -> None:
        self._grants = grants
        self._attempts = attempts
        self._spool = spool
        self._credentials = credentials
        self._kept = kept
        self._outcomes = outcomes
        self._resolve = resolve

    async def __call__(
        self,
        call: Call,
        lease: Lease,
        attempt: RefreshAttempt,
        action: AttemptAction,
        asked: float,
    ) -> None:
        """Returns when it is done; raises as ``ResolveAttempt`` where it stays in doubt."""
        grant = await self._grants.get(attempt.grant)
        if grant is None:
            return  # its tenant is gone, and everything with it
        client = OAuthClientName(grant.tenant, grant.oauth_client)
        _, provider = await self._credentials.find(client)
        tried = Attempted(
            lease, attempt, grant, provider.profile, in_doubt=True, revision=provider.revision
        )
        if action is AttemptAction.REREAD:
            await self._reread(call, tried, asked)
        elif not attempt.may_change(grant):
            await self._outcomes.superseded(call, tried, "the grant has moved on")
        elif why := await self._hindrance(attempt, action):
            await self._attempts.release(lease, attempt.tenant)
            raise not_possible(why)
        elif action is AttemptAction.ACCEPT_AS_UNCHANGED:
            await self._outcomes.unchanged(call, tried, "an operator accepted it as unchanged")
        elif action is AttemptAction.GIVE_UP:
            await self._outcomes.give_up(call, tried)
        else:
            await self._resolve.present_again(call, tried, asked)

    async def _hindrance(self, attempt: RefreshAttempt, action: AttemptAction) -> str:
        """Why the provider must not be asked, and nothing be taken for unchanged, while an answer
        may be there."""
        if action is AttemptAction.GIVE_UP:
            return ""
        entry = by_attempt(await self._spool.left_over()).get(attempt.attempt_id)
        if entry is not None and entry.envelope is not None:
            return "its answer lies in a spool, and is read by itself"
        if not set(attempt.awaited) <= set(self._spool.holds()):
            return "a spool that is away may hold its answer: bring it, or abandon it"
        if action is AttemptAction.PRESENT_AGAIN and attempt.orphan_envelope is not None:
            return "an answer of it is kept: have it read, accept it as unchanged, or give it up"
        return ""

    async def _reread(self, call: Call, tried: Attempted, asked: float) -> None:
        kept = await self._kept.read(call, tried, None, again=True)
        if not tried.attempt.may_change(tried.grant):
            await self._outcomes.superseded(call, tried, "the grant has moved on")
        elif kept is Kept.STORED:
            return
        elif tried.attempt.state in UNRESOLVED:
            await self._resolve.still_waits(call, tried, kept, asked)
        else:
            await self._attempts.read_in_vain(tried.lease, tried.attempt, tried.revision)


def not_possible(why: str) -> VaultError:
    """ATTEMPT_ACTION_NOT_POSSIBLE."""
    return VaultError(
        Reason.ATTEMPT_ACTION_NOT_POSSIBLE,
        f"the attempt takes no such action: {why}; read it to see what it waits for",
    )
