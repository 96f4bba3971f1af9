"""Puts together what tells of grants: watching and webhooks."""

from __future__ import annotations

from dataclasses import dataclass

from vault_service.crypto.envelopes import Envelopes
from vault_service.ports import (
    AuditLog,
    Clock,
    EndpointGuard,
    Entropy,
    EventBell,
    EventStore,
    WebhookEndpoint,
    WebhookQueue,
    WebhookStore,
)
from vault_service.usecases.deliver_webhooks import DeliverWebhooks
from vault_service.usecases.gate import Gate
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.watch_grants import WatchGrants
from vault_service.usecases.watches import Watches
from vault_service.usecases.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class EventParts:
    """What it is made of."""

    gate: Gate
    events: EventStore
    bell: EventBell
    webhooks: WebhookStore
    queue: WebhookQueue
    endpoint: WebhookEndpoint
    guard: EndpointGuard
    audit: AuditLog
    envelopes: Envelopes
    recorder: Recorder
    entropy: Entropy
    clock: Clock


class EventEngine:
    """``watch`` and ``webhooks`` for callers, ``deliver`` for the worker, ``watches`` to end."""

    def __init__(self, parts: EventParts) -> None:
        self.watches = Watches(parts.bell)
        self.watch = WatchGrants(
            gate=parts.gate,
            events=parts.events,
            bell=parts.bell,
            watches=self.watches,
            audit=parts.audit,
            recorder=parts.recorder,
            clock=parts.clock,
        )
        self.webhooks = Webhooks(
            gate=parts.gate,
            webhooks=parts.webhooks,
            guard=parts.guard,
            envelopes=parts.envelopes,
            recorder=parts.recorder,
            entropy=parts.entropy,
            clock=parts.clock,
        )
        self.deliver = DeliverWebhooks(
            queue=parts.queue,
            webhooks=parts.webhooks,
            endpoint=parts.endpoint,
            envelopes=parts.envelopes,
            recorder=parts.recorder,
            entropy=parts.entropy,
            clock=parts.clock,
        )
