"""Old refresh attempts, as the worker's role forgets them: the record has their story."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits

_DELETE: Final = """
    DELETE FROM refresh_attempts WHERE attempt_id IN (
        SELECT attempt_id FROM refresh_attempts
        WHERE state NOT IN (1, 5) AND orphan_envelope IS NULL
            AND update_time < clock_timestamp() - $1::interval
        ORDER BY update_time LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING true
"""
_COUNT: Final = """
    SELECT count(*) AS unresolved,
        coalesce(extract(epoch FROM clock_timestamp() - min(create_time)), 0) AS oldest_s
    FROM refresh_attempts WHERE state IN (1, 5)
"""


class PostgresAttemptSweeper:
    """Over all tenants. STORE_UNREACHABLE."""

    def __init__(self, worker: Database) -> None:
        self._worker = worker

    async def delete_old(self, limit: int) -> int:
        """Ended ones without an answer that is missed somewhere; how many went."""
        keep = timedelta(seconds=limits.ATTEMPT_KEEP_S)
        return len(await self._worker.call(_DELETE, keep, limit))

    async def unresolved(self) -> tuple[int, float]:
        """How many attempts are under way or in doubt, and the age of the oldest in seconds."""
        (row,) = await self._worker.call(_COUNT)
        return row["unresolved"], float(row["oldest_s"])
