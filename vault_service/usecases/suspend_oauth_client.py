"""SuspendOAuthClient and ResumeOAuthClient: the kill switch of one registration."""

from __future__ import annotations

from vault_service.domain.access import Call, Permission
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import OAuthClient
from vault_service.ports import OAuthClientStore
from vault_service.usecases.client_credentials import find_client
from vault_service.usecases.gate import Gate
from vault_service.usecases.recorder import Recorder


class SuspendOAuthClient:
    """Consents, refreshes and disclosures ask the row each time: nothing is cached."""

    def __init__(self, *, gate: Gate, clients: OAuthClientStore, recorder: Recorder) -> None:
        self._gate = gate
        self._clients = clients
        self._recorder = recorder

    async def suspend(self, call: Call, name: OAuthClientName) -> OAuthClient:
        """From now on calls that would use it are KILL_SWITCH. OAUTH_CLIENT_NOT_FOUND."""
        permission = Permission.SUSPEND_OAUTH_CLIENT
        return await self._set(call, name, permission, AuditAction.OAUTH_CLIENT_SUSPENDED)

    async def resume(self, call: Call, name: OAuthClientName) -> OAuthClient:
        """As before. OAUTH_CLIENT_NOT_FOUND."""
        permission = Permission.RESUME_OAUTH_CLIENT
        return await self._set(call, name, permission, AuditAction.OAUTH_CLIENT_RESUMED)

    async def _set(
        self, call: Call, name: OAuthClientName, permission: Permission, action: AuditAction
    ) -> OAuthClient:
        await self._gate.enter(call, name.tenant)
        _, decision = await find_client(self._gate, self._clients, call, permission, name)
        record = self._recorder.done(call, action, name.tenant, str(name), decision=decision)
        suspended = action is AuditAction.OAUTH_CLIENT_SUSPENDED
        client = await self._clients.suspend(name, suspended, record)
        if client is None:
            raise VaultError(Reason.OAUTH_CLIENT_NOT_FOUND, "the OAuthClient is gone")
        return client
