"""GetGrant and ListGrants: what there is, without a token."""

from __future__ import annotations

from vault_service.domain.access import Call, Permission
from vault_service.domain.grant import EVERY_GRANT, Grant, GrantFilter
from vault_service.domain.names import GrantName
from vault_service.ports import GrantStore, Page
from vault_service.usecases.gate import Gate, tenant_resource


class ReadGrants:
    """Grants as the caller may see them."""

    def __init__(self, *, gate: Gate, grants: GrantStore) -> None:
        self._gate = gate
        self._grants = grants

    async def get(self, call: Call, name: GrantName) -> Grant:
        """One grant. GRANT_NOT_FOUND also where the policy denies this row."""
        await self._gate.enter(call, name.tenant)
        grant, _ = self._gate.require_on_grant(
            call, Permission.GET_GRANT, name, await self._grants.get(name)
        )
        return grant

    async def list(
        self,
        call: Call,
        tenant: str,
        owner: str,
        page_size: int,
        page_token: str,
        only: GrantFilter = EVERY_GRANT,
    ) -> Page[Grant]:
        """One page by id; ``owner`` "" means all, and ``only`` narrows it further."""
        await self._gate.enter(call, tenant)
        self._gate.require(call, Permission.LIST_GRANTS, tenant_resource(tenant))
        return await self._grants.list(tenant, owner, page_size, page_token, only)
