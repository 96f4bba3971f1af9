"""The table providers."""

from __future__ import annotations

from vault_service.adapters.postgres import pages, rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.profiles import profile_to_json
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import ProviderName
from vault_service.domain.provider import Provider, ProviderProfile
from vault_service.ports import Page


class PostgresProviderStore:
    """ports.ProviderStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self, name: ProviderName, profile: ProviderProfile, record: AuditRecord
    ) -> Provider:
        """Create or replace. TENANT_NOT_PROVISIONED."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            row = await connection.fetchrow(
                "INSERT INTO providers (tenant, provider, profile) VALUES ($1, $2, $3::text::jsonb)"  # noqa: S608
                " ON CONFLICT (tenant, provider) DO UPDATE SET profile = excluded.profile,"
                " revision = providers.revision + 1, update_time = clock_timestamp()"
                f" RETURNING {rows.PROVIDER}",
                name.tenant,
                name.provider,
                profile_to_json(profile),
            )
            await insert_record(connection, record)
        if row is None:
            raise VaultError(Reason.INTERNAL, "a provider vanished while it was written")
        return rows.provider_from(row)

    async def get(self, name: ProviderName) -> Provider | None:
        """One provider or None."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            row = await connection.fetchrow(
                f"SELECT {rows.PROVIDER} FROM providers WHERE tenant = $1 AND provider = $2",  # noqa: S608
                name.tenant,
                name.provider,
            )
        return rows.provider_from(row) if row else None

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[Provider]:
        """By id. FIELD_MALFORMED for a page token that is not ours."""
        after = pages.text_key(page_token)
        async with self._database.tenant_transaction(tenant) as connection:
            found = await connection.fetch(
                f"SELECT {rows.PROVIDER} FROM providers"  # noqa: S608
                ' WHERE tenant = $1 AND provider > $2 COLLATE "C"'
                ' ORDER BY provider COLLATE "C" LIMIT $3',
                tenant,
                after,
                pages.rows_wanted(page_size),
            )
        providers = [rows.provider_from(row) for row in found]
        return pages.page_of(providers, page_size, lambda one: one.name.provider.encode())
