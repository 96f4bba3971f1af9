"""The tables refresh_attempts and grant_leases: who may refresh a grant, and what became of it.

Order of locks in every transaction: grant, lease, attempt. What changes a row checks first and
writes then, in statements of their own: each sees what the locks before it waited for.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.attempt_rows import (
    ATTEMPT,
    DUE,
    FIND,
    HASTEN,
    OPEN,
    attempt_from,
    is_strict,
    put_off,
    to_state,
)
from vault_service.adapters.postgres.audit import insert_record, is_recorded
from vault_service.adapters.postgres.events import insert_event
from vault_service.adapters.postgres.grant_bell import ring
from vault_service.adapters.postgres.hindrances import held, hindrance, moved
from vault_service.adapters.postgres.kept_answers import (
    PostgresKeptAnswers,
    is_kept,
    supersede,
)
from vault_service.adapters.postgres.leases import (
    acquire_lease,
    end_lease,
    holds_lease,
    leased_s,
    renew_lease,
)
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.upkeep import note_failed, note_refreshed
from vault_service.domain import limits
from vault_service.domain.attempt import (
    NO_SPOOL,
    RESOLVED,
    AttemptState,
    Beginning,
    Begun,
    Busy,
    Deferred,
    RefreshAttempt,
    Unresolved,
    resolvable,
)
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import Reason
from vault_service.domain.event import EventKind
from vault_service.domain.grant import (
    Grant,
    GrantState,
    Lease,
    ReauthorizationCause,
    SealedTokens,
)
from vault_service.domain.names import ProviderName
from vault_service.ports.refresh import Ending, NewAttempt
from vault_service.telemetry.meters import AttemptMeter
from vault_service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_BEGIN: Final = f"""
    INSERT INTO refresh_attempts AS a (
        attempt_id, tenant, grant_id, base_generation, refresh_class, grace_s, instance, spool_id,
        state, create_time, next_try_time)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9::timestamptz, $9::timestamptz + $10::interval)
    RETURNING {ATTEMPT.format(wait="$11")}
"""  # noqa: S608
_RETRY: Final = """
    UPDATE refresh_attempts SET
        state = 1, instance = $3, spool_id = $4, earlier_spools = $5, retries = retries + 1,
        until_it_answers = false, waits_for = 0, update_time = clock_timestamp()
    WHERE tenant = $1 AND attempt_id = $2
"""
_OVERDUE: Final = """
    UPDATE refresh_attempts SET
        state = 5, reason = $3, update_time = clock_timestamp(), next_try_time = clock_timestamp()
    WHERE tenant = $1 AND attempt_id = $2 AND state IN (1, 5)
"""
_LOCK_GRANT: Final = f"""
    SELECT {rows.GRANT} FROM grants WHERE tenant = $1 AND grant_id = $2 FOR NO KEY UPDATE
"""  # noqa: S608
_REFRESH: Final = f"""
    UPDATE grants SET
        state = 1, cause = NULL, generation = $3, access_envelope = $4, access_generation = $3,
        access_expire_time = $5, access_life_s = $6,
        refresh_envelope = coalesce($7, refresh_envelope),
        refresh_generation = CASE WHEN $7 IS NULL THEN refresh_generation ELSE $3 END,
        scopes = $8, token_type = $9,
        unrenewed_time = CASE WHEN $10 THEN clock_timestamp() END,
        revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND grant_id = $2
    RETURNING {rows.GRANT}
"""  # noqa: S608
_CONDEMN: Final = f"""
    UPDATE grants SET
        state = $3, cause = $4, revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND grant_id = $2
    RETURNING {rows.GRANT}
"""  # noqa: S608
_REFUSED: Final = """
    SELECT refused_time FROM grant_upkeep
    WHERE tenant = $1 AND grant_id = $2 AND refused_generation = $3
"""
_CONDEMNED: Final = Reason.REAUTHORIZATION_REQUIRED.name
_FIRST_PAUSE: Final = timedelta(seconds=limits.IN_DOUBT_RETRY_S)


class PostgresAttemptStore(PostgresKeptAnswers):
    """ports.AttemptStore over two roles: the one of requests, and the worker's for ``unresolved``
    and ``abandon_spool``. ``spool_wait_s``: how long class S waits for a spool that is away."""

    def __init__(
        self,
        database: Database,
        worker: Database,
        spool_wait_s: float,
        meter: AttemptMeter | None = None,
    ) -> None:
        super().__init__(database, worker, timedelta(seconds=spool_wait_s))
        self._meter = meter or AttemptMeter(Metrics())
        self._instance = database.settings.application_name

    async def begin(
        self,
        grant: Grant,
        new: NewAttempt,
        lease_s: float,
        spools: Sequence[uuid.UUID],
        record: AuditRecord,
    ) -> Beginning:
        """See ports.AttemptStore."""
        tenant, grant_id = grant.tenant, grant.grant_id
        async with self._database.tenant_transaction(tenant) as connection:
            lease = await acquire_lease(connection, tenant, grant_id, self._instance, lease_s)
            earlier = await self._open(connection, grant)
            if lease is None:
                return await moved(connection, grant) or await held(connection, grant, earlier)
            if earlier is not None and _may_resolve(earlier, spools):
                return Unresolved(lease, earlier)
            hindered = await hindrance(connection, grant, earlier)
            if hindered is not None:
                await end_lease(connection, tenant, lease)
                return hindered
            written = await connection.fetchrow(
                _BEGIN, new.attempt_id, tenant, grant_id, grant.generation,
                new.refresh_class.value, new.grace_s, self._instance, new.spool_id,
                lease.acquire_time, timedelta(seconds=lease_s), self._wait,
            )  # fmt: skip
            await insert_record(connection, record)
        assert written is not None, "RETURNING of one inserted row"
        return Begun(lease, attempt_from(written))

    async def take_over(
        self, attempt: RefreshAttempt, lease_s: float, spools: Sequence[uuid.UUID]
    ) -> tuple[Lease, RefreshAttempt] | None:
        """See ports.AttemptStore."""
        tenant, grant_id = attempt.tenant, attempt.grant_id
        async with self._database.tenant_transaction(tenant) as connection:
            lease = await acquire_lease(connection, tenant, grant_id, self._instance, lease_s)
            if lease is None:
                return None
            row = await connection.fetchrow(FIND, tenant, attempt.attempt_id, self._wait)
            current = None if row is None else attempt_from(row)
            if current is None or not _may_resolve(current, spools):
                await end_lease(connection, tenant, lease)
                return None
        return lease, current

    async def take_ordered(
        self, attempt: RefreshAttempt, lease_s: float
    ) -> tuple[Lease, RefreshAttempt] | None:
        """See ports.AttemptStore."""
        tenant, grant_id = attempt.tenant, attempt.grant_id
        async with self._database.tenant_transaction(tenant) as connection:
            lease = await acquire_lease(connection, tenant, grant_id, self._instance, lease_s)
            if lease is None:
                return None
            row = await connection.fetchrow(FIND, tenant, attempt.attempt_id, self._wait)
            if row is None:
                await end_lease(connection, tenant, lease)
                return None
        return lease, attempt_from(row)

    async def holder(self, grant: Grant) -> Deferred | Busy | None:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(grant.tenant) as connection:
            if await leased_s(connection, grant.tenant, grant.grant_id) is None:
                return None
            return await held(connection, grant, await self._open(connection, grant))

    async def _open(self, connection: Connection, grant: Grant) -> RefreshAttempt | None:
        row = await connection.fetchrow(OPEN, grant.tenant, grant.grant_id, self._wait)
        return None if row is None else attempt_from(row)

    async def renew(self, lease: Lease, attempt: RefreshAttempt, lease_s: float) -> bool:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            if not await renew_lease(connection, attempt.tenant, lease, lease_s):
                return False
            doubt = Reason.REFRESH_IN_DOUBT.name
            await connection.execute(_OVERDUE, attempt.tenant, attempt.attempt_id, doubt)
            await ring(connection, attempt.grant_id)
        return True

    async def put_off(self, lease: Lease, attempt: RefreshAttempt, pause_s: float) -> None:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            if await end_lease(connection, attempt.tenant, lease):
                await put_off(connection, attempt, pause_s)
                await ring(connection, attempt.grant_id)

    async def release(self, lease: Lease, tenant: str) -> None:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(tenant) as connection:
            await end_lease(connection, tenant, lease)
            await ring(connection, lease.grant_id)

    async def retry(
        self,
        lease: Lease,
        attempt: RefreshAttempt,
        spools: Sequence[uuid.UUID],
        record: AuditRecord,
    ) -> bool:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            if not await holds_lease(connection, attempt.tenant, lease):
                return False
            elsewhere = [spool for spool in attempt.awaited if spool not in spools]
            key = (attempt.tenant, attempt.attempt_id)
            await connection.execute(_RETRY, *key, self._instance, spools[0], elsewhere)
            await insert_record(connection, record)
        return True

    async def commit(
        self,
        lease: Lease,
        attempt: RefreshAttempt,
        grant: Grant,
        tokens: SealedTokens,
        state: AttemptState,
        record: AuditRecord,
    ) -> bool:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(grant.tenant) as connection:
            before = await _may_change(connection, lease, attempt)
            if before is None:
                done = await is_recorded(connection, record)
                return self._counted(done, lease, attempt, state, "")
            row = await connection.fetchrow(
                _REFRESH, grant.tenant, grant.grant_id, tokens.generation,
                tokens.access_envelope, tokens.access_expire_time, tokens.access_life_s,
                tokens.refresh_envelope, tokens.scopes, tokens.token_type,
                tokens.unrenewed,
            )  # fmt: skip
            await to_state(connection, attempt, Ending(state, ""))
            await supersede(connection, attempt)
            await ring(connection, attempt.grant_id)
            await note_refreshed(connection, grant, tokens)
            await insert_record(connection, record)
            # A refresh is no event; that it returned the grant to ACTIVE is one.
            if row is not None and before.state is not GrantState.ACTIVE:
                recovered = rows.grant_from(row)
                await insert_event(connection, record.record_id, recovered, EventKind.RECOVERED)
        return self._counted(True, lease, attempt, state, "")

    async def end(
        self, lease: Lease, attempt: RefreshAttempt, ending: Ending, record: AuditRecord
    ) -> bool:
        """See ports.AttemptStore."""
        in_doubt = ending.state is AttemptState.IN_DOUBT
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            # The provider may still be at work on it: where a second request would do harm, the
            # lease runs out by itself.
            waits = in_doubt and not ending.waits_for and await is_strict(connection, attempt)
            hold = holds_lease if waits else end_lease
            if not await hold(connection, attempt.tenant, lease):
                done = await is_recorded(connection, record)
                return self._counted(done, lease, attempt, ending.state, ending.reason)
            await to_state(connection, attempt, ending)
            await ring(connection, attempt.grant_id)
            await note_failed(
                connection, attempt.tenant, attempt.grant_id, attempt.base_generation, ending
            )
            await insert_record(connection, record)
        return self._counted(True, lease, attempt, ending.state, ending.reason)

    async def condemn(
        self,
        lease: Lease,
        attempt: RefreshAttempt,
        cause: ReauthorizationCause,
        state: AttemptState,
        record: AuditRecord,
    ) -> bool:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(attempt.tenant) as connection:
            if await _may_change(connection, lease, attempt) is None:
                done = await is_recorded(connection, record)
                return self._counted(done, lease, attempt, state, _CONDEMNED)
            by_operator = cause is ReauthorizationCause.BY_OPERATOR
            if not by_operator and await is_kept(connection, attempt):
                return False
            condemned = GrantState.REAUTHORIZATION_REQUIRED.value
            row = await connection.fetchrow(
                _CONDEMN, attempt.tenant, attempt.grant_id, condemned, cause.value
            )
            await to_state(connection, attempt, Ending(state, cause.name))
            await ring(connection, attempt.grant_id)
            await insert_record(connection, record)
            assert row is not None, "its row is locked"
            grant, kind = rows.grant_from(row), EventKind.REAUTHORIZATION_REQUIRED
            await insert_event(connection, record.record_id, grant, kind)
        return self._counted(True, lease, attempt, state, _CONDEMNED)

    async def unresolved(self, spools: Sequence[uuid.UUID], limit: int) -> Sequence[RefreshAttempt]:
        """See ports.AttemptStore."""
        held = [NO_SPOOL, *spools]
        found = await self._worker.call(DUE, self._wait, held, limit)
        return [attempt_from(row) for row in found]

    async def hasten(self, providers: Collection[ProviderName], limit: int) -> int:
        """See ports.AttemptStore."""
        tenants = [name.tenant for name in providers]
        ids = [name.provider for name in providers]
        return len(await self._worker.call(HASTEN, tenants, ids, _FIRST_PAUSE, limit))

    async def find(self, tenant: str, attempt_id: uuid.UUID) -> RefreshAttempt | None:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(tenant) as connection:
            row = await connection.fetchrow(FIND, tenant, attempt_id, self._wait)
        return attempt_from(row) if row else None

    async def refused_since(self, grant: Grant) -> datetime | None:
        """See ports.AttemptStore."""
        async with self._database.tenant_transaction(grant.tenant) as connection:
            refused = await connection.fetchval(
                _REFUSED, grant.tenant, grant.grant_id, grant.generation
            )
        return refused if isinstance(refused, datetime) else None

    def _counted(
        self, done: bool, lease: Lease, attempt: RefreshAttempt, state: AttemptState, reason: str
    ) -> bool:
        if done:
            self._meter.ended(state.name, reason)
        if done and state in RESOLVED:
            # From one lease to the other, on the database's clock.
            self._meter.resolved((lease.acquire_time - attempt.create_time).total_seconds())
        return done


def _may_resolve(attempt: RefreshAttempt, spools: Sequence[uuid.UUID]) -> bool:
    due = attempt.due_anew or attempt.next_try_time <= attempt.read_time
    return due and resolvable(attempt, spools)


async def _may_change(
    connection: Connection, lease: Lease, attempt: RefreshAttempt
) -> Grant | None:
    """Lock the grant and end the lease; the row, if both are still what the attempt began with.

    The grant comes first, as in a revocation.
    """
    row = await connection.fetchrow(_LOCK_GRANT, attempt.tenant, attempt.grant_id)
    current = rows.grant_from(row) if row else None
    if current is None or not attempt.may_change(current):
        return None
    return current if await end_lease(connection, attempt.tenant, lease) else None
