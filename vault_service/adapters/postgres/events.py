"""The table grant_events: written in the transaction of a change, read in a certain order.

The order is (order_xid, position), below the horizon of running transactions: see
0006_events.sql for why nothing is lost in it.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from vault_service.adapters.postgres import cursors, rows
from vault_service.adapters.postgres.cursors import Place
from vault_service.adapters.postgres.grant_bell import GRANT_CHANNEL
from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits
from vault_service.domain.event import EventBatch, EventKind, GrantEvent
from vault_service.domain.grant import Grant, GrantState, ReauthorizationCause

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

CHANNEL: Final = "tokenvault_grant_events"
EVENT_COLUMNS: Final = (
    "event_id, tenant, grant_id, owner, oauth_client, provider, scopes, kind, state, cause, "
    "generation, revision, event_time"
)
_INSERT: Final = """
    INSERT INTO grant_events (
        order_xid, event_id, tenant, grant_id, owner, oauth_client, provider, scopes, kind, state,
        cause, generation, revision)
    VALUES (
        greatest(pg_current_xact_id(), (
            SELECT order_xid FROM grant_events WHERE grant_id = $3 ORDER BY position DESC LIMIT 1)),
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
# One statement, so one snapshot: what it calls the horizon is the horizon of what it sees.
_HORIZON: Final = """
    SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::bigint) AS horizon,
        clock_timestamp() AS now
"""
_READ: Final = f"""
    WITH here AS MATERIALIZED ({_HORIZON}),
    readable AS MATERIALIZED (
        SELECT {EVENT_COLUMNS}, order_xid, position FROM grant_events
        WHERE tenant = $1 AND (order_xid, position) > ($2::text::xid8, $3)
            AND order_xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY order_xid, position LIMIT $4)
    SELECT horizon, now, EXISTS (
            SELECT FROM grant_events WHERE tenant = $1
                AND order_xid >= pg_snapshot_xmin(pg_current_snapshot())) AS unripe,
        readable.*, order_xid::text::bigint AS order_number
    FROM here LEFT JOIN readable ON true
    ORDER BY readable.order_xid, readable.position
"""  # noqa: S608  # column names of ours
_SWEEP: Final = """
    DELETE FROM grant_events WHERE position IN (
        SELECT position FROM grant_events WHERE event_time < now() - $1::interval
        ORDER BY event_time LIMIT $2)
    RETURNING true
"""
# A restored dump has ids of another cluster, which may lie ahead of this one's: such rows would be
# unreadable until it catches up. They become the oldest, in the order of their positions.
_REBASE: Final = """
    UPDATE grant_events SET order_xid = '3'
    WHERE order_xid >= pg_snapshot_xmax(pg_current_snapshot())
"""
_REBASE_WEBHOOKS: Final = """
    UPDATE webhooks SET after_xid = '3', after_position = least(
        after_position, (SELECT coalesce(max(position), 0) FROM grant_events))
    WHERE after_xid >= pg_snapshot_xmax(pg_current_snapshot())
"""
_LATE: Final = """
    SELECT count(*) AS late FROM grant_events
    WHERE order_xid >= pg_snapshot_xmin(pg_current_snapshot())
        AND event_time < now() - $1::interval
"""


async def insert_event(
    connection: Connection, event_id: uuid.UUID, grant: Grant, kind: EventKind
) -> None:
    """Tell of a change in its own transaction, with ``grant`` as the row stands after it.

    The grant's row must be locked or written by this transaction before: that makes the order of
    its events the order of its revisions. ``event_id`` is the id of the change's record.
    """
    await connection.execute(
        _INSERT,
        event_id,
        grant.tenant,
        grant.grant_id,
        grant.owner,
        grant.oauth_client,
        grant.provider,
        grant.scopes,
        kind.value,
        grant.state.value,
        None if grant.cause is None else grant.cause.value,
        grant.generation,
        grant.revision,
    )
    # Delivered at commit, to every replica; one tenant is told once a transaction.
    await connection.execute(
        "SELECT pg_notify($1, $2), pg_notify($3, $4)",
        CHANNEL, grant.tenant, GRANT_CHANNEL, str(grant.grant_id),
    )  # fmt: skip


class PostgresEventStore:
    """ports.EventStore."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # A burst of changes wakes every watcher of its tenant.
        self._turns = asyncio.Semaphore(limits.EVENT_READS_MAX)

    async def begin(self, tenant: str, cursor: str) -> str:
        """The place to read on from. FIELD_MALFORMED, CURSOR_EXPIRED."""
        place = cursors.decode(cursor) if cursor else None
        async with self._database.tenant_transaction(tenant) as connection:
            here = await connection.fetchrow(_HORIZON)
        assert here is not None, "it has no WHERE"
        horizon, now = here["horizon"], here["now"]
        if place is None:
            return cursors.encode(_end(horizon, now))
        # The second: a place of another cluster, before a restore from a dump.
        if place.time < now - _KEEP or place.order_xid >= horizon:
            raise cursors.expired()
        return cursor

    async def read(self, tenant: str, cursor: str, limit: int) -> EventBatch:
        """At most ``limit`` events after the cursor."""
        place = cursors.decode(cursor)
        async with self._turns, self._database.tenant_transaction(tenant) as connection:
            found = await connection.fetch(
                _READ, tenant, str(place.order_xid), place.position, limit + 1
            )
        horizon, now = found[0]["horizon"], found[0]["now"]
        if place.time < now - _KEEP:
            raise cursors.expired()
        events = [row for row in found if row["position"] is not None]
        batch = [
            (event_from(row), cursors.encode(Place(row["order_number"], row["position"], now)))
            for row in events[:limit]
        ]
        if len(events) > limit:
            return EventBatch(batch, batch[-1][1], True)
        # All below the horizon has been seen: the place moves there, so that a watcher without
        # events does not grow old.
        return EventBatch(batch, cursors.encode(_end(horizon, now)), found[0]["unripe"])


class PostgresEventSweeper:
    """Clears away what is past its time, over all tenants; wants the worker role."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sweep(self, limit: int) -> int:
        """Delete at most ``limit`` old events; returns how many."""
        await self._database.call(_REBASE_WEBHOOKS)
        await self._database.call(_REBASE)
        # Some more than is promised: a place counts from when it was given out, an event from
        # when it was written, which is up to one transaction earlier.
        keep = _KEEP + timedelta(seconds=limits.EVENT_KEEP_MARGIN_S)
        return len(await self._database.call(_SWEEP, keep, limit))

    async def late(self) -> int:
        """Events that wait for a transaction that began long ago: somebody holds the horizon."""
        found = await self._database.call(_LATE, timedelta(seconds=limits.EVENT_LATE_S))
        return int(found[0]["late"])


_KEEP: Final = timedelta(seconds=limits.EVENT_KEEP_S)


def _end(horizon: int, now: datetime) -> Place:
    return Place(horizon - 1, 2**63 - 1, now)


def event_from(row: rows.Row) -> GrantEvent:
    """A row of grant_events."""
    facts: dict[str, Any] = {field: row[field] for field in GrantEvent.__dataclass_fields__}
    cause = facts["cause"]
    return GrantEvent(
        **{
            **facts,
            "scopes": tuple(facts["scopes"]),
            "kind": EventKind(facts["kind"]),
            "state": GrantState(facts["state"]),
            "cause": None if cause is None else ReauthorizationCause(cause),
        }
    )
