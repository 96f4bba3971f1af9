"""What the use cases need from outside, and how each of it fails.

Every method raises only ``VaultError`` (or ``TokenEndpointError`` where said). Stores raise
STORE_UNREACHABLE when the database is away or too slow; a write that takes an ``AuditRecord``
commits the record in the same transaction as the change, or neither.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Protocol

from vault_service.domain.access import Caller, Decision, Permission, Resource
from vault_service.domain.audit import AuditRecord
from vault_service.domain.envelope import DekOwner, WrappedDek
from vault_service.domain.grant import (
    EVERY_GRANT,
    Grant,
    GrantFilter,
    Rejection,
)
from vault_service.domain.names import (
    GrantAliasName,
    GrantTarget,
    OAuthClientName,
    ProviderName,
)
from vault_service.domain.oauth import (
    Authorization,
    OAuthClient,
    SealedCredential,
)
from vault_service.domain.provider import Provider, ProviderProfile
from vault_service.domain.secret import SecretVersion
from vault_service.domain.sensitive import Sensitive
from vault_service.ports.budgets import ClientHold as ClientHold
from vault_service.ports.budgets import ClientHoldStore as ClientHoldStore
from vault_service.ports.budgets import RateBudget as RateBudget
from vault_service.ports.budgets import Taken as Taken
from vault_service.ports.consents import AuthorizationStore as AuthorizationStore
from vault_service.ports.consents import KeptConsents as KeptConsents
from vault_service.ports.endpoints import TokenEndpoint as TokenEndpoint
from vault_service.ports.events import EventBell as EventBell
from vault_service.ports.events import EventStore as EventStore
from vault_service.ports.pages import Page as Page
from vault_service.ports.refresh import AttemptStore as AttemptStore
from vault_service.ports.refresh import Ending as Ending
from vault_service.ports.refresh import GrantBell as GrantBell
from vault_service.ports.refresh import NewAttempt as NewAttempt
from vault_service.ports.refresh import Spool as Spool
from vault_service.ports.revocations import DiscardedTokens as DiscardedTokens
from vault_service.ports.revocations import QueuedRevocation as QueuedRevocation
from vault_service.ports.revocations import RevocationQueue as RevocationQueue
from vault_service.ports.schedule import Ask as Ask
from vault_service.ports.schedule import Look as Look
from vault_service.ports.schedule import RefreshSchedule as RefreshSchedule
from vault_service.ports.secrets import SecretReminders as SecretReminders
from vault_service.ports.secrets import SecretStore as SecretStore
from vault_service.ports.webhooks import WebhookEndpoint as WebhookEndpoint
from vault_service.ports.webhooks import WebhookQueue as WebhookQueue
from vault_service.ports.webhooks import WebhookStore as WebhookStore


class Clock(Protocol):
    """Two clocks: the wall for moments, the monotonic one for deadlines."""

    def now(self) -> datetime:
        """This moment, UTC, aware."""

    def monotonic(self) -> float:
        """Seconds that only go forward."""


class Entropy(Protocol):
    """Randomness from the system's generator, and ids made of it."""

    def token(self, size_bytes: int) -> bytes:
        """Random bytes."""

    def uuid7(self) -> uuid.UUID:
        """A time-ordered id (RFC 9562 §5.7)."""


class KeyWrapper(Protocol):
    """KEK over DEK, by a tenant's transit key with the DEK's row as context.

    Both raise KEK_UNREACHABLE (may work later), ``KekDenied`` (a policy or certificate is
    wrong: never served from a cache) and TENANT_NOT_PROVISIONED (no such transit key).
    """

    async def wrap(self, dek_id: bytes, owner: DekOwner, key: Sensitive) -> WrappedDek:
        """Wrap a new 32-byte DEK."""

    async def unwrap(self, wrapped: WrappedDek) -> Sensitive:
        """The 32-byte DEK; ENVELOPE_CORRUPT when the ciphertext is not of this row."""


class DekStore(Protocol):
    """The table deks."""

    async def find(self, tenant: str, dek_id: bytes) -> WrappedDek | None:
        """The DEK with this id, or None."""

    async def find_current(self, owner: DekOwner) -> WrappedDek | None:
        """The DEK that seals for this owner now, or None."""

    async def insert(self, dek: WrappedDek) -> WrappedDek:
        """Insert unless the owner has one; returns the row that stands. TENANT_NOT_PROVISIONED."""


class TenantStore(Protocol):
    """The table tenants."""

    async def exists(self, tenant: str) -> bool:
        """Whether the tenant was created."""

    async def create(self, tenant: str, record: AuditRecord) -> bool:
        """Create it; False when it was there already (then nothing is recorded)."""


class ProviderStore(Protocol):
    """The table providers."""

    async def put(
        self, name: ProviderName, profile: ProviderProfile, record: AuditRecord
    ) -> Provider:
        """Create or replace. TENANT_NOT_PROVISIONED."""

    async def get(self, name: ProviderName) -> Provider | None:
        """One provider or None."""

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[Provider]:
        """By id. FIELD_MALFORMED for a page token that is not ours."""


class OAuthClientStore(Protocol):
    """The tables oauth_clients and client_credentials."""

    async def put(self, client: OAuthClient, expected_revision: int, record: AuditRecord) -> bool:
        """Create (expected 0) or replace the row at that revision; False when it has moved.

        A credential that another version takes the place of is retired. Suspension stays as it
        is. CLIENT_ID_IN_USE when another OAuthClient has this client_id at this issuer.
        """

    async def get(self, name: OAuthClientName) -> OAuthClient | None:
        """One OAuthClient or None."""

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[OAuthClient]:
        """By id."""

    async def next_credential_version(self, name: OAuthClientName) -> int:
        """One more than every number that was ever given to a credential of it."""

    async def add_credential(
        self, client: OAuthClient, credential: SealedCredential, record: AuditRecord
    ) -> bool:
        """Use this one from now on and keep the one in use beside it; False when the row has
        moved since ``client.revision``."""

    async def retire_credential(
        self, client: OAuthClient, version: int, record: AuditRecord
    ) -> bool:
        """Destroy one envelope; the newest other one is in use from now on where it was this.
        False when the row has moved since ``client.revision``, or no other one is left."""

    async def older_credential(self, client: OAuthClient) -> SealedCredential | None:
        """The newest one that is not retired beside the one in use, or None."""

    async def suspend(
        self, name: OAuthClientName, suspended: bool, record: AuditRecord
    ) -> OAuthClient | None:
        """Suspend, or end it; None when there is no such OAuthClient. One that is so already
        stays as it is, and nothing is recorded."""


class GrantStore(Protocol):
    """The table grants and its aliases."""

    async def get(self, target: GrantTarget) -> Grant | None:
        """By name or alias."""

    async def get_by_subject(self, client: OAuthClientName, subject: str) -> Grant | None:
        """The one live (not REVOKED) grant of this provider subject."""

    async def insert(self, grant: Grant, authorization: Authorization, record: AuditRecord) -> bool:
        """A new grant, its alias and the authorization's outcome; False: the subject has one.

        An authorization that has its outcome already stays as it is (True, nothing is written):
        one consent makes one grant, however often its storing is tried. ``reconnect`` likewise.
        """

    async def reconnect(
        self,
        grant: Grant,
        expected_revision: int,
        authorization: Authorization,
        record: AuditRecord,
        *,
        only_newest: bool = False,
    ) -> bool:
        """The same account consented again: write the row as given, generation included, its
        alias and the outcome; False when the row has moved since ``expected_revision``, or would
        carry on a refresh token that is in question. ``only_newest``: False too when
        ``is_consented_since``."""

    async def is_consented_since(self, grant: Grant, authorization: Authorization) -> bool:
        """Whether the grant has a consent, of any owner and label, that was claimed later."""

    async def list(
        self,
        tenant: str,
        owner: str,
        page_size: int,
        page_token: str,
        only: GrantFilter = EVERY_GRANT,
    ) -> Page[Grant]:
        """By id, without deleted ones; ``owner`` "" means all. Grants that an alias of the owner
        points at count."""

    async def delete(self, grant: Grant, record: AuditRecord) -> Grant | None:
        """Give a REVOKED grant its delete_time and take away the aliases that point at it; None
        when it is not REVOKED, is deleted already or is not there."""

    async def revoke(self, grant: Grant, queued: bool, record: AuditRecord) -> Grant | None:
        """Tombstone: REVOKED, envelopes out of the row, leases ended; when ``queued`` the refresh
        token's envelope goes to the revocation queue in the same transaction. Returns the row
        as it stands, None when it was gone. A grant already REVOKED stays as it is."""

    async def reject(self, grant: Grant, interval_s: float, record: AuditRecord) -> Rejection:
        """Mark ``grant.generation`` as refused by an API, once, and not within ``interval_s`` of
        another generation's mark; the record goes with the mark only. GRANT_NOT_FOUND."""

    async def queue_revocation(
        self, grant: Grant, refresh_envelope: bytes, generation: int, record: AuditRecord
    ) -> None:
        """Queue a refresh token that arrived after its grant was revoked."""


class GrantAliasStore(Protocol):
    """The aliases that callers link themselves; a consent makes its own."""

    async def link(
        self, alias: GrantAliasName, grant: Grant, record: AuditRecord
    ) -> uuid.UUID | None:
        """Point a new alias at the grant. Returns the id of the grant that the alias points at
        now: another one's where it was taken, which stays so. Nothing is recorded where it was
        there. None when the grant is REVOKED or gone."""

    async def unlink(self, alias: GrantAliasName, grant: Grant, record: AuditRecord) -> bool:
        """Take the alias away; False when it does not point at this grant (any more)."""


class AuditLog(Protocol):
    """The record. AUDIT_UNAVAILABLE when it cannot be made durable; OVERLOADED when full."""

    async def append(self, record: AuditRecord) -> None:
        """Durable when it returns."""

    async def disclose(
        self, record: AuditRecord, grant: Grant, alias: GrantAliasName | None = None
    ) -> bool:
        """Durable, and the grant was ACTIVE at ``grant.revision`` when it committed, with
        ``alias`` pointing at it where one is given; False: it was not, had moved or its
        OAuthClient is suspended; nothing was written, read the grant again."""

    async def disclose_secret(self, record: AuditRecord, version: SecretVersion) -> bool:
        """Durable, and the version had its value and had not expired when it committed; False:
        nothing was written, read the version again."""

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[AuditRecord]:
        """Newest first."""


class Policy(Protocol):
    """Who may do what. Never raises: what cannot be decided is denied."""

    @property
    def version(self) -> str:
        """Hash of the policy in force."""

    def decide(self, caller: Caller, permission: Permission, resource: Resource) -> Decision:
        """Default deny."""


class TenantKeys(Protocol):
    """The admin's side of transit: makes a tenant's KEK. Only `tokenvault tenant create` has it."""

    async def create_tenant_key(self, tenant: str) -> str:
        """Create the transit key, or find the right one there already; returns its name. Reads it
        back and compares (creating over a key of another type silently succeeds). INTERNAL when
        it differs, KEK_UNREACHABLE, ``KekDenied``."""


class EndpointGuard(Protocol):
    """Whether a URL may ever be called from here (egress rules, without a look-up)."""

    def check(self, url: str) -> None:
        """Raises ENDPOINT_NOT_ALLOWED with what is wrong."""
