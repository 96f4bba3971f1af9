"""Answers that are kept with their attempts, and attempts that wait for something.

A 2xx that cannot be read may hold the only successor. It stays in the attempt's row, sealed, and
is read again once for each revision of the provider and each reader (``domain.attempt.READER``).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import pages
from vault_service.adapters.postgres.attempt_rows import ATTEMPT, DUE_ANEW, attempt_from
from vault_service.adapters.postgres.audit import insert_record, is_recorded
from vault_service.adapters.postgres.grant_bell import ring
from vault_service.adapters.postgres.leases import end_lease, holds_lease
from vault_service.domain import limits
from vault_service.domain.attempt import MAY_KEEP_AN_ANSWER, READER, RefreshAttempt
from vault_service.domain.audit import AuditRecord
from vault_service.domain.grant import Grant, Lease, SealedTokens

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection, Database

WAITING: Final = """
    SELECT attempt_id FROM refresh_attempts
    WHERE (orphan_envelope IS NOT NULL OR waits_for <> 0) AND attempt_id > $1
    ORDER BY attempt_id LIMIT $2
"""
DUE_OF: Final = f"""
    SELECT {ATTEMPT.format(wait="$1")} FROM refresh_attempts a
    LEFT JOIN grant_leases l ON l.grant_id = a.grant_id
    WHERE a.attempt_id = ANY ($2::uuid[])
        AND (l.lease_until IS NULL OR l.lease_until < clock_timestamp()) AND {DUE_ANEW}
    ORDER BY a.attempt_id LIMIT $3
"""  # noqa: S608
_KEEP: Final = """
    UPDATE refresh_attempts SET
        orphan_envelope = $3, next_try_time = clock_timestamp(), read_revision = $4, read_by = $5
    WHERE tenant = $1 AND attempt_id = $2 AND state = ANY ($6::smallint[])
    RETURNING true
"""
_MAY_KEEP: Final = [state.value for state in MAY_KEEP_AN_ANSWER]
# Answers of attempts that have ended, which a newer one of the same grant makes worthless.
_SUPERSEDE: Final = """
    UPDATE refresh_attempts SET orphan_envelope = NULL
    WHERE tenant = $1 AND grant_id = $2 AND attempt_id <> $3 AND state = 7
        AND orphan_envelope IS NOT NULL
"""
_READ: Final = """
    UPDATE refresh_attempts SET read_revision = $3, read_by = $4
    WHERE tenant = $1 AND attempt_id = $2
"""
_FORGET: Final = """
    UPDATE refresh_attempts SET orphan_envelope = NULL WHERE tenant = $1 AND attempt_id = $2
"""
_IN_QUESTION: Final = """
    SELECT EXISTS (
        SELECT FROM grant_upkeep WHERE tenant = $1 AND grant_id = $2 AND refused_generation = $3
    ) OR EXISTS (
        SELECT FROM refresh_attempts
        WHERE tenant = $1 AND grant_id = $2 AND base_generation = $3 AND state IN (1, 5)
            AND refresh_class IN (3, 4)
    )
"""
# A row that a consent moved on, and that has no newer refresh token than the one presented.
_TAKE_UP: Final = """
    UPDATE grants SET
        refresh_envelope = $3, refresh_generation = $4, revision = revision + 1,
        update_time = clock_timestamp()
    WHERE tenant = $1 AND grant_id = $2 AND state = 1 AND generation > $5
        AND refresh_generation <= $5 AND NOT EXISTS (
            SELECT FROM refresh_attempts
            WHERE tenant = $1 AND attempt_id = $6 AND state IN (2, 6))
    RETURNING true
"""
_IS_KEPT: Final = """
    SELECT orphan_envelope IS NOT NULL FROM refresh_attempts
    WHERE tenant = $1 AND attempt_id = $2 FOR NO KEY UPDATE
"""


async def supersede(connection: Connection, attempt: RefreshAttempt) -> None:
    """A newer answer of the grant is here than those of its attempts before."""
    await connection.execute(_SUPERSEDE, attempt.tenant, attempt.grant_id, attempt.attempt_id)


async def is_kept(connection: Connection, attempt: RefreshAttempt) -> bool:
    """Whether its answer is kept; the row stays locked until commit."""
    return await connection.fetchval(_IS_KEPT, attempt.tenant, attempt.attempt_id) is True


async def in_question(
    connection: Connection, tenant: str, grant_id: uuid.UUID, generation: int
) -> bool:
    """See ports.AttemptStore.is_in_question."""
    return await connection.fetchval(_IN_QUESTION, tenant, grant_id, generation) is True


class PostgresKeptAnswers:
    """The part of ports.AttemptStore that keeps answers."""

    def __init__(self, database: Database, worker: Database, wait: timedelta) -> None:
        self._database = database
        self._worker = worker
        self._wait = wait
        self._looked_to = pages.FIRST_UUID

    async def keep_orphan(
        self, attempt: RefreshAttempt, envelope: bytes, record: AuditRecord, revision: int = 0
    ) -> bool:
        """See ports.AttemptStore."""
        reader = READER if revision else 0
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            if await is_recorded(connection, record):
                return True
            key = (attempt.tenant, attempt.attempt_id)
            how = (envelope, revision, reader, _MAY_KEEP)
            if not await connection.fetchval(_KEEP, *key, *how):
                return False
            await supersede(connection, attempt)
            await ring(connection, attempt.grant_id)
            await insert_record(connection, record)
        return True

    async def read_in_vain(self, lease: Lease, attempt: RefreshAttempt, revision: int) -> None:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            if await end_lease(connection, attempt.tenant, lease):
                await connection.execute(
                    _READ, attempt.tenant, attempt.attempt_id, revision, READER
                )
                await ring(connection, attempt.grant_id)

    async def forget_answer(
        self, lease: Lease, attempt: RefreshAttempt, record: AuditRecord
    ) -> bool:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            if not await holds_lease(connection, attempt.tenant, lease):
                return False
            await connection.execute(_FORGET, attempt.tenant, attempt.attempt_id)
            await insert_record(connection, record)
        return True

    async def is_in_question(self, grant: Grant) -> bool:
        """See ports.AttemptStore."""
        key = (grant.tenant, grant.grant_id, grant.generation)
        async with self._database.tenant_transaction(grant.tenant) as connection:
            return await in_question(connection, *key)

    async def take_up(
        self, attempt: RefreshAttempt, tokens: SealedTokens, record: AuditRecord
    ) -> bool:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            if await is_recorded(connection, record):
                return True
            taken = await connection.fetchval(
                _TAKE_UP, attempt.tenant, attempt.grant_id, tokens.refresh_envelope,
                tokens.generation, attempt.base_generation, attempt.attempt_id,
            )  # fmt: skip
            if taken:
                await ring(connection, attempt.grant_id)
                await insert_record(connection, record)
        return taken is True

    async def due_anew(self, limit: int) -> Sequence[RefreshAttempt]:
        """See ports.AttemptStore."""
        window = limits.WAITING_LOOK_MAX
        waiting = [row[0] for row in await self._worker.call(WAITING, self._looked_to, window)]
        due = []
        if waiting:
            found = await self._worker.call(DUE_OF, self._wait, waiting, limit)
            due = [attempt_from(row) for row in found]
        if len(due) == limit:
            self._looked_to = due[-1].attempt_id  # what did not fit is first in the next look
        else:
            self._looked_to = waiting[-1] if len(waiting) == window else pages.FIRST_UUID
        return due
