"""`tokenvault tenant create`: the tenant's KEK first, then its row."""

from __future__ import annotations

from vault_service.domain.access import Call
from vault_service.domain.audit import AuditAction
from vault_service.domain.names import require_id
from vault_service.ports import TenantKeys, TenantStore
from vault_service.usecases.recorder import Recorder


class CreateTenant:
    """Run by an operator with the admin login; again it changes nothing."""

    def __init__(self, *, keys: TenantKeys, tenants: TenantStore, recorder: Recorder) -> None:
        self._keys = keys
        self._tenants = tenants
        self._recorder = recorder

    async def __call__(self, call: Call, tenant: str) -> bool:
        """True when it was created now. NAME_MALFORMED, KEK_UNREACHABLE, STORE_UNREACHABLE."""
        require_id(tenant, "Tenant")
        # A row without a key would answer every call with a fault; a key without a row harms none.
        await self._keys.create_tenant_key(tenant)
        action = AuditAction.TENANT_CREATED
        record = self._recorder.done(call, action, tenant, f"tenants/{tenant}")
        return await self._tenants.create(tenant, record)
