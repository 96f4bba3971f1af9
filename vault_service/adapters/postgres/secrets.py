"""The table secret_versions: a Secret is what its versions are."""

from __future__ import annotations

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.audit import AuditRecord
from vault_service.domain.names import SecretName
from vault_service.domain.secret import SecretVersion


class PostgresSecretStore:
    """ports.SecretStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def next_version(self, name: SecretName) -> int:
        """The number the next version would have (1 for a new secret)."""
        newest = await self.latest(name)
        return newest.version + 1 if newest else 1

    async def put(self, version: SecretVersion, record: AuditRecord) -> bool:
        """Insert; False when that version exists already. TENANT_NOT_PROVISIONED."""
        async with self._database.tenant_transaction(version.name.tenant) as connection:
            inserted = await connection.fetchval(
                "INSERT INTO secret_versions (tenant, level, owner, secret, version, envelope)"
                " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true",
                *_key(version.name),
                version.version,
                version.envelope,
            )
            if inserted:
                await insert_record(connection, record)
        return inserted is True

    async def latest(self, name: SecretName) -> SecretVersion | None:
        """The newest version or None."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            row = await connection.fetchrow(
                f"SELECT {rows.SECRET_VERSION} FROM secret_versions"  # noqa: S608
                " WHERE tenant = $1 AND level = $2 AND owner = $3 AND secret = $4"
                " ORDER BY version DESC LIMIT 1",
                *_key(name),
            )
        return rows.secret_version_from(row) if row else None


def _key(name: SecretName) -> tuple[str, str, str, str]:
    return name.tenant, name.level.value, name.owner, name.secret
