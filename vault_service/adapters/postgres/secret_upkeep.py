"""What the worker does about secrets, over all tenants: reminders, and forgetting request ids.

The worker role only finds what is due, and never reads an envelope; the reminder is written as the
role of requests, inside the secret's own tenant.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.secret import ExpiringVersion

# An older version that expires has its successor already: nobody must do anything.
_DUE: Final = """
    SELECT v.tenant, v.owner, v.secret, v.version, v.expire_time
    FROM secret_versions v JOIN secrets s USING (tenant, level, owner, secret, version)
    WHERE v.expire_time <= now() + $1::interval AND v.destroy_time IS NULL AND NOT v.reminded
    ORDER BY v.expire_time LIMIT $2
"""
_REMIND: Final = """
    UPDATE secret_versions SET reminded = true
    WHERE tenant = $1 AND level = $2 AND owner = $3 AND secret = $4 AND version = $5
        AND destroy_time IS NULL AND NOT reminded
    RETURNING true
"""
_FORGET: Final = """
    DELETE FROM secret_requests WHERE (tenant, caller, request_id) IN (
        SELECT tenant, caller, request_id FROM secret_requests
        WHERE create_time < now() - $1::interval ORDER BY create_time LIMIT $2)
    RETURNING true
"""


class PostgresSecretReminders:
    """ports.SecretReminders over two roles: the one of requests and the one of the worker."""

    def __init__(self, database_for_requests: Database, database_for_worker: Database) -> None:
        self._requests = database_for_requests
        self._worker = database_for_worker

    async def due(self, within_s: float, limit: int) -> Sequence[ExpiringVersion]:
        """Newest versions that expire within this time and were not reminded of, soonest first."""
        found = await self._worker.call(_DUE, timedelta(seconds=within_s), limit)
        return [rows.expiring_from(row) for row in found]

    async def remind(self, version: ExpiringVersion, record: AuditRecord) -> bool:
        """Write the reminder's record; False when it was written before."""
        name = version.name
        key = (name.tenant, name.level.value, name.owner, name.secret, version.version)
        async with self._requests.tenant_transaction(name.tenant) as connection:
            reminded = await connection.fetchval(_REMIND, *key)
            if reminded:
                await insert_record(connection, record)
        return reminded is True


class PostgresRequestSweeper:
    """Forgets requests whose retries are not known any more; wants the worker role."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_old_requests(self, limit: int) -> int:
        """Delete at most ``limit``, oldest first; returns how many."""
        keep = timedelta(seconds=limits.REQUEST_ID_KEEP_S)
        return len(await self._database.call(_FORGET, keep, limit))
