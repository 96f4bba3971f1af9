"""Tenants with a row in every table of a real PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tests.support.attempts import begin
from tests.support.postgres import TestDatabase
from tests.support.samples import (
    LONG_AGO,
    a_dek,
    a_grant,
    a_record,
    a_webhook,
    an_authorization,
    discard_token,
    put_client,
    put_grant,
)
from vault_service.adapters.postgres.attempts import PostgresAttemptStore
from vault_service.adapters.postgres.authorizations import PostgresAuthorizationStore
from vault_service.adapters.postgres.budgets import PostgresRateBudget
from vault_service.adapters.postgres.deks import PostgresDekStore
from vault_service.adapters.postgres.grants import PostgresGrantStore
from vault_service.adapters.postgres.oauth_clients import PostgresOAuthClientStore
from vault_service.adapters.postgres.providers import PostgresProviderStore
from vault_service.adapters.postgres.schedule import PostgresRefreshSchedule
from vault_service.adapters.postgres.secrets import PostgresSecretStore
from vault_service.adapters.postgres.tenants import PostgresTenantStore
from vault_service.adapters.postgres.webhook_queue import PostgresWebhookQueue
from vault_service.adapters.postgres.webhooks import PostgresWebhookStore
from vault_service.domain import limits
from vault_service.domain.grant import Grant
from vault_service.domain.names import OAuthClientName, SecretName
from vault_service.domain.oauth import SealedCredential
from vault_service.domain.pacing import Wanted
from vault_service.domain.secret import SecretRequest, SecretVersion
from vault_service.ports import Ask

TABLES: Final = (
    "tenants", "deks", "providers", "oauth_clients", "grants", "grant_aliases", "grant_leases",
    "authorizations", "provider_revocations", "secrets", "secret_versions", "secret_requests",
    "client_credentials", "refresh_attempts", "grant_upkeep", "provider_budgets",
    "discarded_tokens", "refresh_plans", "grant_events", "webhooks", "webhook_deliveries",
    "audit_records",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GrantRooms:
    """The stores that most tests use."""

    authorizations: PostgresAuthorizationStore
    grants: PostgresGrantStore
    attempts: PostgresAttemptStore

    @classmethod
    def of(cls, database: TestDatabase) -> GrantRooms:
        """As the role of requests."""
        return cls(
            PostgresAuthorizationStore(database.app),
            PostgresGrantStore(database.app),
            PostgresAttemptStore(database.app, database.worker, limits.SPOOL_WAIT_S),
        )

    async def put(self, grant: Grant | None = None, label: str = "mail") -> Grant:
        """A stored grant."""
        return await put_grant(self.authorizations, self.grants, grant or a_grant(), label)


async def make_tenant(database: TestDatabase, tenant: str = "acme") -> GrantRooms:
    """A tenant with a provider and an OAuthClient."""
    assert await PostgresTenantStore(database.owner).create(tenant, a_record(tenant))
    providers = PostgresProviderStore(database.app)
    await put_client(providers, PostgresOAuthClientStore(database.app), tenant)
    return GrantRooms.of(database)


async def fill_every_table(database: TestDatabase, tenant: str) -> Grant:
    """A tenant with at least one row everywhere; returns its live grant."""
    rooms = await make_tenant(database, tenant)
    await PostgresDekStore(database.app).insert(a_dek(tenant))
    secret = SecretVersion(SecretName(tenant, "", "key"), 1, b"sealed", LONG_AGO)
    request = SecretRequest("spiffe://example.org/app", "r-1", "v1.x")
    assert await PostgresSecretStore(database.app).put(secret, a_record(tenant), request=request)
    clients = PostgresOAuthClientStore(database.app)
    client = await clients.get(OAuthClientName(tenant, "crm"))
    assert client is not None
    assert await clients.add_credential(client, SealedCredential(2, b"new"), a_record(tenant))
    await PostgresRateBudget(database.app).hold_back(client.name, 60.0, a_record(tenant))
    grant = await rooms.put(a_grant(tenant))
    await begin(rooms.attempts, grant)
    ask = Ask([Wanted(False, None)], timedelta(seconds=1), 1)
    schedule = PostgresRefreshSchedule(database.app, database.worker)
    await schedule.plan({OAuthClientName(tenant, "crm"): ask})
    webhooks = PostgresWebhookStore(database.app)
    assert await webhooks.insert(a_webhook(tenant), a_record(tenant))
    revoked = await rooms.put(a_grant(tenant), label="revoked")
    assert await rooms.grants.revoke(revoked, True, a_record(tenant))
    await discard_token(rooms.authorizations, an_authorization(tenant))
    assert await PostgresWebhookQueue(database.app, database.worker).fan_out(10)
    return grant
