"""What an operator ordered for one attempt, under its lease."""

from __future__ import annotations

from vault_service.domain.access import Call
from vault_service.domain.attempt import UNRESOLVED, AttemptAction, RefreshAttempt
from vault_service.domain.grant import Lease
from vault_service.domain.names import OAuthClientName
from vault_service.ports import AttemptStore, GrantStore
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
        credentials: Credentials,
        kept: KeptAnswers,
        outcomes: RefreshOutcomes,
        resolve: ResolveAttempt,
    ) -> None:
        self._grants = grants
        self._attempts = attempts
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
        if not attempt.may_change(grant):
            await self._outcomes.superseded(call, tried, "the grant has moved on")
        elif action is AttemptAction.REREAD:
            await self._reread(call, tried)
        elif action is AttemptAction.ACCEPT_AS_UNCHANGED:
            await self._outcomes.unchanged(call, tried, "an operator accepted it as unchanged")
        elif action is AttemptAction.GIVE_UP:
            await self._outcomes.give_up(call, tried)
        else:
            await self._resolve.present_again(call, tried, asked)

    async def _reread(self, call: Call, tried: Attempted) -> None:
        kept = await self._kept.read(call, tried, None, again=True)
        if kept is Kept.STORED:
            return
        if tried.attempt.state in UNRESOLVED:
            await self._resolve.still_waits(call, tried, kept)
        else:
            await self._attempts.read_in_vain(tried.lease, tried.attempt, tried.revision)
