"""The table deks: wrapped DEKs, one per (tenant, level, owner)."""

from __future__ import annotations

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.envelope import DekOwner, WrappedDek
from vault_service.domain.errors import Reason, VaultError


class PostgresDekStore:
    """ports.DekStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, tenant: str, dek_id: bytes) -> WrappedDek | None:
        """The DEK with this id, or None."""
        async with self._database.tenant_transaction(tenant) as connection:
            row = await connection.fetchrow(
                f"SELECT {rows.DEK} FROM deks WHERE tenant = $1 AND dek_id = $2",  # noqa: S608
                tenant,
                dek_id,
            )
        return rows.dek_from(row) if row else None

    async def find_current(self, owner: DekOwner) -> WrappedDek | None:
        """The DEK that seals for this owner now, or None."""
        async with self._database.tenant_transaction(owner.tenant) as connection:
            row = await connection.fetchrow(_CURRENT, *_key(owner))
        return rows.dek_from(row) if row else None

    async def insert(self, dek: WrappedDek) -> WrappedDek:
        """Insert unless the owner has one; returns the row that stands. TENANT_NOT_PROVISIONED."""
        key = _key(dek.dek_owner)
        async with self._database.tenant_transaction(dek.dek_owner.tenant) as connection:
            await connection.execute(
                "INSERT INTO deks (tenant, level, owner, dek_id, wrapped, kek_version)"
                " VALUES ($1, $2, $3, $4, $5, $6)"
                " ON CONFLICT (tenant, level, owner) DO NOTHING",
                *key,
                dek.dek_id,
                dek.wrapped,
                dek.kek_version,
            )
            row = await connection.fetchrow(_CURRENT, *key)
        if row is None:
            raise VaultError(Reason.INTERNAL, "a DEK vanished while it was inserted")
        return rows.dek_from(row)


_CURRENT = f"SELECT {rows.DEK} FROM deks WHERE tenant = $1 AND level = $2 AND owner = $3"  # noqa: S608


def _key(owner: DekOwner) -> tuple[str, str, str]:
    return owner.tenant, owner.level.value, owner.owner
