"""The table tenants. Only the owner role may add to it."""

from __future__ import annotations

from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.audit import AuditRecord


class PostgresTenantStore:
    """ports.TenantStore. ``create`` wants a database of the owner role (`tokenvault tenant`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def exists(self, tenant: str) -> bool:
        """Whether the tenant was created."""
        async with self._database.tenant_transaction(tenant) as connection:
            found = await connection.fetchval("SELECT true FROM tenants WHERE tenant = $1", tenant)
        return found is True

    async def create(self, tenant: str, record: AuditRecord) -> bool:
        """Create it; False when it was there already (then nothing is recorded)."""
        async with self._database.tenant_transaction(tenant) as connection:
            created = await connection.fetchval(
                "INSERT INTO tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true",
                tenant,
            )
            if created:
                await insert_record(connection, record)
        return created is True
