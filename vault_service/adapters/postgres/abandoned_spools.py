"""The table abandoned_spools: spools for which recovery no longer waits."""

from __future__ import annotations

import uuid

from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.audit import AuditRecord


class PostgresAbandonedSpools:
    """What `tokenvault spool abandon` writes. STORE_UNREACHABLE, AUDIT_UNAVAILABLE."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def abandon(self, spool_id: uuid.UUID, record: AuditRecord) -> bool:
        """Written with its record; False when it was abandoned already (nothing is recorded)."""
        async with self._database.tenant_transaction(record.tenant) as connection:
            written = await connection.fetchval(
                "INSERT INTO abandoned_spools (spool_id) VALUES ($1)"
                " ON CONFLICT DO NOTHING RETURNING true",
                spool_id,
            )
            if written:
                await insert_record(connection, record)
        return written is True
