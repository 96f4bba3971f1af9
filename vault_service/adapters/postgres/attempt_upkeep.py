"""Old refresh attempts, as the worker's role forgets them: the record has their story."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits
from vault_service.domain.attempt_backlog import AttemptBacklog, DoubtCause

_DELETE: Final = """
    DELETE FROM refresh_attempts WHERE attempt_id IN (
        SELECT attempt_id FROM refresh_attempts
        WHERE state NOT IN (1, 5) AND orphan_envelope IS NULL
            AND update_time < clock_timestamp() - $1::interval
        ORDER BY update_time LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING true
"""
# INTENT under a lease is under way; without one its process has ended. The names are DoubtCause's.
_COUNT: Final = """
    SELECT CASE
            WHEN a.waits_for = 1 THEN 'PROFILE'
            WHEN a.waits_for = 2 THEN 'OPERATOR'
            WHEN a.state = 5 AND a.until_it_answers THEN 'PROVIDER_FAILS'
            WHEN a.state = 5 THEN 'NO_ANSWER'
            WHEN EXISTS (SELECT FROM grant_leases l WHERE l.grant_id = a.grant_id
                AND l.lease_until >= clock_timestamp() OFFSET 0) THEN NULL
            ELSE 'PROCESS_ENDED' END AS cause,
        count(*) AS attempts,
        max(extract(epoch FROM clock_timestamp() - a.create_time))::double precision AS oldest_s
    FROM refresh_attempts a WHERE a.state IN (1, 5) GROUP BY cause
"""


class PostgresAttemptSweeper:
    """Over all tenants. STORE_UNREACHABLE."""

    def __init__(self, worker: Database) -> None:
        self._worker = worker

    async def delete_old(self, limit: int) -> int:
        """Ended ones without an answer that is missed somewhere; how many went."""
        keep = timedelta(seconds=limits.ATTEMPT_KEEP_S)
        return len(await self._worker.call(_DELETE, keep, limit))

    async def unresolved(self) -> AttemptBacklog:
        """How many attempts have no outcome, and why."""
        found = await self._worker.call(_COUNT)
        in_doubt = {DoubtCause[row["cause"]]: row["attempts"] for row in found if row["cause"]}
        return AttemptBacklog(
            sum(row["attempts"] for row in found),
            max((row["oldest_s"] for row in found), default=0.0),
            in_doubt,
        )
