"""In-memory stores with the semantics of the real ones (tests/contract holds them to it)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from tests.fakes.aliases import FakeGrantAliasStore
from tests.fakes.attempts import FakeAttemptStore
from tests.fakes.budgets import FakeRateBudget
from tests.fakes.clock import FakeClock
from tests.fakes.consents import FakeAuthorizationStore, FakeDiscardedTokens, FakeKeptConsents
from tests.fakes.events import FakeEventBell, FakeEventStore
from tests.fakes.grant_stores import (
    FakeGrantStore,
    FakeRevocationQueue,
)
from tests.fakes.oauth_clients import FakeOAuthClientStore
from tests.fakes.paging import page_by_id
from tests.fakes.schedule import FakeRefreshSchedule
from tests.fakes.secret_stores import FakeSecretReminders, FakeSecretStore, stamped
from tests.fakes.tables import FakeTables
from tests.fakes.webhooks import FakeWebhooks
from vault_service.adapters.postgres import pages
from vault_service.domain.audit import AuditRecord
from vault_service.domain.envelope import DekOwner, WrappedDek
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.names import GrantAliasName, OAuthClientName, ProviderName
from vault_service.domain.provider import Provider, ProviderProfile
from vault_service.domain.secret import SecretVersion, SecretVersionState
from vault_service.ports import Page


class FakeTenantStore:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def exists(self, tenant: str) -> bool:
        await self._tables.reach()
        return tenant in self._tables.tenants

    async def create(self, tenant: str, record: AuditRecord) -> bool:
        await self._tables.reach()
        if tenant in self._tables.tenants:
            return False
        self._tables.record(record)
        self._tables.tenants.add(tenant)
        return True


class FakeDekStore:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def find(self, tenant: str, dek_id: bytes) -> WrappedDek | None:
        await self._tables.reach()
        dek = self._tables.deks.get(dek_id)
        return dek if dek and dek.dek_owner.tenant == tenant else None

    async def find_current(self, owner: DekOwner) -> WrappedDek | None:
        await self._tables.reach()
        return next((d for d in self._tables.deks.values() if d.dek_owner == owner), None)

    async def insert(self, dek: WrappedDek) -> WrappedDek:
        await self._tables.reach()
        self._tables.require_tenant(dek.dek_owner.tenant)
        standing = await self.find_current(dek.dek_owner)
        return standing or self._tables.deks.setdefault(dek.dek_id, dek)


class FakeProviderStore:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def put(
        self, name: ProviderName, profile: ProviderProfile, record: AuditRecord
    ) -> Provider:
        await self._tables.reach()
        self._tables.require_tenant(name.tenant)
        self._tables.record(record)
        now = self._tables.clock.now()
        old = self._tables.providers.get(name)
        provider = (
            replace(old, profile=profile, revision=old.revision + 1, update_time=now)
            if old
            else Provider(name, profile, 1, now, now)
        )
        self._tables.providers[name] = provider
        return provider

    async def get(self, name: ProviderName) -> Provider | None:
        await self._tables.reach()
        return self._tables.providers.get(name)

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[Provider]:
        after = pages.text_key(page_token)
        await self._tables.reach()
        return page_by_id(
            [p for p in self._tables.providers.values() if p.name.tenant == tenant],
            page_size,
            lambda provider: provider.name.provider,
            after,
        )


class FakeAuditLog:
    def __init__(self, tables: FakeTables) -> None:
        self._tables = tables

    async def append(self, record: AuditRecord) -> None:
        await self._reach()
        self._tables.record(record)

    async def disclose(
        self, record: AuditRecord, grant: Grant, alias: GrantAliasName | None = None
    ) -> bool:
        await self._reach()
        if alias is not None and self._tables.aliases.get(alias) != grant.grant_id:
            return False
        current = self._tables.grants.get(grant.grant_id)
        if (
            current is None
            or current.tenant != record.tenant
            or current.state is not GrantState.ACTIVE
            or current.revision != grant.revision
            or self._is_suspended(current)
        ):
            return False
        self._tables.record(record)
        return True

    async def disclose_secret(self, record: AuditRecord, version: SecretVersion) -> bool:
        await self._reach()
        current = next(
            (v for v in self._tables.secrets.get(version.name, ()) if v.version == version.version),
            None,
        )
        if current is None or version.name.tenant != record.tenant:
            return False
        if stamped(current, self._tables.clock.now()).state is not SecretVersionState.ACTIVE:
            return False
        self._tables.record(record)
        return True

    def _is_suspended(self, grant: Grant) -> bool:
        client = self._tables.oauth_clients.get(OAuthClientName(grant.tenant, grant.oauth_client))
        return client is not None and client.suspend_time is not None

    async def list(self, tenant: str, page_size: int, page_token: str) -> Page[AuditRecord]:
        before = pages.uuid_key(page_token, pages.LAST_UUID)
        await self._tables.reach()
        found = sorted(
            (r for r in self._tables.records if r.tenant == tenant and r.record_id < before),
            key=lambda record: record.record_id,
            reverse=True,
        )
        return pages.page_of(found, page_size, lambda record: record.record_id.bytes)

    async def close(self) -> None:
        """Nothing waits here."""

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self._tables.unreachable:
            raise VaultError(Reason.AUDIT_UNAVAILABLE, "switched off", retry_after_s=1)


class FakeStores:
    """All stores over the same rows.

    ``unreachable`` makes every call fail with STORE_UNREACHABLE (AUDIT_UNAVAILABLE for the audit
    log's writes); ``audit_unavailable`` only what writes a record. Tenants are given here, or
    created.
    """

    def __init__(self, clock: FakeClock | None = None, tenants: Sequence[str] = ()) -> None:
        self.tables = FakeTables(clock or FakeClock())
        self.tables.tenants.update(tenants)
        self.clock = self.tables.clock
        self.tenants = FakeTenantStore(self.tables)
        self.deks = FakeDekStore(self.tables)
        self.providers = FakeProviderStore(self.tables)
        self.oauth_clients = FakeOAuthClientStore(self.tables)
        self.authorizations = FakeAuthorizationStore(self.tables)
        self.kept_consents = FakeKeptConsents(self.tables)
        self.grants = FakeGrantStore(self.tables)
        self.attempts = FakeAttemptStore(self.tables)
        self.budget = FakeRateBudget(self.tables)
        self.revocations = FakeRevocationQueue(self.tables)
        self.discarded = FakeDiscardedTokens(self.tables)
        self.aliases = FakeGrantAliasStore(self.tables)
        self.secrets = FakeSecretStore(self.tables)
        self.reminders = FakeSecretReminders(self.tables)
        self.schedule = FakeRefreshSchedule(self.tables)
        self.events = FakeEventStore(self.tables)
        self.bell = FakeEventBell(self.tables)
        self.webhooks = FakeWebhooks(self.tables)
        self.audit = FakeAuditLog(self.tables)

    @property
    def unreachable(self) -> bool:
        """The database is away."""
        return self.tables.unreachable

    @unreachable.setter
    def unreachable(self, away: bool) -> None:
        self.tables.unreachable = away

    @property
    def audit_unavailable(self) -> bool:
        """The table of records takes nothing."""
        return self.tables.audit_unavailable

    @audit_unavailable.setter
    def audit_unavailable(self, away: bool) -> None:
        self.tables.audit_unavailable = away

    @property
    def records(self) -> list[AuditRecord]:
        """All records of all tenants, oldest first."""
        return self.tables.records
