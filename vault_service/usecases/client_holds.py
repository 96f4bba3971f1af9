"""The pauses that providers want of OAuthClients: which last, and ending one."""

from __future__ import annotations

from collections.abc import Sequence

from vault_service.domain.access import Call, Permission, Resource, ResourceKind
from vault_service.domain.audit import AuditAction
from vault_service.domain.names import OAuthClientName
from vault_service.ports import ClientHold, ClientHoldStore, OAuthClientStore
from vault_service.usecases.client_credentials import find_client
from vault_service.usecases.gate import Gate
from vault_service.usecases.recorder import Recorder, shown


class ClientHolds:
    """Every replica looks at the row once a second, so that both are true of all."""

    def __init__(
        self,
        *,
        gate: Gate,
        holds: ClientHoldStore,
        clients: OAuthClientStore,
        recorder: Recorder,
    ) -> None:
        self._gate = gate
        self._holds = holds
        self._clients = clients
        self._recorder = recorder

    async def list(self, call: Call, tenant: str) -> Sequence[ClientHold]:
        """Those of a tenant that last, by OAuthClient."""
        await self._gate.enter(call, tenant)
        resource = Resource(ResourceKind.TENANT, f"tenants/{tenant}", tenant)
        self._gate.require(call, Permission.LIST_CLIENT_HOLDS, resource)
        return await self._holds.holds(tenant)

    async def clear(self, call: Call, name: OAuthClientName, why: str) -> bool:
        """End a pause; within a second every replica asks the provider again. False: there was
        none. OAUTH_CLIENT_NOT_FOUND."""
        await self._gate.enter(call, name.tenant)
        permission = Permission.CLEAR_CLIENT_HOLD
        _, decision = await find_client(self._gate, self._clients, call, permission, name)
        record = self._recorder.done(
            call,
            AuditAction.CLIENT_HOLD_CLEARED,
            name.tenant,
            str(name),
            decision=decision,
            detail={"why": shown(why)},
        )
        return await self._holds.clear(name, record)
