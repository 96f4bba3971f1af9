"""The rows that the in-memory stores share, and the faults a test can switch on."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tests.fakes.clock import FakeClock
from vault_service.adapters.postgres.grant_bell import PostgresGrantBell
from vault_service.domain.attempt import RefreshAttempt
from vault_service.domain.audit import AuditRecord
from vault_service.domain.consent import DiscardedToken
from vault_service.domain.envelope import WrappedDek
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EventKind, GrantEvent
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantAliasName, OAuthClientName, ProviderName, SecretName
from vault_service.domain.oauth import Authorization, OAuthClient
from vault_service.domain.pacing import Plan
from vault_service.domain.provider import Provider
from vault_service.domain.secret import AnsweredRequest, Secret, SecretVersion
from vault_service.ports import QueuedRevocation


@dataclass(frozen=True, slots=True)
class KeptCredential:
    """A row of client_credentials."""

    envelope: bytes | None
    create_time: datetime | None


class FakeTables:
    """What all the fakes share: the rows, the clock, and two faults to switch on."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.unreachable = False
        self.audit_unavailable = False
        self.tenants: set[str] = set()
        self.deks: dict[bytes, WrappedDek] = {}
        self.providers: dict[ProviderName, Provider] = {}
        self.oauth_clients: dict[OAuthClientName, OAuthClient] = {}
        self.authorizations: dict[bytes, Authorization] = {}
        self.consent_reads: dict[bytes, tuple[int, int]] = {}  # by state
        self.grants: dict[uuid.UUID, Grant] = {}
        self.aliases: dict[GrantAliasName, uuid.UUID] = {}
        self.leases: dict[uuid.UUID, tuple[int, datetime]] = {}
        self.attempts: dict[uuid.UUID, RefreshAttempt] = {}
        self.attempt_times: dict[uuid.UUID, datetime] = {}
        self.attempt_reasons: dict[uuid.UUID, str] = {}
        self.attempt_reads: dict[uuid.UUID, tuple[int, int]] = {}
        self.abandoned_spools: set[uuid.UUID] = set()
        self.earlier_spools: dict[uuid.UUID, list[uuid.UUID]] = {}  # by attempt
        self.until_it_answers: set[uuid.UUID] = set()  # attempts
        self.grant_bell = PostgresGrantBell()  # its events; nothing else of it needs a server
        self.budgets: dict[OAuthClientName, Any] = {}
        self.upkeep: dict[uuid.UUID, Any] = {}
        self.plans: dict[OAuthClientName, Plan] = {}
        self.queue: dict[uuid.UUID, QueuedRevocation] = {}
        self.discarded: dict[uuid.UUID, DiscardedToken] = {}
        self.due: dict[uuid.UUID, datetime] = {}
        self.secrets: dict[SecretName, list[SecretVersion]] = {}
        self.secret_rows: dict[SecretName, Secret] = {}
        self.requests: dict[tuple[str, str, str], AnsweredRequest] = {}
        self.reminded: set[tuple[SecretName, int]] = set()
        # Beside the credential in use; without an envelope it is a tombstone.
        self.credentials: dict[OAuthClientName, dict[int, KeptCredential]] = {}
        self.records: list[AuditRecord] = []
        self._record_ids: set[uuid.UUID] = set()
        self.rejected: dict[uuid.UUID, datetime] = {}
        self.events: list[GrantEvent] = []
        self.rings: dict[str, asyncio.Event] = {}
        self.fences = 0

    async def reach(self) -> None:
        """Where a real store would wait for its server, and perhaps in vain."""
        await asyncio.sleep(0)
        if self.unreachable:
            raise VaultError(Reason.STORE_UNREACHABLE, "switched off", retry_after_s=1)

    def require_tenant(self, tenant: str) -> None:
        """The foreign key on tenants."""
        if tenant not in self.tenants:
            raise VaultError(Reason.TENANT_NOT_PROVISIONED, "no such tenant")

    def record(self, *records: AuditRecord) -> None:
        """Called before a change touches its rows: both happen, or neither."""
        if self.audit_unavailable:
            raise VaultError(Reason.AUDIT_UNAVAILABLE, "switched off", retry_after_s=1)
        if any(self.is_recorded(record) for record in records):
            raise VaultError(Reason.AUDIT_UNAVAILABLE, "this id is taken", retry_after_s=1)
        now = self.clock.now()
        self.records.extend(replace(record, record_time=now) for record in records)
        self._record_ids.update(record.record_id for record in records)

    def is_recorded(self, record: AuditRecord) -> bool:
        """Whether this record, and so its change, was committed before."""
        return record.record_id in self._record_ids

    def tell(self, record: AuditRecord, grant: Grant, kind: EventKind) -> None:
        """The event of a change that has just been made."""
        self.events.append(
            GrantEvent(
                event_id=record.record_id,
                tenant=grant.tenant,
                grant_id=grant.grant_id,
                owner=grant.owner,
                oauth_client=grant.oauth_client,
                provider=grant.provider,
                scopes=grant.scopes,
                kind=kind,
                state=grant.state,
                cause=grant.cause,
                generation=grant.generation,
                revision=grant.revision,
                event_time=self.clock.now(),
            )
        )
        self.ring(grant.tenant)
        self.ring_grant(grant.grant_id)

    def ring_grant(self, grant_id: uuid.UUID) -> None:
        """Wake who waits for this grant."""
        self.grant_bell.on_notification(None, 0, "", str(grant_id))

    def ring(self, tenant: str) -> None:
        """Wake who waits for this tenant's events."""
        self.rings.pop(tenant, asyncio.Event()).set()
