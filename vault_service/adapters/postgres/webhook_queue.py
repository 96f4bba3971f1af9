"""Deliveries under way: from the outbox to each webhook, and from there to done or dead.

The worker role only finds and takes what is due, over all tenants; every other change is made as
the role of requests, inside the webhook's own tenant.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.events import EVENT_COLUMNS, event_from
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.turns import holdings
from vault_service.adapters.postgres.webhooks import WEBHOOK, webhook_from
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.webhook import Delivery, Webhook, WebhookAnswer, body_of

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

# The first of each tenant, then the second of each; in which order is drawn anew each time.
_BEHIND: Final = """
    SELECT tenant, webhook_id, count(*) OVER (PARTITION BY tenant) AS siblings
    FROM webhooks w WHERE state = 1 AND EXISTS (
        SELECT FROM grant_events e WHERE e.tenant = w.tenant
            AND (e.order_xid, e.position) > (w.after_xid, w.after_position)
            AND e.order_xid < pg_snapshot_xmin(pg_current_snapshot()))
    ORDER BY row_number() OVER (PARTITION BY tenant ORDER BY random()), random()
"""
_LOCK: Final = f"""
    SELECT {WEBHOOK}, after_xid::text AS after_id, after_position FROM webhooks
    WHERE tenant = $1 AND webhook_id = $2 AND state = 1 FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608
_NEWS: Final = f"""
    SELECT {EVENT_COLUMNS}, order_xid::text AS order_id, position FROM grant_events
    WHERE tenant = $1 AND (order_xid, position) > ($2::text::xid8, $3)
        AND order_xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY order_xid, position LIMIT $4
"""  # noqa: S608
_DELIVER: Final = """
    INSERT INTO webhook_deliveries (webhook_id, position, tenant, event_id, grant_id, kind, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (webhook_id, position) DO NOTHING
"""
_MOVE: Final = """
    UPDATE webhooks SET after_xid = $3::text::xid8, after_position = $4
    WHERE tenant = $1 AND webhook_id = $2
"""
# A tenant gets one more while it holds fewer than are free, as in usecases.shares: each row, in the
# order of its place, is compared with the room that the rows before it leave. Of one tenant, the
# webhooks with nothing put off or under way go first, and among others it is drawn who does: so
# endpoints that hang keep no other from its turn, however old their backlog is. Between tenants it
# is drawn anew among those that hold as much: a delivery that failed and the number of webhooks do
# not count.
_TAKE: Final = """
    UPDATE webhook_deliveries SET next_attempt_time = clock_timestamp() + $1::interval
    WHERE (webhook_id, position) IN (
        SELECT webhook_id, position FROM webhook_deliveries
        WHERE next_attempt_time <= now() AND dead_time IS NULL AND (webhook_id, position) IN (
            SELECT webhook_id, position FROM (
                SELECT webhook_id, position, holds,
                    row_number() OVER (ORDER BY holds, random()) AS place
                FROM (
                    SELECT *, coalesce(number, 0) + row_number() OVER (
                        PARTITION BY tenant ORDER BY nth, put_off, drawn) - 1 AS holds
                    FROM (%s) due
                    LEFT JOIN unnest($6::text[], $7::bigint[]) held (tenant, number)
                        USING (tenant)) queued) ranked
            WHERE holds + place - 1 < $2)
        FOR UPDATE SKIP LOCKED)
    RETURNING tenant, webhook_id, position, event_id, body, attempts, begin_time,
        clock_timestamp() AS read_time
"""
_DUE: Final = """
    SELECT w.tenant, w.webhook_id, first.position, first.nth, random() AS drawn,
        EXISTS (
            SELECT FROM webhook_deliveries o WHERE o.webhook_id = w.webhook_id
                AND o.dead_time IS NULL AND o.next_attempt_time > now()) AS put_off
    FROM webhooks w CROSS JOIN LATERAL (
        SELECT d.position, row_number() OVER (ORDER BY d.next_attempt_time, d.position) AS nth
        FROM webhook_deliveries d
        WHERE d.webhook_id = w.webhook_id AND d.dead_time IS NULL AND d.next_attempt_time <= now()
            AND NOT EXISTS (
                SELECT FROM webhook_deliveries e
                WHERE e.webhook_id = d.webhook_id AND e.grant_id = d.grant_id
                    AND e.dead_time IS NULL AND e.position < d.position AND e.attempts < $5)
        ORDER BY d.next_attempt_time, d.position LIMIT $3) AS first
    WHERE w.state = 1 AND w.webhook_id <> ALL ($4::uuid[])
"""
_TAKE_DUE: Final = _TAKE % _DUE
_KEY: Final = "tenant = $1 AND webhook_id = $2 AND position = $3"
_DONE: Final = f"DELETE FROM webhook_deliveries WHERE {_KEY}"  # noqa: S608
_POSTPONE: Final = f"""
    UPDATE webhook_deliveries SET
        attempts = attempts + 1, status = $4, detail = $5,
        next_attempt_time = clock_timestamp() + $6::interval
    WHERE {_KEY}
"""  # noqa: S608
_BURY: Final = f"""
    UPDATE webhook_deliveries SET
        attempts = attempts + 1, status = $4, detail = $5, dead_time = clock_timestamp()
    WHERE {_KEY} AND dead_time IS NULL RETURNING true
"""  # noqa: S608
_GONE: Final = """
    UPDATE webhooks SET state = 2, revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND webhook_id = $2 AND state = 1 RETURNING true
"""
_BURY_ALL: Final = """
    UPDATE webhook_deliveries SET status = 410, detail = $3, dead_time = clock_timestamp()
    WHERE tenant = $1 AND webhook_id = $2 AND dead_time IS NULL
"""
_SWEEP: Final = """
    DELETE FROM webhook_deliveries WHERE (webhook_id, position) IN (
        SELECT webhook_id, position FROM webhook_deliveries
        WHERE dead_time < now() - $1::interval ORDER BY dead_time LIMIT $2)
    RETURNING true
"""
_GONE_DETAIL: Final = "the endpoint was gone (410)"


class PostgresWebhookQueue:
    """ports.WebhookQueue over two roles: the one of requests and the one of the worker."""

    def __init__(self, database_for_requests: Database, database_for_worker: Database) -> None:
        self._requests = database_for_requests
        self._worker = database_for_worker

    async def fan_out(self, limit: int) -> int:
        """Make deliveries of events that are new to their webhooks; how many were looked at. What
        fails for one webhook is raised when the others have had their turn."""
        looked, fault = 0, None
        for row in await self._worker.call(_BEHIND):
            batch = max(1, limit // row["siblings"])
            try:
                async with self._requests.tenant_transaction(row["tenant"]) as connection:
                    looked += await _fan_out(connection, row["tenant"], row["webhook_id"], batch)
            except Exception as error:
                fault = error
        if fault is not None:
            raise fault
        return looked

    async def take_due(
        self, room: int, per_webhook: int, under_way: Collection[Delivery]
    ) -> Sequence[Delivery]:
        """See ports.WebhookQueue."""
        hidden = timedelta(seconds=limits.WEBHOOK_HIDE_S)
        busy = {delivery.webhook_id for delivery in under_way}
        held = Counter(delivery.tenant for delivery in under_way)
        found = await self._worker.call(
            _TAKE_DUE, hidden, room, per_webhook, list(busy), limits.WEBHOOK_ORDER_ATTEMPTS,
            *holdings(held),
        )  # fmt: skip
        taken = [_delivery_from(row) for row in found]
        return sorted(taken, key=lambda delivery: delivery.position)

    async def delivered(self, delivery: Delivery) -> None:
        """It is done."""
        async with self._requests.tenant_transaction(delivery.tenant) as connection:
            await connection.execute(_DONE, *_key(delivery))

    async def postpone(self, delivery: Delivery, answer: WebhookAnswer, delay_s: float) -> None:
        """Try again later, and count the attempt."""
        async with self._requests.tenant_transaction(delivery.tenant) as connection:
            await connection.execute(
                _POSTPONE,
                *_key(delivery),
                answer.status,
                answer.detail,
                timedelta(seconds=delay_s),
            )

    async def bury(self, delivery: Delivery, answer: WebhookAnswer, record: AuditRecord) -> None:
        """It is a dead letter."""
        async with self._requests.tenant_transaction(delivery.tenant) as connection:
            if await connection.fetchval(_BURY, *_key(delivery), answer.status, answer.detail):
                await insert_record(connection, record)

    async def mark_gone(self, webhook: Webhook, record: AuditRecord) -> None:
        """What is on its way is dead, and nothing more is sent."""
        key = (webhook.name.tenant, webhook.webhook_id)
        async with self._requests.tenant_transaction(webhook.name.tenant) as connection:
            if await connection.fetchval(_GONE, *key):
                await connection.execute(_BURY_ALL, *key, _GONE_DETAIL)
                await insert_record(connection, record)

    async def sweep(self, limit: int) -> int:
        """Delete at most ``limit`` dead letters that are past their time; returns how many."""
        keep = timedelta(seconds=limits.WEBHOOK_DEAD_KEEP_S)
        return len(await self._worker.call(_SWEEP, keep, limit))


async def _fan_out(connection: Connection, tenant: str, webhook_id: uuid.UUID, limit: int) -> int:
    row = await connection.fetchrow(_LOCK, tenant, webhook_id)
    if row is None:
        return 0  # another replica is at it, or it is gone
    webhook = webhook_from(row)
    # A statement of its own, so with a horizon that is not older than the place just read.
    found = await connection.fetch(_NEWS, tenant, row["after_id"], row["after_position"], limit)
    if not found:
        return 0
    events = [(event_from(event), event["position"]) for event in found]
    await connection.executemany(
        _DELIVER,
        [
            (
                webhook_id,
                position,
                tenant,
                event.event_id,
                event.grant_id,
                event.kind.value,
                body_of(event),
            )
            for event, position in events
            if webhook.wants(event.kind)
        ],
    )
    await connection.execute(
        _MOVE, tenant, webhook_id, found[-1]["order_id"], found[-1]["position"]
    )
    return len(found)


def _key(delivery: Delivery) -> tuple[str, uuid.UUID, int]:
    return delivery.tenant, delivery.webhook_id, delivery.position


def _delivery_from(row: rows.Row) -> Delivery:
    return Delivery(**{field: row[field] for field in Delivery.__dataclass_fields__})
