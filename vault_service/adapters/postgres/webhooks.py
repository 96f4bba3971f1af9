"""The tables webhooks and webhook_deliveries, as requests see them. The secret stays sealed."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from vault_service.adapters.postgres import pages, rows
from vault_service.adapters.postgres.audit import insert_record
from vault_service.adapters.postgres.pool import Database
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EventKind
from vault_service.domain.names import GrantName, WebhookName
from vault_service.domain.webhook import DeadLetter, Webhook, WebhookState
from vault_service.ports import Page

WEBHOOK: Final = (
    "webhook_id, tenant, webhook, url, kinds, state, secret_envelope, secret_version, "
    "previous_envelope, previous_version, previous_until, revision, create_time, update_time, "
    "clock_timestamp() AS read_time"
)
_GET: Final = f"SELECT {WEBHOOK} FROM webhooks WHERE tenant = $1 AND webhook = $2"  # noqa: S608
_GET_BY_ID: Final = f"""
    SELECT {WEBHOOK} FROM webhooks WHERE tenant = $1 AND webhook_id = $2
"""  # noqa: S608
_LIST: Final = f"""
    SELECT {WEBHOOK} FROM webhooks WHERE tenant = $1 AND webhook > $2 COLLATE "C"
    ORDER BY webhook COLLATE "C" LIMIT $3
"""  # noqa: S608
# Two creations at once must see each other's row: one at a time in a tenant.
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtextextended('webhooks ' || $1, 0))"
_COUNT: Final = "SELECT count(*) FROM webhooks WHERE tenant = $1"
_INSERT: Final = """
    INSERT INTO webhooks (
        webhook_id, tenant, webhook, url, kinds, secret_envelope, secret_version, after_xid,
        after_position)
    SELECT $1, $2, $3, $4, $5, $6, $7, (horizon - 1)::text::xid8, $8
    FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon) AS here
    ON CONFLICT (tenant, webhook) DO NOTHING RETURNING true
"""
_REPLACE: Final = """
    UPDATE webhooks SET
        url = $4, kinds = $5, state = $6, secret_envelope = $7, secret_version = $8,
        previous_envelope = $9, previous_version = $10,
        previous_until = CASE
            WHEN $10::bigint IS NULL THEN NULL
            WHEN $10::bigint IS NOT DISTINCT FROM previous_version THEN previous_until
            ELSE clock_timestamp() + $11::interval END,
        revision = revision + 1, update_time = clock_timestamp()
    WHERE tenant = $1 AND webhook_id = $2 AND revision = $3 RETURNING true
"""
_DELETE: Final = "DELETE FROM webhooks WHERE tenant = $1 AND webhook = $2 RETURNING true"
_DEAD: Final = """
    SELECT d.* FROM webhook_deliveries d JOIN webhooks w USING (tenant, webhook_id)
    WHERE w.tenant = $1 AND w.webhook = $2 AND d.dead_time IS NOT NULL AND d.position > $3
    ORDER BY d.position LIMIT $4
"""
_REDELIVER: Final = """
    UPDATE webhook_deliveries d SET
        dead_time = NULL, attempts = 0, status = 0, detail = '', begin_time = clock_timestamp(),
        next_attempt_time = clock_timestamp()
    FROM webhooks w
    WHERE w.tenant = $1 AND w.webhook = $2 AND d.tenant = w.tenant AND d.webhook_id = w.webhook_id
        AND d.dead_time IS NOT NULL AND (cardinality($3::uuid[]) = 0 OR d.event_id = ANY ($3))
    RETURNING true
"""


class PostgresWebhookStore:
    """ports.WebhookStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: WebhookName) -> Webhook | None:
        """One webhook or None."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            row = await connection.fetchrow(_GET, name.tenant, name.webhook)
        return webhook_from(row) if row else None

    async def get_by_id(self, tenant: str, webhook_id: uuid.UUID) -> Webhook | None:
        """One webhook or None."""
        async with self._database.tenant_transaction(tenant) as connection:
            row = await connection.fetchrow(_GET_BY_ID, tenant, webhook_id)
        return webhook_from(row) if row else None

    async def insert(self, webhook: Webhook, record: AuditRecord) -> bool:
        """A new one; False when the name is taken. WEBHOOK_LIMIT, TENANT_NOT_PROVISIONED."""
        tenant = webhook.name.tenant
        async with self._database.tenant_transaction(tenant) as connection:
            await connection.execute(_ONE_AT_A_TIME, tenant)
            if await connection.fetchval(_COUNT, tenant) >= limits.WEBHOOKS_MAX_COUNT:
                raise too_many()
            inserted = await connection.fetchval(
                _INSERT,
                webhook.webhook_id,
                tenant,
                webhook.name.webhook,
                webhook.url,
                _numbers(webhook),
                webhook.secret_envelope,
                webhook.secret_version,
                pages.LAST_INT,
            )
            if inserted:
                await insert_record(connection, record)
        return inserted is True

    async def replace(self, webhook: Webhook, overlap_s: float, record: AuditRecord) -> bool:
        """Write over the row at ``webhook.revision``; False when it has moved."""
        async with self._database.tenant_transaction(webhook.name.tenant) as connection:
            replaced = await connection.fetchval(
                _REPLACE,
                webhook.name.tenant,
                webhook.webhook_id,
                webhook.revision,
                webhook.url,
                _numbers(webhook),
                webhook.state.value,
                webhook.secret_envelope,
                webhook.secret_version,
                webhook.previous_envelope,
                webhook.previous_version,
                timedelta(seconds=overlap_s),
            )
            if replaced:
                await insert_record(connection, record)
        return replaced is True

    async def delete(self, name: WebhookName, record: AuditRecord) -> bool:
        """With all that is on its way to it; False when there is none."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            deleted = await connection.fetchval(_DELETE, name.tenant, name.webhook)
            if deleted:
                await insert_record(connection, record)
        return deleted is True

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[Webhook]:
        """By id. FIELD_MALFORMED."""
        after = pages.text_key(page_token)
        async with self._database.tenant_transaction(tenant) as connection:
            found = await connection.fetch(_LIST, tenant, after, pages.rows_wanted(page_size))
        webhooks = [webhook_from(row) for row in found]
        return pages.page_of(webhooks, page_size, lambda one: one.name.webhook.encode())

    async def dead_letters(
        self, name: WebhookName, page_size: int, page_token: str
    ) -> Page[DeadLetter]:
        """Those of one webhook, oldest first. FIELD_MALFORMED."""
        after = pages.int_key(page_token, 0)
        async with self._database.tenant_transaction(name.tenant) as connection:
            found = await connection.fetch(
                _DEAD, name.tenant, name.webhook, after, pages.rows_wanted(page_size)
            )
        letters = [_dead_from(name, row) for row in found]
        return pages.page_of(letters, page_size, lambda one: pages.int_bytes(one.position))

    async def redeliver(
        self, name: WebhookName, event_ids: Collection[uuid.UUID], record: AuditRecord
    ) -> int:
        """Dead letters of these events, all where empty, are due now; how many."""
        async with self._database.tenant_transaction(name.tenant) as connection:
            moved = await connection.fetch(_REDELIVER, name.tenant, name.webhook, list(event_ids))
            if moved:
                await insert_record(connection, record)
        return len(moved)


def too_many() -> VaultError:
    """WEBHOOK_LIMIT."""
    return VaultError(
        Reason.WEBHOOK_LIMIT,
        f"a tenant has at most {limits.WEBHOOKS_MAX_COUNT} webhooks; delete another one first",
    )


def webhook_from(row: rows.Row) -> Webhook:
    """A row of webhooks with its read_time."""
    return Webhook(
        name=WebhookName(row["tenant"], row["webhook"]),
        webhook_id=row["webhook_id"],
        url=row["url"],
        kinds=frozenset(map(EventKind, row["kinds"])),
        state=WebhookState(row["state"]),
        secret_envelope=row["secret_envelope"],
        secret_version=row["secret_version"],
        previous_envelope=row["previous_envelope"],
        previous_version=row["previous_version"],
        previous_until=row["previous_until"],
        revision=row["revision"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        read_time=row["read_time"],
    )


def _dead_from(name: WebhookName, row: rows.Row) -> DeadLetter:
    return DeadLetter(
        webhook=name,
        position=row["position"],
        event_id=row["event_id"],
        grant=GrantName(name.tenant, row["grant_id"]),
        kind=EventKind(row["kind"]),
        attempts=row["attempts"],
        status=row["status"],
        detail=row["detail"],
        dead_time=row["dead_time"],
    )


def _numbers(webhook: Webhook) -> list[int]:
    return sorted(kind.value for kind in webhook.kinds)
