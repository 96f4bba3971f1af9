"""The table grant_leases: short exclusive rights to refresh, on the database's clock."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault_service.domain.grant import Lease

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
_HOLDS: Final = """
    SELECT true FROM grant_leases
    WHERE tenant = $1 AND grant_id = $2 AND fence = $3 FOR NO KEY UPDATE
"""
# Also where there is no row yet: an insert that is not committed is waited for.
_LOCK: Final = """
    INSERT INTO grant_leases AS l (grant_id, tenant, instance, fence, lease_until)
    VALUES ($1, $2, '', 0, '-infinity')
    ON CONFLICT (grant_id) DO UPDATE SET fence = l.fence
"""
_RENEW: Final = """
    UPDATE grant_leases SET lease_until = clock_timestamp() + $4::interval
    WHERE tenant = $1 AND grant_id = $2 AND fence = $3
    RETURNING true
"""
_LEASED: Final = """
    SELECT extract(epoch FROM lease_until - clock_timestamp())::double precision
    FROM grant_leases
    WHERE tenant = $1 AND grant_id = $2 AND lease_until >= clock_timestamp()
"""


async def acquire_lease(
    connection: Connection, tenant: str, grant_id: uuid.UUID, instance: str, lease_s: float
) -> Lease | None:
    """The lease, or None when another holds it. GRANT_NOT_FOUND."""
    row = await connection.fetchrow(
        _ACQUIRE, grant_id, tenant, instance, timedelta(seconds=lease_s)
    )
    return Lease(grant_id, row["fence"], row["acquire_time"]) if row else None


async def end_lease(connection: Connection, tenant: str, lease: Lease) -> bool:
    """End the lease in this transaction; False when its fence is no longer the newest.

    The row stays locked until commit: who wants the next lease waits and then reads what we wrote.
    """
    ended = await connection.fetchval(_END, tenant, lease.grant_id, lease.fence)
    return ended is True


async def holds_lease(connection: Connection, tenant: str, lease: Lease) -> bool:
    """Whether its fence is the newest, until the end of this transaction; it goes on."""
    held = await connection.fetchval(_HOLDS, tenant, lease.grant_id, lease.fence)
    return held is True


async def lock_lease(connection: Connection, tenant: str, grant_id: uuid.UUID) -> None:
    """Nobody takes, ends or renews the lease before the end of this transaction, and what such a
    transaction wrote before is seen from here on."""
    await connection.execute(_LOCK, grant_id, tenant)


async def renew_lease(connection: Connection, tenant: str, lease: Lease, lease_s: float) -> bool:
    """Let it go on for so long from now, also where it has run out and nobody took it; False when
    its fence is no longer the newest."""
    length = timedelta(seconds=lease_s)
    renewed = await connection.fetchval(_RENEW, tenant, lease.grant_id, lease.fence, length)
    return renewed is True


async def leased_s(connection: Connection, tenant: str, grant_id: uuid.UUID) -> float | None:
    """How much is left of somebody's lease; None where there is none."""
    left: float | None = await connection.fetchval(_LEASED, tenant, grant_id)
    return left
