"""The stores of one suite: in memory, and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from tests.fakes.stores import FakeStores
from tests.support.postgres import TestDatabase
from tests.support.samples import a_record, put_client
from vault_service.adapters.postgres.abandoned_spools import PostgresAbandonedSpools
from vault_service.adapters.postgres.aliases import PostgresGrantAliasStore
from vault_service.adapters.postgres.attempts import PostgresAttemptStore
from vault_service.adapters.postgres.audit import PostgresAuditLog
from vault_service.adapters.postgres.authorizations import PostgresAuthorizationStore
from vault_service.adapters.postgres.bell import PostgresEventBell
from vault_service.adapters.postgres.budgets import PostgresRateBudget
from vault_service.adapters.postgres.deks import PostgresDekStore
from vault_service.adapters.postgres.discarded_tokens import PostgresDiscardedTokens
from vault_service.adapters.postgres.events import PostgresEventStore
from vault_service.adapters.postgres.grant_bell import PostgresGrantBell
from vault_service.adapters.postgres.grants import PostgresGrantStore
from vault_service.adapters.postgres.kept_consents import PostgresKeptConsents
from vault_service.adapters.postgres.oauth_clients import PostgresOAuthClientStore
from vault_service.adapters.postgres.providers import PostgresProviderStore
from vault_service.adapters.postgres.revocations import PostgresRevocationQueue
from vault_service.adapters.postgres.schedule import PostgresRefreshSchedule
from vault_service.adapters.postgres.secret_upkeep import PostgresSecretReminders
from vault_service.adapters.postgres.secrets import PostgresSecretStore
from vault_service.adapters.postgres.tenants import PostgresTenantStore
from vault_service.adapters.postgres.webhook_queue import PostgresWebhookQueue
from vault_service.adapters.postgres.webhooks import PostgresWebhookStore
from vault_service.domain import limits
from vault_service.domain.audit import AuditRecord
from vault_service.ports import (
    AttemptStore,
    AuditLog,
    AuthorizationStore,
    ClientHoldStore,
    DekStore,
    DiscardedTokens,
    EventStore,
    GrantAliasStore,
    GrantBell,
    GrantStore,
    KeptConsents,
    OAuthClientStore,
    ProviderStore,
    RateBudget,
    RefreshSchedule,
    RevocationQueue,
    SecretReminders,
    SecretStore,
    TenantStore,
    WebhookQueue,
    WebhookStore,
)

_RECORDING_ROLES = ("tokenvault_app", "tokenvault_disclosure")


@dataclass(frozen=True, slots=True)
class Stores:
    """Every store port, over the same rows."""

    tenants: TenantStore
    deks: DekStore
    providers: ProviderStore
    oauth_clients: OAuthClientStore
    authorizations: AuthorizationStore
    kept_consents: KeptConsents
    grants: GrantStore
    attempts: AttemptStore
    budget: RateBudget
    holds: ClientHoldStore
    revocations: RevocationQueue
    discarded: DiscardedTokens
    aliases: GrantAliasStore
    secrets: SecretStore
    reminders: SecretReminders
    schedule: RefreshSchedule
    events: EventStore
    webhooks: WebhookStore
    webhook_queue: WebhookQueue
    audit: AuditLog
    bell: GrantBell
    behind: Behind

    async def records(self, tenant: str = "acme") -> list[AuditRecord]:
        """All records of a tenant, newest first."""
        return list((await self.audit.list(tenant, 500, "")).items)

    async def with_tenant(self, tenant: str) -> None:
        """A tenant with the provider ``op`` and the OAuthClient ``crm``."""
        await self.tenants.create(tenant, a_record(tenant))
        await put_client(self.providers, self.oauth_clients, tenant)


class Behind(Protocol):
    """What a test does behind the stores' back."""

    async def advance(self, seconds: float) -> None:
        """Let time pass on the stores' clock."""

    async def make_due(self) -> None:
        """Let all queued revocations be due, and those taken or postponed too."""

    async def make_deliveries_due(self) -> None:
        """Let all deliveries to webhooks be due."""

    async def abandon_spool(self, spool_id: uuid.UUID) -> None:
        """Give a spool up, as an operator does."""

    async def break_audit(self) -> None:
        """From now on the table of records takes nothing."""


class _BehindFakes:
    def __init__(self, stores: FakeStores) -> None:
        self._stores = stores

    async def advance(self, seconds: float) -> None:
        self._stores.clock.advance(seconds)

    async def make_due(self) -> None:
        for queue_id in self._stores.tables.due:
            self._stores.tables.due[queue_id] = self._stores.clock.now()

    async def make_deliveries_due(self) -> None:
        for row in self._stores.webhooks.rows.values():
            row.due = self._stores.clock.now()

    async def abandon_spool(self, spool_id: uuid.UUID) -> None:
        self._stores.tables.abandoned_spools.add(spool_id)

    async def break_audit(self) -> None:
        self._stores.audit_unavailable = True


class _BehindPostgres:
    def __init__(self, database: TestDatabase) -> None:
        self._database = database

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def make_due(self) -> None:
        await self._database.sql(
            "UPDATE provider_revocations SET next_attempt_time = clock_timestamp()"
        )
        await self._database.sql(
            "UPDATE discarded_tokens SET next_attempt_time = clock_timestamp()"
        )

    async def make_deliveries_due(self) -> None:
        await self._database.sql(
            "UPDATE webhook_deliveries SET next_attempt_time = clock_timestamp()"
        )

    async def abandon_spool(self, spool_id: uuid.UUID) -> None:
        await PostgresAbandonedSpools(self._database.app).abandon(spool_id, a_record())

    async def break_audit(self) -> None:
        for role in _RECORDING_ROLES:
            await self._database.sql(f"REVOKE INSERT ON audit_records FROM {role}")


@pytest.fixture(params=["fake", "postgres"])
def stores(request: pytest.FixtureRequest) -> Stores:
    """Stores with the tenants ``acme`` and ``globex``, each with a provider and a client."""
    made: Stores = request.getfixturevalue(f"{request.param}_stores")
    return made


@pytest.fixture
async def fake_stores() -> Stores:
    """In memory."""
    return await _with_tenants(_fakes())


@pytest.fixture
async def postgres_stores(database: TestDatabase) -> AsyncIterator[Stores]:
    """On a real server."""
    bell = PostgresGrantBell()
    made, log = _on_postgres(database, bell)
    listening = asyncio.create_task(PostgresEventBell(database.app, bell).listen())
    yield await _with_tenants(made)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await log.close()
    for role in _RECORDING_ROLES:
        await database.sql(f"GRANT INSERT ON audit_records TO {role}")


async def _with_tenants(made: Stores) -> Stores:
    for tenant in ("acme", "globex"):
        await made.with_tenant(tenant)
    return made


def _fakes() -> Stores:
    fakes = FakeStores()
    return Stores(
        tenants=fakes.tenants,
        deks=fakes.deks,
        providers=fakes.providers,
        oauth_clients=fakes.oauth_clients,
        authorizations=fakes.authorizations,
        kept_consents=fakes.kept_consents,
        grants=fakes.grants,
        attempts=fakes.attempts,
        budget=fakes.budget,
        holds=fakes.budget,
        revocations=fakes.revocations,
        discarded=fakes.discarded,
        aliases=fakes.aliases,
        secrets=fakes.secrets,
        reminders=fakes.reminders,
        schedule=fakes.schedule,
        events=fakes.events,
        webhooks=fakes.webhooks,
        webhook_queue=fakes.webhooks,
        audit=fakes.audit,
        bell=fakes.tables.grant_bell,
        behind=_BehindFakes(fakes),
    )


def _on_postgres(
    database: TestDatabase, bell: PostgresGrantBell
) -> tuple[Stores, PostgresAuditLog]:
    log = PostgresAuditLog(database.app)
    stores = Stores(
        tenants=PostgresTenantStore(database.owner),
        deks=PostgresDekStore(database.app),
        providers=PostgresProviderStore(database.app),
        oauth_clients=PostgresOAuthClientStore(database.app),
        authorizations=PostgresAuthorizationStore(database.app),
        kept_consents=PostgresKeptConsents(database.app, database.worker),
        grants=PostgresGrantStore(database.app),
        attempts=PostgresAttemptStore(database.app, database.worker, limits.SPOOL_WAIT_S),
        budget=PostgresRateBudget(database.app),
        holds=PostgresRateBudget(database.app),
        revocations=PostgresRevocationQueue(database.app, database.worker),
        discarded=PostgresDiscardedTokens(database.app, database.worker),
        aliases=PostgresGrantAliasStore(database.app),
        secrets=PostgresSecretStore(database.app),
        reminders=PostgresSecretReminders(database.app, database.worker),
        schedule=PostgresRefreshSchedule(database.app, database.worker),
        events=PostgresEventStore(database.app),
        webhooks=PostgresWebhookStore(database.app),
        webhook_queue=PostgresWebhookQueue(database.app, database.worker),
        audit=log,
        bell=bell,
        behind=_BehindPostgres(database),
    )
    return stores, log
