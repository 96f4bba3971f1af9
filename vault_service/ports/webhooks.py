"""What webhooks need from outside, and how each of it fails."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Protocol

from vault_service.domain.audit import AuditRecord
from vault_service.domain.names import WebhookName
from vault_service.domain.webhook import (
    DeadLetter,
    Delivery,
    SignedMessage,
    Webhook,
    WebhookAnswer,
)
from vault_service.ports.pages import Page


class WebhookStore(Protocol):
    """The tables webhooks and webhook_deliveries, of one tenant."""

    async def get(self, name: WebhookName) -> Webhook | None:
        """One webhook or None."""

    async def get_by_id(self, tenant: str, webhook_id: uuid.UUID) -> Webhook | None:
        """One webhook or None."""

    async def insert(self, webhook: Webhook, record: AuditRecord) -> bool:
        """A new one, told of what happens from now on; False when the name is taken.
        WEBHOOK_LIMIT, TENANT_NOT_PROVISIONED."""

    async def replace(self, webhook: Webhook, overlap_s: float, record: AuditRecord) -> bool:
        """Write url, kinds, state and secrets over the row at ``webhook.revision``; False when it
        has moved. A previous secret signs on for ``overlap_s`` from now."""

    async def delete(self, name: WebhookName, record: AuditRecord) -> bool:
        """With all that is on its way to it; False when there is none."""

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[Webhook]:
        """By id. FIELD_MALFORMED."""

    async def dead_letters(
        self, name: WebhookName, page_size: int, page_token: str
    ) -> Page[DeadLetter]:
        """Those of one webhook, oldest first. FIELD_MALFORMED."""

    async def redeliver(
        self, name: WebhookName, event_ids: Collection[uuid.UUID], record: AuditRecord
    ) -> int:
        """Dead letters of these events, all where empty, are due now, as if new; how many. Nothing
        is recorded for none."""


class WebhookQueue(Protocol):
    """Deliveries under way, over all tenants: the worker finds, the role of requests changes."""

    async def fan_out(self, limit: int) -> int:
        """Make deliveries of events that are new to their webhooks; how many events were looked
        at. Each event is made into one delivery of each webhook, however often this is tried. Each
        tenant gets ``limit`` events looked at, which its webhooks share."""

    async def take_due(
        self, room: int, per_webhook: int, under_way: Collection[Delivery]
    ) -> Sequence[Delivery]:
        """Deliveries whose time has come, at most ``room``, but none to webhooks that have some
        ``under_way``; a tenant gets one more while it holds fewer than are free. Of one tenant,
        webhooks that have nothing put off go first. A taken one is hidden from others for a
        minute. While an earlier event of the same grant is young and on its way, the later ones
        wait."""

    async def delivered(self, delivery: Delivery) -> None:
        """It is done."""

    async def postpone(self, delivery: Delivery, answer: WebhookAnswer, delay_s: float) -> None:
        """Try again later, and count the attempt."""

    async def bury(self, delivery: Delivery, answer: WebhookAnswer, record: AuditRecord) -> None:
        """It is a dead letter."""

    async def mark_gone(self, webhook: Webhook, record: AuditRecord) -> None:
        """The endpoint answered 410: what is on its way is dead, and nothing more is sent."""


class WebhookEndpoint(Protocol):
    """The way to an endpoint: one request, bounded in place, size and time. Never raises: what
    went wrong is in the answer."""

    async def send(self, message: SignedMessage) -> WebhookAnswer:
        """POST it once, without following a redirect."""
