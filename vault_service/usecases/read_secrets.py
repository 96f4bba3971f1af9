"""GetSecret, ListSecrets and ListSecretVersions: what there is, without a value."""

from __future__ import annotations

from vault_service.domain.access import Call, Permission
from vault_service.domain.names import SecretName, SecretParent
from vault_service.domain.secret import Secret, SecretVersion
from vault_service.ports import Page, SecretStore
from vault_service.usecases.gate import Gate
from vault_service.usecases.secret_bounds import (
    secret_not_found,
    secret_resource,
    secrets_resource,
)


class ReadSecrets:
    """Secrets as the caller may see them."""

    def __init__(self, *, gate: Gate, secrets: SecretStore) -> None:
        self._gate = gate
        self._secrets = secrets

    async def get(self, call: Call, name: SecretName) -> Secret:
        """One secret. SECRET_NOT_FOUND."""
        await self._gate.enter(call, name.tenant)
        self._gate.require(call, Permission.GET_SECRET, secret_resource(name))
        return await self._standing(name)

    async def list(
        self, call: Call, parent: SecretParent, page_size: int, page_token: str
    ) -> Page[Secret]:
        """One page by id, of the application's or of one owner's."""
        await self._gate.enter(call, parent.tenant)
        self._gate.require(call, Permission.LIST_SECRETS, secrets_resource(parent))
        return await self._secrets.list(parent, page_size, page_token)

    async def list_versions(
        self, call: Call, name: SecretName, page_size: int, page_token: str
    ) -> Page[SecretVersion]:
        """One page, newest first. SECRET_NOT_FOUND."""
        await self._gate.enter(call, name.tenant)
        self._gate.require(call, Permission.LIST_SECRET_VERSIONS, secret_resource(name))
        await self._standing(name)
        return await self._secrets.list_versions(name, page_size, page_token)

    async def _standing(self, name: SecretName) -> Secret:
        secret = await self._secrets.get(name)
        if secret is None or secret.delete_time is not None:
            raise secret_not_found("deleted" if secret else "")
        return secret
