"""In-memory webhooks and their deliveries."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tests.fakes.paging import page_by_id
from tests.fakes.tables import FakeTables
from tests.fakes.turns import shared_out
from vault_service.adapters.postgres import pages
from vault_service.adapters.postgres.webhooks import too_many
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.domain.event import GrantEvent
from vault_service.domain.names import WebhookName
from vault_service.domain.webhook import (
    DeadLetter,
    Delivery,
    SignedMessage,
    Webhook,
    WebhookAnswer,
    WebhookState,
    body_of,
)
from vault_service.ports import Page


@dataclass
class _Row:
    event: GrantEvent
    webhook_id: uuid.UUID
    position: int
    due: datetime
    begin: datetime
    attempts: int = 0
    answer: WebhookAnswer = field(default_factory=lambda: WebhookAnswer(0))
    dead: datetime | None = None


class FakeWebhooks:
    """ports.WebhookStore and ports.WebhookQueue over the same rows."""

    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables
        self._webhooks: dict[WebhookName, Webhook] = {}
        self._places: dict[uuid.UUID, int] = {}
        self._chance = random.Random(1)  # whose turn it is among tenants that hold as much
        self.rows: dict[tuple[uuid.UUID, int], _Row] = {}

    async def get(self, name: WebhookName) -> Webhook | None:
        await self._tables.reach()
        found = self._webhooks.get(name)
        return replace(found, read_time=self._tables.clock.now()) if found else None

    async def get_by_id(self, tenant: str, webhook_id: uuid.UUID) -> Webhook | None:
        for name, webhook in self._webhooks.items():
            if (name.tenant, webhook.webhook_id) == (tenant, webhook_id):
                return await self.get(name)
        await self._tables.reach()
        return None

    async def insert(self, webhook: Webhook, record: AuditRecord) -> bool:
        await self._tables.reach()
        tenant = webhook.name.tenant
        if sum(name.tenant == tenant for name in self._webhooks) >= limits.WEBHOOKS_MAX_COUNT:
            raise too_many()
        self._tables.require_tenant(tenant)
        if webhook.name in self._webhooks:
            return False
        self._tables.record(record)
        now = self._tables.clock.now()
        self._webhooks[webhook.name] = replace(
            webhook, revision=1, create_time=now, update_time=now
        )
        self._places[webhook.webhook_id] = len(self._tables.events)
        return True

    async def replace(self, webhook: Webhook, overlap_s: float, record: AuditRecord) -> bool:
        await self._tables.reach()
        known = self._webhooks.get(webhook.name)
        if known is None or known.revision != webhook.revision:
            return False
        self._tables.record(record)
        now = self._tables.clock.now()
        until = known.previous_until
        if webhook.previous_version != known.previous_version:
            until = now + timedelta(seconds=overlap_s)
        self._webhooks[webhook.name] = replace(
            webhook, revision=known.revision + 1, update_time=now, previous_until=until
        )
        return True

    async def delete(self, name: WebhookName, record: AuditRecord) -> bool:
        await self._tables.reach()
        if name not in self._webhooks:
            return False
        self._tables.record(record)
        gone = self._webhooks.pop(name)
        self.rows = {key: row for key, row in self.rows.items() if key[0] != gone.webhook_id}
        return True

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[Webhook]:
        after = pages.text_key(page_token)
        await self._tables.reach()
        found = [
            replace(one, read_time=self._tables.clock.now())
            for name, one in self._webhooks.items()
            if name.tenant == tenant
        ]
        return page_by_id(found, page_size, lambda one: one.name.webhook, after)

    async def dead_letters(
        self, name: WebhookName, page_size: int, page_token: str
    ) -> Page[DeadLetter]:
        after = pages.int_key(page_token, 0)
        await self._tables.reach()
        letters = [
            DeadLetter(
                webhook=name,
                position=row.position,
                event_id=row.event.event_id,
                grant=row.event.grant,
                kind=row.event.kind,
                attempts=row.attempts,
                status=row.answer.status,
                detail=row.answer.detail,
                dead_time=row.dead,
            )
            for row in self._of(name)
            if row.dead is not None and row.position > after
        ]
        return pages.page_of(letters, page_size, lambda one: pages.int_bytes(one.position))

    async def redeliver(
        self, name: WebhookName, event_ids: Collection[uuid.UUID], record: AuditRecord
    ) -> int:
        await self._tables.reach()
        moved = [
            row
            for row in self._of(name)
            if row.dead is not None and (not event_ids or row.event.event_id in event_ids)
        ]
        if moved:
            self._tables.record(record)
        now = self._tables.clock.now()
        for row in moved:
            row.dead, row.attempts, row.due, row.begin = None, 0, now, now
            row.answer = WebhookAnswer(0)
        return len(moved)

    async def fan_out(self, limit: int) -> int:
        await self._tables.reach()
        looked = 0
        now = self._tables.clock.now()
        behind = [one for one in self._webhooks.values() if self._is_behind(one)]
        siblings = Counter(one.name.tenant for one in behind)
        for webhook in behind:
            place, taken = self._places[webhook.webhook_id], 0
            batch = max(1, limit // siblings[webhook.name.tenant])
            for position, event in enumerate(self._tables.events, 1):
                if position <= place or event.tenant != webhook.name.tenant or taken == batch:
                    continue
                taken += 1
                self._places[webhook.webhook_id] = position
                if webhook.wants(event.kind):
                    key = (webhook.webhook_id, position)
                    self.rows[key] = _Row(event, webhook.webhook_id, position, now, now)
            looked += taken
        return looked

    def _is_behind(self, webhook: Webhook) -> bool:
        news = self._tables.events[self._places[webhook.webhook_id] :]
        theirs = any(event.tenant == webhook.name.tenant for event in news)
        return webhook.state is WebhookState.ENABLED and theirs

    async def take_due(
        self, room: int, per_webhook: int, under_way: Collection[Delivery]
    ) -> Sequence[Delivery]:
        await self._tables.reach()
        now = self._tables.clock.now()
        tenants = {
            one.webhook_id: one.name.tenant
            for one in self._webhooks.values()
            if one.state is WebhookState.ENABLED
        }
        busy = {delivery.webhook_id for delivery in under_way}
        held = Counter(delivery.tenant for delivery in under_way)
        due: list[tuple[int, bool, _Row]] = []
        counts: Counter[uuid.UUID] = Counter()
        alive = [row for row in self.rows.values() if row.dead is None]
        put_off = {row.webhook_id for row in alive if row.due > now}
        for row in sorted(alive, key=lambda row: (row.due, row.position)):
            waits = row.due > now or row.webhook_id in busy or self._behind(row)
            if waits or row.webhook_id not in tenants or counts[row.webhook_id] == per_webhook:
                continue
            due.append((counts[row.webhook_id], row.webhook_id in put_off, row))
            counts[row.webhook_id] += 1
        turns = list(dict.fromkeys(tenants[row.webhook_id] for _, _, row in due))
        self._chance.shuffle(turns)
        due.sort(key=lambda one: (turns.index(tenants[one[2].webhook_id]), *one[:2]))
        rows = [row for _, _, row in due]
        taken = [
            Delivery(
                tenant=tenants[row.webhook_id],
                webhook_id=row.webhook_id,
                position=row.position,
                event_id=row.event.event_id,
                body=body_of(row.event),
                attempts=row.attempts,
                begin_time=row.begin,
                read_time=now,
            )
            for row in shared_out(rows, lambda row: tenants[row.webhook_id], room, held)
        ]
        for delivery in taken:
            hidden = now + timedelta(seconds=limits.WEBHOOK_HIDE_S)
            self.rows[delivery.webhook_id, delivery.position].due = hidden
        return sorted(taken, key=lambda delivery: delivery.position)

    async def delivered(self, delivery: Delivery) -> None:
        await self._tables.reach()
        self.rows.pop((delivery.webhook_id, delivery.position), None)

    async def postpone(self, delivery: Delivery, answer: WebhookAnswer, delay_s: float) -> None:
        await self._tables.reach()
        row = self.rows[delivery.webhook_id, delivery.position]
        row.attempts, row.answer = row.attempts + 1, answer
        row.due = self._tables.clock.now() + timedelta(seconds=delay_s)

    async def bury(self, delivery: Delivery, answer: WebhookAnswer, record: AuditRecord) -> None:
        await self._tables.reach()
        row = self.rows[delivery.webhook_id, delivery.position]
        if row.dead is None:
            self._tables.record(record)
            row.attempts, row.answer, row.dead = row.attempts + 1, answer, self._tables.clock.now()

    async def mark_gone(self, webhook: Webhook, record: AuditRecord) -> None:
        await self._tables.reach()
        known = self._webhooks.get(webhook.name)
        if known is None or known.state is WebhookState.GONE:
            return
        self._tables.record(record)
        gone = replace(known, state=WebhookState.GONE, revision=known.revision + 1)
        self._webhooks[webhook.name] = gone
        for row in self._of(webhook.name):
            if row.dead is None:
                row.answer = WebhookAnswer(410, "the endpoint was gone (410)")
                row.dead = self._tables.clock.now()

    def _of(self, name: WebhookName) -> Sequence[_Row]:
        webhook = self._webhooks.get(name)
        if webhook is None:
            return []
        return [row for row in self.rows.values() if row.webhook_id == webhook.webhook_id]

    def _behind(self, row: _Row) -> bool:
        return any(
            other.webhook_id == row.webhook_id
            and other.event.grant_id == row.event.grant_id
            and other.dead is None
            and other.position < row.position
            and other.attempts < limits.WEBHOOK_ORDER_ATTEMPTS
            for other in self.rows.values()
        )


class FakeWebhookEndpoint:
    """ports.WebhookEndpoint: keeps what it was sent and answers as told, 204 unless told."""

    def __init__(self) -> None:
        self.sent: list[SignedMessage] = []
        self.answers: list[WebhookAnswer] = []

    async def send(self, message: SignedMessage) -> WebhookAnswer:
        self.sent.append(message)
        return self.answers.pop(0) if self.answers else WebhookAnswer(204)
