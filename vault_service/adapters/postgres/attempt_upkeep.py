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


class PostgresAttemptSweeper:
    """Over all tenants. STORE_UNREACHABLE."""

    def __init__(self, worker: Database) -> None:
        self._worker = worker

    async def delete_old(self, limit: int) -> int:
        """Ended ones without an answer that is missed somewhere; how many went."""
        keep = timedelta(seconds=limits.ATTEMPT_KEEP_S)
        return len(await self._worker.call(_DELETE, keep, limit))
