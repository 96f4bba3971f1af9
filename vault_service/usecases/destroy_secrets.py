"""DestroySecretVersion and DeleteSecret: what is destroyed is so for ever."""

from __future__ import annotations

from vault_service.domain import limits
from vault_service.domain.access import Call, Permission
from vault_service.domain.audit import AuditAction
from vault_service.domain.names import SecretName
from vault_service.domain.secret import SecretVersion
from vault_service.ports import SecretStore
from vault_service.usecases.gate import Gate
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.secret_bounds import (
    etag_mismatch,
    require_etag,
    secret_not_found,
    secret_resource,
)


class DestroySecrets:
    """After it returned no call gets the value, and no disclosure of it commits."""

    def __init__(self, *, gate: Gate, secrets: SecretStore, recorder: Recorder) -> None:
        self._gate = gate
        self._secrets = secrets
        self._recorder = recorder

    async def destroy(self, call: Call, name: SecretName, number: int) -> SecretVersion:
        """The tombstone of one version. SECRET_NOT_FOUND."""
        await self._gate.enter(call, name.tenant)
        permission = Permission.DESTROY_SECRET_VERSION
        decision = self._gate.require(call, permission, secret_resource(name))
        record = self._recorder.done(
            call,
            AuditAction.SECRET_VERSION_DESTROYED,
            name.tenant,
            str(name),
            decision=decision,
            detail={"version": str(number)},
        )
        version = await self._secrets.destroy(name, number, record)
        if version is None:
            raise secret_not_found()
        return version

    async def delete(self, call: Call, name: SecretName, etag: str) -> None:
        """Destroy all versions and leave a tombstone. SECRET_NOT_FOUND, ETAG_MISMATCH."""
        await self._gate.enter(call, name.tenant)
        permission = Permission.DELETE_SECRET
        decision = self._gate.require(call, permission, secret_resource(name))
        for _ in range(limits.COMMIT_ATTEMPTS):
            secret = await self._secrets.get(name)
            if secret is None or secret.delete_time is not None:
                raise secret_not_found("deleted" if secret else "")
            require_etag(secret, etag)
            record = self._recorder.done(
                call,
                AuditAction.SECRET_DELETED,
                name.tenant,
                str(name),
                decision=decision,
                detail={"latest_version": str(secret.version)},
            )
            if await self._secrets.delete(secret, record):
                return
        raise etag_mismatch("other writers keep changing this secret; try again")
