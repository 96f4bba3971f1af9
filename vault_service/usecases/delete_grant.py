"""DeleteGrant: revoked first, then out of every list; a tombstone stays for the record."""

from __future__ import annotations

from vault_service.domain.access import Call, Permission
from vault_service.domain.audit import AuditAction
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantName
from vault_service.ports import GrantStore
from vault_service.usecases.gate import Gate, grant_not_found
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.revoke_grant import RevokeGrant


class DeleteGrant:
    """Two commits: what fails between them left a revoked grant, and deleting it again ends it."""

    def __init__(
        self, *, gate: Gate, grants: GrantStore, recorder: Recorder, revoke: RevokeGrant
    ) -> None:
        self._gate = gate
        self._grants = grants
        self._recorder = recorder
        self._revoke = revoke

    async def __call__(self, call: Call, name: GrantName) -> Grant:
        """The tombstone as it stands. GRANT_NOT_FOUND also where the policy denies this row."""
        await self._gate.enter(call, name.tenant)
        grant, decision = self._gate.require_on_grant(
            call, Permission.DELETE_GRANT, name, await self._grants.get(name)
        )
        tombstone = await self._revoke.end(call, grant, decision)
        action = AuditAction.GRANT_DELETED
        record = self._recorder.done(call, action, name.tenant, str(name), decision=decision)
        deleted = await self._grants.delete(tombstone, record)
        if deleted is None:
            raise grant_not_found({"why": "deleted"})
        return deleted
