"""The table provider_revocations: refresh tokens that a provider must still be told to revoke.

The worker role only finds and takes what is due, over all tenants; every other change is made as
the role of requests, inside the grant's own tenant.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.turns import holdings, shared_out
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.grant import Grant, ProviderRevocation
from vault_service.ports import QueuedRevocation

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_TAKE: Final = f"""
    WITH taken AS (
        UPDATE provider_revocations SET next_attempt_time = clock_timestamp() + $1::interval
        WHERE queue_id IN (
            SELECT queue_id FROM provider_revocations
            WHERE next_attempt_time <= now() AND %s FOR UPDATE SKIP LOCKED)
        RETURNING tenant, grant_id, queue_id, refresh_envelope AS queued_envelope,
            generation AS queued_generation, attempts, expire_time)
    SELECT queue_id, queued_envelope, queued_generation, attempts, expire_time, {rows.GRANT}
    FROM taken JOIN grants USING (tenant, grant_id)
    ORDER BY queue_id
"""  # noqa: S608
_TAKE_DUE: Final = _TAKE % f"queue_id IN ({shared_out('provider_revocations', 'queue_id')})"
_TAKE_FOR: Final = _TAKE % (
    f"tenant = $2 AND grant_id = $3 ORDER BY queue_id LIMIT {limits.REVOCATION_BATCH_MAX}"
)
_ENQUEUE: Final = """
    INSERT INTO provider_revocations (
        queue_id, tenant, grant_id, refresh_envelope, generation, expire_time)
    VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6::interval)
"""
_OUTCOME: Final = """
    UPDATE grants SET
        provider_revocation = CASE
            WHEN EXISTS (SELECT FROM provider_revocations WHERE tenant = $1 AND grant_id = $2)
            THEN provider_revocation ELSE $3 END,
        revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND grant_id = $2
"""


class PostgresRevocationQueue:
    """ports.RevocationQueue over two roles: the one of requests and the one of the worker."""

    def __init__(self, database_for_requests: Database, database_for_worker: Database) -> None:
        self._requests = database_for_requests
        self._worker = database_for_worker

    async def take_due(self, room: int, held: Mapping[str, int]) -> Sequence[QueuedRevocation]:
        """Rows whose time has come, shared out among tenants, skipping locked ones."""
        found = await self._worker.call(_TAKE_DUE, _HIDDEN, room, *holdings(held))
        return [_queued_from(row) for row in found]

    async def take_for(self, grant: Grant) -> Sequence[QueuedRevocation]:
        """The rows of one grant that nobody has taken or postponed."""
        async with self._requests.tenant_transaction(grant.tenant) as connection:
            found = await connection.fetch(_TAKE_FOR, _HIDDEN, grant.tenant, grant.grant_id)
        return [_queued_from(row) for row in found]

    async def finish(
        self, item: QueuedRevocation, outcome: ProviderRevocation, record: AuditRecord
    ) -> None:
        """Delete the row with its envelope and write the outcome to the grant.

        The grant stays PENDING while another row of it is queued. A row that is gone already
        changes nothing and is not recorded.
        """
        key = (item.grant.tenant, item.grant.grant_id)
        async with self._requests.tenant_transaction(item.grant.tenant) as connection:
            # The grant first: two rows that end at once must see each other gone.
            await connection.fetchval(
                "SELECT true FROM grants WHERE tenant = $1 AND grant_id = $2 FOR NO KEY UPDATE",
                *key,
            )
            deleted = await connection.fetchval(
                "DELETE FROM provider_revocations WHERE tenant = $1 AND queue_id = $2"
                " RETURNING true",
                item.grant.tenant,
                item.queue_id,
            )
            if deleted:
                await connection.execute(_OUTCOME, *key, outcome.value)
                await insert_record(connection, record)

    async def postpone(self, item: QueuedRevocation, delay_s: float) -> None:
        """Try again later, and count the attempt."""
        async with self._requests.tenant_transaction(item.grant.tenant) as connection:
            await connection.execute(
                "UPDATE provider_revocations SET attempts = attempts + 1,"
                " next_attempt_time = clock_timestamp() + $3::interval"
                " WHERE tenant = $1 AND queue_id = $2",
                item.grant.tenant,
                item.queue_id,
                timedelta(seconds=delay_s),
            )


async def enqueue(
    connection: Connection,
    queue_id: uuid.UUID,
    grant: Grant,
    refresh_envelope: bytes,
    generation: int,
) -> None:
    """Queue one envelope in the transaction that took it out of its grant."""
    await connection.execute(
        _ENQUEUE,
        queue_id,
        grant.tenant,
        grant.grant_id,
        refresh_envelope,
        generation,
        timedelta(seconds=limits.REVOCATION_KEEP_S),
    )


_HIDDEN: Final = timedelta(seconds=limits.REVOCATION_HIDE_S)


def _queued_from(row: rows.Row) -> QueuedRevocation:
    return QueuedRevocation(
        queue_id=row["queue_id"],
        grant=rows.grant_from(row),
        refresh_envelope=row["queued_envelope"],
        generation=row["queued_generation"],
        attempts=row["attempts"],
        expire_time=row["expire_time"],
    )
