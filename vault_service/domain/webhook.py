"""Webhooks: endpoints of a tenant that are told what happens to its grants."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.event import EventKind, GrantEvent
from vault_service.domain.names import GrantName, OAuthClientName, ProviderName, WebhookName
from vault_service.domain.sensitive import Sensitive


class WebhookState(Enum):
    """GONE: its endpoint answered 410, and nothing is sent until it is put again."""

    ENABLED = 1
    GONE = 2


@dataclass(frozen=True, slots=True)
class Webhook:
    """One row of webhooks, its signing secrets still sealed.

    After a change of the secret the one before signs beside it until ``previous_until``.
    """

    name: WebhookName
    webhook_id: uuid.UUID
    url: str
    kinds: frozenset[EventKind]  # empty: all
    state: WebhookState
    secret_envelope: bytes
    secret_version: int
    previous_envelope: bytes | None
    previous_version: int | None
    previous_until: datetime | None
    revision: int
    create_time: datetime
    update_time: datetime
    read_time: datetime

    def wants(self, kind: EventKind) -> bool:
        """Whether it is told of this kind."""
        return not self.kinds or kind in self.kinds

    @property
    def secrets(self) -> list[tuple[Binding, bytes]]:
        """The envelopes of the secrets that sign now, the newest first."""
        found = [(self.binding(self.secret_version), self.secret_envelope)]
        if self.previous_envelope is not None and self.previous_version is not None:
            assert self.previous_until is not None, "the table says so"
            if self.previous_until > self.read_time:
                found.append((self.binding(self.previous_version), self.previous_envelope))
        return found

    def binding(self, version: int) -> Binding:
        """Of one version of its secret."""
        return secret_binding(self.name.tenant, self.webhook_id, version)


def secret_binding(tenant: str, webhook_id: uuid.UUID, version: int) -> Binding:
    """What a webhook's secret is bound to."""
    owner = DekOwner(tenant, Level.APPLICATION, "")
    return Binding(owner, str(webhook_id), Field.WEBHOOK_SECRET, version)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook. ``body`` is sent and signed as it stands."""

    tenant: str
    webhook_id: uuid.UUID
    position: int
    event_id: uuid.UUID
    body: str
    attempts: int
    begin_time: datetime
    read_time: datetime


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was given up. ``status`` is that of the last answer, 0 where none came."""

    webhook: WebhookName
    position: int
    event_id: uuid.UUID
    grant: GrantName
    kind: EventKind
    attempts: int
    status: int
    detail: str  # in our words
    dead_time: datetime


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What came of one request. ``status`` 0: no answer, and ``detail`` says why."""

    status: int
    detail: str = ""
    retry_after_s: float | None = None

    @property
    def taken(self) -> bool:
        """Whether the endpoint has it now."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """One request, ready to be sent."""

    url: str
    message_id: str
    timestamp: int  # seconds since 1970
    signature: str
    body: Sensitive  # facts about people: not for a log


def body_of(event: GrantEvent) -> str:
    """The event as JSON, in the shape of the Standard Webhooks specification."""
    moment = event.event_time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps(
        {
            "type": f"grant.{event.kind.name.lower()}",
            "timestamp": moment,
            "data": {
                "id": str(event.event_id),
                "grant": str(event.grant),
                "kind": event.kind.name,
                "owner": event.owner,
                "oauth_client": str(OAuthClientName(event.tenant, event.oauth_client)),
                "provider": str(ProviderName(event.tenant, event.provider)),
                "state": event.state.name,
                "cause": event.cause.name if event.cause else "",
                "generation": event.generation,
                "revision": event.revision,
                "event_time": moment,
            },
        },
        separators=(",", ":"),
    )
