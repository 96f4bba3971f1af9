"""Answers that are kept with their attempts, and attempts that wait for something.

A 2xx that cannot be read may hold the only successor. It stays in the attempt's row, sealed, and
is read again once for each revision of the provider and each reader (``domain.attempt.READER``).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.audit import insert_record, is_recorded
from vault_service.adapters.postgres.leases import end_lease, holds_lease
from vault_service.domain import limits
from vault_service.domain.attempt import READER, AttemptState, RefreshAttempt, WaitsFor
from vault_service.domain.audit import AuditRecord
from vault_service.domain.grant import GrantState, Lease
from vault_service.domain.provider import RefreshClass
from vault_service.ports.refresh import Ending

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection, Database

# While another attempt of the grant is unresolved, that one goes first: its answer is the newer.
_DUE_ANEW: Final = f"""
    (a.orphan_envelope IS NOT NULL OR a.waits_for <> 0)
    AND (a.state IN (1, 5) OR NOT EXISTS (
        SELECT FROM refresh_attempts o WHERE o.grant_id = a.grant_id AND o.state IN (1, 5)))
    AND EXISTS (
        SELECT FROM grants g JOIN providers p ON p.tenant = g.tenant AND p.provider = g.provider
        WHERE g.tenant = a.tenant AND g.grant_id = a.grant_id
            AND (a.read_by <> {READER} OR a.read_revision <> p.revision
                OR g.generation <> a.base_generation OR g.state = {GrantState.REVOKED.value}))
"""  # noqa: S608
ATTEMPT: Final = f"""
    a.attempt_id, a.tenant, a.grant_id, a.base_generation, a.refresh_class, a.grace_s, a.instance,
    a.spool_id, a.state, a.retries, a.orphan_envelope, a.create_time, a.next_try_time,
    a.waits_for, ({_DUE_ANEW}) AS due_anew, clock_timestamp() AS read_time,
    (a.update_time + {{wait}}::interval < clock_timestamp()
        OR EXISTS (SELECT FROM abandoned_spools s WHERE s.spool_id = a.spool_id)) AS spool_gone
"""
_DUE: Final = f"""
    SELECT {ATTEMPT.format(wait="$1")} FROM refresh_attempts a
    LEFT JOIN grant_leases l ON l.grant_id = a.grant_id
    WHERE (l.lease_until IS NULL OR l.lease_until < clock_timestamp()) AND {_DUE_ANEW}
    ORDER BY a.next_try_time LIMIT $2
"""  # noqa: S608
_TO_STATE: Final = """
    UPDATE refresh_attempts SET
        state = $3::smallint, reason = $4, update_time = clock_timestamp(),
        spool_id = CASE WHEN $3::smallint = 5 THEN $6::uuid ELSE spool_id END,
        -- In doubt, unchanged or lost: the answer that is kept may yet be what is missing.
        orphan_envelope = CASE WHEN $3::smallint IN (5, 7, 8) THEN orphan_envelope END,
        next_try_time = clock_timestamp() + $5::interval, waits_for = $7::smallint,
        read_revision = CASE WHEN $7::smallint = 0 THEN read_revision ELSE $8::bigint END,
        read_by = CASE WHEN $7::smallint = 0 THEN read_by ELSE $9::integer END
    WHERE tenant = $1 AND attempt_id = $2
"""
_KEEP: Final = """
    UPDATE refresh_attempts SET
        orphan_envelope = $3, next_try_time = clock_timestamp(), read_revision = $4, read_by = $5
    WHERE tenant = $1 AND attempt_id = $2
"""
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
_IS_KEPT: Final = """
    SELECT orphan_envelope IS NOT NULL FROM refresh_attempts
    WHERE tenant = $1 AND attempt_id = $2 FOR NO KEY UPDATE
"""
_UNTIL_TOLD: Final = timedelta(seconds=limits.WAIT_UNTIL_TOLD_S)


def attempt_from(row: rows.Row) -> RefreshAttempt:
    """The attempt of one row with the columns of ATTEMPT."""
    facts = {name: row[name] for name in RefreshAttempt.__dataclass_fields__}
    facts["refresh_class"] = RefreshClass(row["refresh_class"])
    facts["state"] = AttemptState(row["state"])
    facts["waits_for"] = WaitsFor(row["waits_for"]) if row["waits_for"] else None
    return RefreshAttempt(**facts)


async def to_state(
    connection: Connection, attempt: RefreshAttempt, ending: Ending, no_spool: uuid.UUID
) -> None:
    """The attempt as it ends, with what it waits for."""
    in_doubt = ending.state is AttemptState.IN_DOUBT
    waits_for = ending.waits_for.value if in_doubt and ending.waits_for else 0
    pause = timedelta(seconds=ending.pause_s if in_doubt else 0)
    if waits_for and not pause:
        pause = _UNTIL_TOLD
    key = (attempt.tenant, attempt.attempt_id)
    await connection.execute(
        _TO_STATE, *key, ending.state.value, ending.reason, pause, no_spool, waits_for,
        ending.revision, READER,
    )  # fmt: skip


async def supersede(connection: Connection, attempt: RefreshAttempt) -> None:
    """A newer answer of the grant is here than those of its attempts before."""
    await connection.execute(_SUPERSEDE, attempt.tenant, attempt.grant_id, attempt.attempt_id)


async def is_kept(connection: Connection, attempt: RefreshAttempt) -> bool:
    """Whether its answer is kept; the row stays locked until commit."""
    return await connection.fetchval(_IS_KEPT, attempt.tenant, attempt.attempt_id) is True


class PostgresKeptAnswers:
    """The part of ports.AttemptStore that keeps answers."""

    def __init__(self, database: Database, worker: Database, wait: timedelta) -> None:
        self._database = database
        self._worker = worker
        self._wait = wait

    async def keep_orphan(
        self, attempt: RefreshAttempt, envelope: bytes, record: AuditRecord, revision: int = 0
    ) -> None:
        """See ports.AttemptStore."""
        reader = READER if revision else 0
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            if await is_recorded(connection, record):
                return
            key = (attempt.tenant, attempt.attempt_id)
            await connection.execute(_KEEP, *key, envelope, revision, reader)
            await supersede(connection, attempt)
            await insert_record(connection, record)

    async def read_in_vain(self, lease: Lease, attempt: RefreshAttempt, revision: int) -> None:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            if await end_lease(connection, attempt.tenant, lease):
                await connection.execute(
                    _READ, attempt.tenant, attempt.attempt_id, revision, READER
                )

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

    async def due_anew(self, limit: int) -> Sequence[RefreshAttempt]:
        """See ports.AttemptStore."""
        return [attempt_from(row) for row in await self._worker.call(_DUE, self._wait, limit)]
