"""Tenants, providers and OAuthClients: one suite for the fakes and for PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import a_full_profile, a_profile, a_record, an_oauth_client
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import ClientAuthMethod


async def _reason(call: Awaitable[object]) -> Reason:
    with pytest.raises(VaultError) as refused:
        await call
    return refused.value.reason


async def test_tenant_is_created_once(stores: Stores) -> None:
    """Creating a tenant again says so and records nothing."""
    record = a_record("initech")
    assert not await stores.tenants.exists("initech")
    assert await stores.tenants.create("initech", record)
    assert await stores.tenants.exists("initech")
    assert not await stores.tenants.create("initech", a_record("initech"))
    assert [one.record_id for one in await stores.records("initech")] == [record.record_id]


async def test_provider_keeps_every_field(stores: Stores) -> None:
    """A profile reads back as it was put, at the next revision each time."""
    name = ProviderName("acme", "op")
    profile = a_full_profile()
    put = await stores.providers.put(name, profile, a_record())
    assert put.profile == profile
    assert put.revision == 2
    assert put.create_time <= put.update_time
    assert await stores.providers.get(name) == put
    assert await stores.providers.get(ProviderName("globex", "other")) is None


async def test_provider_of_unknown_tenant(stores: Stores) -> None:
    """A provider of a tenant that was not created is TENANT_NOT_PROVISIONED."""
    name = ProviderName("nowhere", "op")
    put = stores.providers.put(name, a_profile(), a_record("nowhere"))
    assert await _reason(put) is Reason.TENANT_NOT_PROVISIONED
    assert await stores.records("nowhere") == []


async def test_providers_are_listed_in_pages(stores: Stores) -> None:
    """Providers of one tenant come by id, in pages; a foreign page token is refused."""
    for provider in ("b-2", "a", "b", "b1"):
        await stores.providers.put(ProviderName("acme", provider), a_profile(), a_record())
    first = await stores.providers.list("acme", 3, "")
    rest = await stores.providers.list("acme", 3, first.next_token)
    seen = [one.name.provider for one in (*first.items, *rest.items)]
    assert (seen, rest.next_token) == (["a", "b", "b-2", "b1", "op"], "")
    assert await _reason(stores.providers.list("acme", 3, "?")) is Reason.FIELD_MALFORMED


async def test_oauth_client_keeps_every_field(stores: Stores) -> None:
    """An OAuthClient reads back as it was put."""
    client = an_oauth_client(
        name="erp",
        auth_method=ClientAuthMethod.NONE,
        credential_version=3,
        token_params={"audience": "https://api.example/ü"},
    )
    assert await stores.oauth_clients.put(client, 0, a_record())
    stored = await stores.oauth_clients.get(client.name)
    assert stored is not None
    times: dict[str, Any] = {"create_time": stored.create_time, "update_time": stored.update_time}
    (used,) = stored.credentials
    assert used.version == 3
    assert stored == replace(client, revision=1, credentials=(used,), **times)
    assert await stores.oauth_clients.get(OAuthClientName("globex", "erp")) is None


async def test_oauth_client_is_compared_and_swapped(stores: Stores) -> None:
    """A row that is there already or has moved is not replaced, and nothing is recorded."""
    client = replace(an_oauth_client(), scopes=("new",))
    before = len(await stores.records())
    assert not await stores.oauth_clients.put(client, 0, a_record())
    assert not await stores.oauth_clients.put(client, 2, a_record())
    assert len(await stores.records()) == before
    assert await stores.oauth_clients.put(client, 1, a_record())
    stored = await stores.oauth_clients.get(client.name)
    assert stored is not None
    assert (stored.revision, stored.scopes) == (2, ("new",))


async def test_one_registration_has_one_holder(stores: Stores) -> None:
    """The same client_id at the same issuer is refused, in the same tenant and in another."""
    for client in (
        an_oauth_client("acme", "second", client_id="acme-crm"),
        an_oauth_client("globex", "second", client_id="acme-crm"),
    ):
        put = stores.oauth_clients.put(client, 0, a_record(client.name.tenant))
        assert await _reason(put) is Reason.CLIENT_ID_IN_USE
    moved = an_oauth_client("globex", client_id="acme-crm")
    put = stores.oauth_clients.put(moved, 1, a_record("globex"))
    assert await _reason(put) is Reason.CLIENT_ID_IN_USE
    elsewhere = an_oauth_client("acme", "second", issuer="https://other.example")
    assert await stores.oauth_clients.put(elsewhere, 0, a_record())


async def test_oauth_client_wants_its_parents(stores: Stores) -> None:
    """An OAuthClient of an unknown tenant or provider is refused with that reason."""
    nowhere = an_oauth_client("nowhere")
    put = stores.oauth_clients.put(nowhere, 0, a_record("nowhere"))
    assert await _reason(put) is Reason.TENANT_NOT_PROVISIONED
    orphan = an_oauth_client(name="orphan", provider="unknown")
    put = stores.oauth_clients.put(orphan, 0, a_record())
    assert await _reason(put) is Reason.PROVIDER_NOT_FOUND


async def test_oauth_clients_are_listed(stores: Stores) -> None:
    """OAuthClients of one tenant come by id, in pages."""
    await stores.oauth_clients.put(an_oauth_client(name="a"), 0, a_record())
    first = await stores.oauth_clients.list("acme", 1, "")
    rest = await stores.oauth_clients.list("acme", 1, first.next_token)
    names = [one.name.oauth_client for one in (*first.items, *rest.items)]
    assert (names, rest.next_token) == (["a", "crm"], "")


async def test_no_change_without_its_record(stores: Stores) -> None:
    """Where the record cannot be written, providers and OAuthClients stay as they are."""
    await stores.behind.break_audit()
    name = ProviderName("acme", "new")
    changes = [
        stores.providers.put(name, a_profile(), a_record()),
        stores.oauth_clients.put(an_oauth_client(name="new"), 0, a_record()),
    ]
    for change in changes:
        assert await _reason(change) is Reason.AUDIT_UNAVAILABLE
    assert await stores.providers.get(name) is None
    assert await stores.oauth_clients.get(OAuthClientName("acme", "new")) is None


async def test_concurrent_creates_of_one_client(stores: Stores) -> None:
    """Of many creations of one OAuthClient at one moment exactly one succeeds."""
    puts = (stores.oauth_clients.put(an_oauth_client(name="new"), 0, a_record()) for _ in range(6))
    assert sorted(await asyncio.gather(*puts)) == [False] * 5 + [True]
