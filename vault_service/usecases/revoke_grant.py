"""RevokeGrant: the tombstone commits first, then the provider is told."""

from __future__ import annotations

from vault_service.domain.access import Call, Decision, Permission
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantName, OAuthClientName
from vault_service.ports import GrantStore
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.flights import Flights
from vault_service.usecases.gate import Gate
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.revoke_at_provider import RevokeAtProvider

# More than for other calls: after the provider was told, the row is read once more.
_REPLY_RESERVE_S = 0.5


class RevokeGrant:
    """After it returned no call gets the token; a dead provider does not hold it up."""

    def __init__(
        self,
        *,
        gate: Gate,
        grants: GrantStore,
        credentials: Credentials,
        recorder: Recorder,
        revoke_at_provider: RevokeAtProvider,
        flights: Flights,
    ) -> None:
        self._gate = gate
        self._grants = grants
        self._credentials = credentials
        self._recorder = recorder
        self._revoke_at_provider = revoke_at_provider
        self._flights = flights

    async def __call__(self, call: Call, name: GrantName) -> Grant:
        """The tombstone as it stands. GRANT_NOT_FOUND also where the policy denies this row."""
        await self._gate.enter(call, name.tenant)
        grant, decision = self._gate.require_on_grant(
            call, Permission.REVOKE_GRANT, name, await self._grants.get(name)
        )
        return await self.end(call, grant, decision)

    async def end(self, call: Call, grant: Grant, decision: Decision) -> Grant:
        """As above, for a caller that was allowed by ``decision``. GRANT_NOT_FOUND."""
        name, action = grant.name, AuditAction.GRANT_REVOKED
        record = self._recorder.done(call, action, name.tenant, str(name), decision=decision)
        client = OAuthClientName(grant.tenant, grant.oauth_client)
        _, provider = await self._credentials.find(client)
        queued = bool(provider.profile.revocation_endpoint)
        tombstone = await self._grants.revoke(grant, queued, record)
        if tombstone is None:
            raise VaultError(Reason.GRANT_NOT_FOUND, "the grant is gone")
        await self._tell_provider(call, tombstone)
        return await self._grants.get(name) or tombstone

    async def _tell_provider(self, call: Call, tombstone: Grant) -> None:
        # In a flight of its own: a caller that hangs up, or a slow provider, must not undo or
        # delay the answer that the grant is revoked here. The queue has it in any case.
        until = call.deadline - _REPLY_RESERVE_S
        try:
            await self._flights.join(
                ("revoke", tombstone.tenant, tombstone.grant_id),
                lambda: self._revoke_at_provider.for_grant(call, tombstone),
                until,
            )
        except VaultError:
            return
