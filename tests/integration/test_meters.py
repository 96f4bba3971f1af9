"""What adapters tell their meters when others fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.clock import FakeClock
from tests.support.samples import a_profile
from vault_service.adapters.oauth.token_endpoint import OAuthTokenEndpoint
from vault_service.adapters.postgres.pool import Database, DatabaseSettings
from vault_service.adapters.transit.connection import operation_of
from vault_service.domain.answers import TokenEndpointError
from vault_service.domain.errors import VaultError
from vault_service.domain.oauth import ClientAuthMethod, ClientCredential
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard
from vault_service.telemetry.meters import DatabaseMeter, ProviderMeter
from vault_service.telemetry.metrics import Metrics


def series(metrics: Metrics, sample: str) -> dict[tuple[str, ...], float]:
    """Values of a sample by its labels' values, which are sorted by the labels' names."""
    return {
        tuple(found.labels[name] for name in sorted(found.labels)): found.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for found in family.samples
        if found.name == sample
    }


async def test_database_that_is_away(tmp_path: Path) -> None:
    """A statement and a transaction that fail are counted by reason, their waits for a connection
    too; a pool that never connected has no connection."""
    (tmp_path / "password").write_text("x")
    settings = DatabaseSettings(
        host=str(tmp_path), port=5432, name="x", user="x", password_file=tmp_path / "password",
        ca_file=None, pool_size=1, statement_limit_s=1.0, application_name="x",
    )  # fmt: skip
    metrics = Metrics()
    database = Database(settings, DatabaseMeter(metrics, "requests"))
    assert database.connections() == (0, 0)
    with pytest.raises(VaultError):
        await database.ping()
    with pytest.raises(VaultError):
        async with database.tenant_transaction("acme"):
            pass
    await database.close()
    errors = series(metrics, "tokenvault_database_errors_total")
    assert errors == {("requests", "STORE_UNREACHABLE"): 2}
    waits = series(metrics, "tokenvault_database_acquire_wait_seconds_count")
    assert waits == {("requests",): 2}


async def test_provider_that_is_not_reached() -> None:
    """A refresh that never left is NOT_SENT, at the endpoint's host."""
    metrics = Metrics()
    http = HttpClient(EgressGuard())
    await http.close()
    endpoint = OAuthTokenEndpoint(http, FakeClock(), ProviderMeter(metrics))
    client = ClientCredential(
        "id", Sensitive(b"secret of a client"), ClientAuthMethod.CLIENT_SECRET_BASIC
    )
    with pytest.raises(TokenEndpointError):
        await endpoint.refresh(
            a_profile(),
            client,
            token_endpoint="https://op.example:8443/token",
            refresh_token=Sensitive(b"a refresh token"),
            post_limit_s=20.0,
            answer_limit_s=20.0,
        )
    asked = series(metrics, "tokenvault_provider_request_duration_seconds_count")
    assert asked == {("NOT_SENT", "refresh"): 1}
    refreshes = series(metrics, "tokenvault_refreshes_total")
    assert refreshes == {("NOT_SENT", "op.example", "S"): 1}


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("transit/decrypt/tokenvault-prod-acme", "decrypt"),
        ("transit/encrypt/login", "encrypt"),
        ("transit/keys/tokenvault-prod-acme", "keys"),
        ("transit/unheard-of/tokenvault-prod-acme", "other"),
        ("sys/health", "health"),
        ("auth/approle/login", "login"),
        ("auth/token/renew-self", "renew-self"),
        ("auth/token/tokenvault-prod-acme", "other"),
    ],
)
def test_operations_of_transit(path: str, operation: str) -> None:
    """A label says what is done, never a key's name, which holds a tenant's."""
    assert operation_of(path, "transit") == operation
