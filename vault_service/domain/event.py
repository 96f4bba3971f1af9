"""What happened to a grant, as watchers and webhooks are told: facts, never a token."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from vault_service.domain.grant import GrantState, ReauthorizationCause
from vault_service.domain.names import GrantName


class EventKind(Enum):
    """What happened; the grant's state after it stands beside it."""

    CREATED = 1
    RECOVERED = 2  # consented again after REAUTHORIZATION_REQUIRED: ACTIVE, the same grant
    RECONNECTED = 3  # consented again while it was ACTIVE
    REAUTHORIZATION_REQUIRED = 4
    EXPIRING_SOON = 5  # the refresh token will die unused, or the consent will end
    REVOKED = 6
    DELETED = 7


@dataclass(frozen=True, slots=True)
class GrantEvent:
    """One row of grant_events. ``event_id`` is the id of the change's AuditRecord.

    For one grant ``revision`` only grows from event to event.
    """

    event_id: uuid.UUID
    tenant: str
    grant_id: uuid.UUID
    owner: str
    oauth_client: str
    provider: str
    scopes: tuple[str, ...]
    kind: EventKind
    state: GrantState
    cause: ReauthorizationCause | None
    generation: int
    revision: int
    event_time: datetime  # the database's clock

    @property
    def grant(self) -> GrantName:
        """``tenants/{t}/grants/{id}``"""
        return GrantName(self.tenant, self.grant_id)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a watcher wants; what is "" or empty does not narrow it."""

    owner: str = ""
    oauth_client: str = ""
    provider: str = ""
    kinds: frozenset[EventKind] = frozenset()

    def matches(self, event: GrantEvent) -> bool:
        """Whether the event is wanted."""
        return (
            self.owner in ("", event.owner)
            and self.oauth_client in ("", event.oauth_client)
            and self.provider in ("", event.provider)
            and (not self.kinds or event.kind in self.kinds)
        )


EVERY_EVENT: Final = EventFilter()


@dataclass(frozen=True, slots=True)
class EventBatch:
    """A step of a reader. Every event with the cursor after it, oldest first.

    ``cursor`` is where the reader stands after all of them, also where there were none.
    ``more``: there are further ones, or ones that cannot be read before a transaction ends that
    began earlier; look again soon.
    """

    events: Sequence[tuple[GrantEvent, str]]
    cursor: str
    more: bool
