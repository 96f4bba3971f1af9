"""The due index of grant_upkeep, and the table refresh_plans.

What a tick costs depends on what is due. The worker role finds and marks; what goes on record is
written as the role of requests, inside the grant's own tenant. Statements that lock many rows do
so in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.events import insert_event
from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.event import EventKind
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.names import OAuthClientName
from vault_service.domain.pacing import Plan, Slots, share_out
from vault_service.domain.schedule import Backlog, DueGrant, UsedGrant
from vault_service.ports import Ask, Look

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

# An array of ids and not a join: the planner then looks each of them up, whatever it believes of
# how many are due.
TAKE: Final = """
    WITH taken AS (
        UPDATE grant_upkeep SET due_time = now() + $2::interval
        WHERE grant_id = ANY (ARRAY(
            SELECT d.grant_id FROM grant_upkeep d WHERE d.due_time <= now()
            ORDER BY d.due_time LIMIT $1 FOR UPDATE SKIP LOCKED))
        RETURNING *)
    SELECT t.tenant, t.grant_id, g.oauth_client, g.state, g.generation,
        g.refresh_envelope IS NOT NULL AS has_refresh_token, g.access_expire_time,
        g.access_life_s, coalesce(t.refresh_time, g.update_time) AS refresh_time,
        t.last_used_time, t.not_before, t.failures, t.warned_generation, t.planned,
        c.suspend_time IS NOT NULL AS suspended,
        coalesce((p.profile->>'max_idle_s')::integer, 0) AS max_idle_s,
        coalesce((p.profile->>'rate_per_s')::integer, 0) AS rate_per_s,
        coalesce((p.profile->>'rate_per_min')::integer, 0) AS rate_per_min,
        coalesce((p.profile->>'refresh_kills_old_access_token')::boolean, false)
            AS kills_old_token,
        t.due_time AS leased_until, clock_timestamp() AS read_time
    FROM taken t
    JOIN grants g ON g.tenant = t.tenant AND g.grant_id = t.grant_id
    JOIN oauth_clients c ON c.tenant = g.tenant AND c.oauth_client = g.oauth_client
    JOIN providers p ON p.tenant = g.tenant AND p.provider = g.provider
    ORDER BY g.access_expire_time, t.grant_id
"""
_ADD_PLANS: Final = """
    INSERT INTO refresh_plans (tenant, oauth_client) SELECT * FROM unnest($1::text[], $2::text[])
    ON CONFLICT DO NOTHING
"""
_LOCK_PLANS: Final = """
    SELECT tenant, oauth_client, run_until, planned_until, clock_timestamp() AS now
    FROM refresh_plans
    WHERE (tenant, oauth_client) IN (SELECT * FROM unnest($1::text[], $2::text[]))
    ORDER BY tenant, oauth_client FOR NO KEY UPDATE
"""
_WRITE_PLANS: Final = """
    UPDATE refresh_plans p SET run_until = n.run_until, planned_until = n.planned_until
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[])
        AS n (tenant, oauth_client, run_until, planned_until)
    WHERE p.tenant = n.tenant AND p.oauth_client = n.oauth_client
"""
PUT_OFF: Final = """
    WITH looks AS (
        SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::boolean[])
            AS l (grant_id, leased_until, look_time, planned)),
    held AS MATERIALIZED (
        SELECT grant_id FROM grant_upkeep WHERE grant_id = ANY ($1::uuid[])
        ORDER BY grant_id FOR NO KEY UPDATE)
    UPDATE grant_upkeep u SET due_time = l.look_time, planned = l.planned
    FROM held h JOIN looks l ON l.grant_id = h.grant_id
    WHERE u.grant_id = h.grant_id AND u.due_time = l.leased_until
"""
NOTE_USED: Final = """
    WITH used AS (
        SELECT grant_id, now() - age AS used_time
        FROM unnest($1::text[], $2::uuid[], $3::interval[]) AS a (tenant, grant_id, age)),
    held AS MATERIALIZED (
        SELECT u.grant_id, a.used_time FROM grant_upkeep u JOIN used a ON a.grant_id = u.grant_id
        WHERE u.grant_id = ANY ($2::uuid[])
            AND (u.last_used_time IS NULL OR u.last_used_time < a.used_time - $4::interval / 10)
        ORDER BY u.grant_id FOR NO KEY UPDATE OF u)
    UPDATE grant_upkeep u SET
        due_time = CASE
            WHEN u.last_used_time IS NULL OR u.last_used_time < h.used_time - $4::interval
            THEN least(u.due_time, now()) ELSE u.due_time END,
        last_used_time = h.used_time
    FROM held h WHERE u.grant_id = h.grant_id
    RETURNING true
"""
_LOCK_GRANT: Final = f"""
    SELECT {rows.GRANT} FROM grants WHERE tenant = $1 AND grant_id = $2 FOR NO KEY UPDATE
"""  # noqa: S608
_WARN: Final = """
    UPDATE grant_upkeep SET warned_generation = $3
    WHERE tenant = $1 AND grant_id = $2 AND warned_generation IS DISTINCT FROM $3
    RETURNING true
"""
BACKLOG: Final = """
    SELECT count(*) AS due, coalesce(extract(epoch FROM now() - min(due_time)), 0) AS lag_s
    FROM (SELECT due_time FROM grant_upkeep WHERE due_time <= now() ORDER BY due_time LIMIT $1) d
"""


class PostgresRefreshSchedule:
    """ports.RefreshSchedule over two roles: the worker's, and the one of requests for ``warn``."""

    def __init__(self, database: Database, worker: Database) -> None:
        self._database = database
        self._worker = worker

    async def take(self, limit: int, lease_s: float) -> Sequence[DueGrant]:
        """See ports.RefreshSchedule."""
        found = await self._worker.call(TAKE, limit, timedelta(seconds=lease_s))
        return [_due_from(row) for row in found]

    async def plan(self, asked: Mapping[OAuthClientName, Ask]) -> Mapping[OAuthClientName, Slots]:
        """See ports.RefreshSchedule."""
        key = ([name.tenant for name in asked], [name.oauth_client for name in asked])
        given: dict[OAuthClientName, Slots] = {}
        async with self._worker.worker_transaction() as connection:
            await connection.execute(_ADD_PLANS, *key)
            for row in await connection.fetch(_LOCK_PLANS, *key):
                name = OAuthClientName(row["tenant"], row["oauth_client"])
                ask, plan = (
                    asked[name],
                    Plan(*map(_aware, (row["run_until"], row["planned_until"]))),
                )
                given[name] = share_out(row["now"], plan, ask.wanted, ask.gap, ask.run_max)
            await _write(connection, {name: slots.plan for name, slots in given.items()})
        return given

    async def put_off(self, looks: Sequence[Look]) -> None:
        """See ports.RefreshSchedule."""
        await self._worker.call(
            PUT_OFF,
            [look.due.grant_id for look in looks],
            [look.due.leased_until for look in looks],
            [look.at for look in looks],
            [look.planned for look in looks],
        )

    async def note_used(self, used: Sequence[UsedGrant], in_use_s: float) -> int:
        """See ports.RefreshSchedule."""
        written = await self._worker.call(
            NOTE_USED,
            [one.tenant for one in used],
            [one.grant_id for one in used],
            [timedelta(seconds=one.age_s) for one in used],
            timedelta(seconds=in_use_s),
        )
        return len(written)

    async def warn(self, due: DueGrant, record: AuditRecord) -> bool:
        """See ports.RefreshSchedule."""
        key = (due.tenant, due.grant_id)
        async with self._database.tenant_transaction(due.tenant) as connection:
            row = await connection.fetchrow(_LOCK_GRANT, *key)
            if row is None:
                return False
            grant = rows.grant_from(row)
            if (grant.generation, grant.state) != (due.generation, GrantState.ACTIVE):
                return False
            if not await connection.fetchval(_WARN, *key, due.generation):
                return False
            await _tell(connection, record, grant)
        return True

    async def backlog(self) -> Backlog:
        """See ports.RefreshSchedule."""
        (row,) = await self._worker.call(BACKLOG, limits.BACKLOG_COUNT_MAX)
        return Backlog(row["due"], max(0.0, float(row["lag_s"])))


async def _tell(connection: Connection, record: AuditRecord, grant: Grant) -> None:
    """What the world learns of EXPIRING_SOON, in the transaction that marked it: the grant's row
    is locked, and given as it stands."""
    await insert_event(connection, record.record_id, grant, EventKind.EXPIRING_SOON)
    await insert_record(connection, record)


async def _write(connection: Connection, plans: Mapping[OAuthClientName, Plan]) -> None:
    await connection.execute(
        _WRITE_PLANS,
        [name.tenant for name in plans],
        [name.oauth_client for name in plans],
        [plan.run_until for plan in plans.values()],
        [plan.planned_until for plan in plans.values()],
    )


def _aware(moment: datetime) -> datetime:
    # -infinity comes without a zone.
    return moment if moment.tzinfo is not None else _NEVER


_NEVER: Final = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
_STATE: Final = {state.value: state for state in GrantState}


def _due_from(row: rows.Row) -> DueGrant:
    facts: dict[str, Any] = {field: row[field] for field in DueGrant.__dataclass_fields__}
    return DueGrant(**(facts | {"state": _STATE[facts["state"]]}))
