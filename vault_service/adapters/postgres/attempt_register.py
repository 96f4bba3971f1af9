"""Refresh attempts, as operators list them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Final

from vault_service.adapters.postgres import pages, rows
from vault_service.adapters.postgres.attempt_rows import ATTEMPT, attempt_from
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.attempt import AttemptFilter
from vault_service.ports import Page
from vault_service.ports.attempts import ListedAttempt

_FROM: Final = """
    FROM refresh_attempts a JOIN grants g ON g.tenant = a.tenant AND g.grant_id = a.grant_id
"""
_SELECT: Final = f"SELECT {ATTEMPT.format(wait='$2')}, g.provider, a.reason, a.update_time {_FROM}"
_GET: Final = f"{_SELECT} WHERE a.tenant = $1 AND a.attempt_id = $3"
# What is INTENT under a lease is under way, and no doubt of anybody's.
_WHICH: Final = {
    AttemptFilter.IN_DOUBT: """AND (a.state = 5 OR (a.state = 1 AND NOT EXISTS (
        SELECT FROM grant_leases l WHERE l.tenant = a.tenant AND l.grant_id = a.grant_id
            AND l.lease_until >= clock_timestamp())))""",
    AttemptFilter.WAITING: "AND (a.waits_for <> 0 OR a.orphan_envelope IS NOT NULL)",
    AttemptFilter.ALL: "",
}
assert _WHICH.keys() == set(AttemptFilter), "every filter has its condition"


class PostgresAttemptRegister:
    """ports.attempts.AttemptRegister."""

    def __init__(self, database: Database, spool_wait_s: float) -> None:
        self._database = database
        self._wait = timedelta(seconds=spool_wait_s)

    async def list(
        self, tenant: str, which: AttemptFilter, provider: str, page_size: int, page_token: str
    ) -> Page[ListedAttempt]:
        """See the port."""
        after = pages.uuid_key(page_token, pages.FIRST_UUID)
        statement = (
            f"{_SELECT} WHERE a.tenant = $1 AND a.attempt_id > $3"
            f" AND ($4 = '' OR g.provider = $4) {_WHICH[which]}"
            " ORDER BY a.attempt_id LIMIT $5"
        )
        async with self._database.tenant_transaction(tenant) as connection:
            found = await connection.fetch(
                statement, tenant, self._wait, after, provider, pages.rows_wanted(page_size)
            )
        listed = [_listed_from(row) for row in found]
        return pages.page_of(listed, page_size, lambda one: one.attempt.attempt_id.bytes)

    async def get(self, tenant: str, attempt_id: uuid.UUID) -> ListedAttempt | None:
        """See the port."""
        async with self._database.tenant_transaction(tenant) as connection:
            row = await connection.fetchrow(_GET, tenant, self._wait, attempt_id)
        return _listed_from(row) if row else None


def _listed_from(row: rows.Row) -> ListedAttempt:
    return ListedAttempt(attempt_from(row), row["provider"], row["reason"], row["update_time"])
