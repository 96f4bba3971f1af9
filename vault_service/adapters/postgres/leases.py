"""The table grant_leases: short exclusive rights to refresh, on the database's clock."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres.pool import Database
from vault_service.domain.grant import Grant, Lease

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

# clock_timestamp() and not now(): now() stands still while the statement waits for the row.
_ACQUIRE: Final = """
    INSERT INTO grant_leases (grant_id, tenant, instance, fence, lease_until)
    VALUES ($1, $2, $3, nextval('fences'), clock_timestamp() + $4::interval)
    ON CONFLICT (grant_id) DO UPDATE SET
        instance = excluded.instance,
        fence = nextval('fences'),
        lease_until = clock_timestamp() + $4::interval
    WHERE grant_leases.lease_until < clock_timestamp()
    RETURNING fence, clock_timestamp() AS acquire_time
"""
_END: Final = """
    UPDATE grant_leases SET fence = 0, lease_until = '-infinity'
    WHERE tenant = $1 AND grant_id = $2 AND fence = $3
    RETURNING true
"""


class PostgresLeaseStore:
    """ports.LeaseStore. ``instance`` is the application name of the database's settings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, grant: Grant, lease_s: float) -> Lease | None:
        """The lease, or None when another holds it. GRANT_NOT_FOUND."""
        async with self._database.tenant_transaction(grant.tenant) as connection:
            row = await connection.fetchrow(
                _ACQUIRE,
                grant.grant_id,
                grant.tenant,
                self._database.settings.application_name,
                timedelta(seconds=lease_s),
            )
        return Lease(grant.grant_id, row["fence"], row["acquire_time"]) if row else None

    async def release(self, lease: Lease, tenant: str) -> None:
        """End it early, only if the fence is still ours."""
        async with self._database.tenant_transaction(tenant) as connection:
            await end_lease(connection, tenant, lease)


async def end_lease(connection: Connection, tenant: str, lease: Lease) -> bool:
    """End the lease in this transaction; False when its fence is no longer the newest.

    The row stays locked until commit: who wants the next lease waits and then reads what we wrote.
    """
    ended = await connection.fetchval(_END, tenant, lease.grant_id, lease.fence)
    return ended is True
