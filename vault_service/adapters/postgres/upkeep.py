"""The table grant_upkeep: what holds back the next request for a grant, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import rows
from vault_service.domain import limits
from vault_service.domain.grant import Grant
from vault_service.ports.refresh import Ending

if TYPE_CHECKING:
    import uuid

    from vault_service.adapters.postgres.pool import Connection

_READ: Final = """
    SELECT failures, not_before, reason, refused_generation, refused_time,
        clock_timestamp() AS read_time
    FROM grant_upkeep WHERE tenant = $1 AND grant_id = $2
"""
_REFRESHED: Final = """
    INSERT INTO grant_upkeep (grant_id, tenant, refresh_time)
    VALUES ($2, $1, clock_timestamp())
    ON CONFLICT (grant_id) DO UPDATE SET
        failures = 0, not_before = NULL, reason = '', refused_generation = NULL,
        refused_time = NULL, refresh_time = clock_timestamp()
"""
# The first refusal of a generation is the one that a later one confirms.
_FAILED: Final = """
    INSERT INTO grant_upkeep AS u (
        grant_id, tenant, failures, not_before, reason, refused_generation, refused_time)
    VALUES ($2, $1, 1, clock_timestamp() + $3::interval, $4,
        CASE WHEN $5::boolean THEN $6::bigint END,
        CASE WHEN $5::boolean THEN clock_timestamp() END)
    ON CONFLICT (grant_id) DO UPDATE SET
        failures = u.failures + 1,
        not_before = clock_timestamp() + CASE
            WHEN $7::boolean
            THEN least($3::interval * power(2, least(u.failures, 20)), $8::interval)
            ELSE $3::interval END,
        reason = excluded.reason,
        refused_generation = coalesce(excluded.refused_generation, u.refused_generation),
        refused_time = CASE
            WHEN u.refused_generation = excluded.refused_generation THEN u.refused_time
            ELSE coalesce(excluded.refused_time, u.refused_time) END
"""
_PAUSE_MAX: Final = timedelta(seconds=limits.BACKOFF_MAX_S)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """One row."""

    failures: int
    not_before: datetime | None
    reason: str
    refused_generation: int | None
    refused_time: datetime | None
    read_time: datetime

    @property
    def holds_back(self) -> bool:
        """Whether no request may be sent yet."""
        return self.not_before is not None and self.not_before > self.read_time


async def read_upkeep(connection: Connection, tenant: str, grant_id: uuid.UUID) -> Upkeep | None:
    """The row of one grant, or None before its first refresh."""
    row: rows.Row | None = await connection.fetchrow(_READ, tenant, grant_id)
    if row is None:
        return None
    return Upkeep(**{name: row[name] for name in Upkeep.__dataclass_fields__})


async def note_refreshed(connection: Connection, grant: Grant) -> None:
    """New tokens are in the row: nothing holds the next request back."""
    await connection.execute(_REFRESHED, grant.tenant, grant.grant_id)


async def note_failed(
    connection: Connection, tenant: str, grant_id: uuid.UUID, generation: int, ending: Ending
) -> None:
    """No new tokens, and when to ask again."""
    await connection.execute(
        _FAILED,
        tenant,
        grant_id,
        timedelta(seconds=ending.pause_s),
        ending.reason,
        ending.refused,
        generation,
        ending.doubles,
        _PAUSE_MAX,
    )
