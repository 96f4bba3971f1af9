"""Overlapping credentials and suspension of OAuthClients: fakes and PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import a_grant, a_record, put_grant
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import ClientAuthMethod, OAuthClient, SealedCredential

_CRM = OAuthClientName("acme", "crm")


async def _read(stores: Stores, name: OAuthClientName = _CRM) -> OAuthClient:
    client = await stores.oauth_clients.get(name)
    assert client is not None
    return client


async def _add(stores: Stores, version: int) -> bool:
    sealed = SealedCredential(version, f"sealed {version}".encode())
    return await stores.oauth_clients.add_credential(await _read(stores), sealed, a_record())


def _versions(client: OAuthClient) -> list[int]:
    return [one.version for one in client.credentials]


async def test_the_newest_one_is_in_use(stores: Stores) -> None:
    """An added credential is in use, the others stay beside it, newest first."""
    assert await stores.oauth_clients.next_credential_version(_CRM) == 2
    assert await stores.oauth_clients.older_credential(await _read(stores)) is None
    assert await _add(stores, 2)
    assert await _add(stores, 3)
    client = await _read(stores)
    assert (client.credential_version, client.credential_envelope) == (3, b"sealed 3")
    assert (_versions(client), client.revision) == ([3, 2, 1], 3)
    older = await stores.oauth_clients.older_credential(client)
    assert older == SealedCredential(2, b"sealed 2")
    times = [one.create_time for one in client.credentials if one.create_time]
    assert times == sorted(times, reverse=True)
    listed = await stores.oauth_clients.list("acme", 50, "")
    assert [_versions(one) for one in listed.items] == [[3, 2, 1]]


async def test_retiring(stores: Stores) -> None:
    """The heir of a retired credential is the newest other one; the last one cannot be retired,
    and no number is given twice."""
    for version in (2, 3):
        await _add(stores, version)
    clients = stores.oauth_clients
    assert await clients.retire_credential(await _read(stores), 2, a_record())
    assert _versions(await _read(stores)) == [3, 1]
    assert await clients.retire_credential(await _read(stores), 3, a_record())
    client = await _read(stores)
    assert (_versions(client), client.credential_envelope) == ([1], b"sealed credential")
    before = len(await stores.records())
    assert not await clients.retire_credential(client, 1, a_record())
    assert len(await stores.records()) == before
    assert await clients.next_credential_version(_CRM) == 4
    assert await _add(stores, 4)
    assert await clients.retire_credential(await _read(stores), 1, a_record())
    assert _versions(await _read(stores)) == [4]
    assert await clients.older_credential(await _read(stores)) is None


async def test_a_put_retires_what_it_replaces(stores: Stores) -> None:
    """Putting another credential retires the one in use; the ones beside it stay."""
    await _add(stores, 2)
    client = await _read(stores)
    new = replace(client, credential_envelope=b"put", credential_version=3)
    assert await stores.oauth_clients.put(new, client.revision, a_record())
    assert _versions(await _read(stores)) == [3, 1]
    same = replace(await _read(stores), scopes=("x",))
    assert await stores.oauth_clients.put(same, same.revision, a_record())
    again = await _read(stores)
    assert (_versions(again), again.credentials) == ([3, 1], same.credentials)


async def test_changes_are_compared_and_swapped(stores: Stores) -> None:
    """Of changes of one row at one moment one is made and the others record nothing."""
    client, before = await _read(stores), len(await stores.records())
    sealed = SealedCredential(2, b"new")
    adds = (stores.oauth_clients.add_credential(client, sealed, a_record()) for _ in range(4))
    assert sorted(await asyncio.gather(*adds)) == [False] * 3 + [True]
    assert not await stores.oauth_clients.retire_credential(client, 1, a_record())
    assert len(await stores.records()) == before + 1


async def test_suspended_and_resumed(stores: Stores) -> None:
    """A suspension is recorded once, survives a put, and ends once."""
    clients = stores.oauth_clients
    before = len(await stores.records())
    first = await clients.suspend(_CRM, True, a_record())
    again = await clients.suspend(_CRM, True, a_record())
    assert first is not None
    assert first.suspend_time is not None
    assert again == first
    assert len(await stores.records()) == before + 1
    assert await clients.put(replace(first, suspend_time=None), first.revision, a_record())
    assert (await _read(stores)).suspend_time == first.suspend_time
    resumed = await clients.suspend(_CRM, False, a_record())
    assert resumed is not None
    assert resumed.suspend_time is None
    assert await clients.suspend(_CRM, False, a_record()) == resumed
    assert await clients.suspend(OAuthClientName("acme", "nope"), True, a_record()) is None
    assert len(await stores.records()) == before + 3


async def test_no_disclosure_while_suspended(stores: Stores) -> None:
    """A grant of a suspended OAuthClient is not disclosed; one of another tenant's is."""
    grant = await put_grant(stores.authorizations, stores.grants, a_grant())
    other = await put_grant(stores.authorizations, stores.grants, a_grant("globex"))
    await stores.oauth_clients.suspend(_CRM, True, a_record())
    assert not await stores.audit.disclose(a_record(), grant)
    assert await stores.audit.disclose(a_record("globex"), other)
    await stores.oauth_clients.suspend(_CRM, False, a_record())
    assert await stores.audit.disclose(a_record(), grant)


async def test_no_change_without_its_record(stores: Stores) -> None:
    """Where the record cannot be written, credentials and suspension stay as they are."""
    await _add(stores, 2)
    client = await _read(stores)
    await stores.behind.break_audit()
    for change in (
        stores.oauth_clients.add_credential(client, SealedCredential(3, b"x"), a_record()),
        stores.oauth_clients.retire_credential(client, 2, a_record()),
        stores.oauth_clients.suspend(_CRM, True, a_record()),
    ):
        with pytest.raises(VaultError) as refused:
            await change
        assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
    assert await _read(stores) == client


async def test_a_public_client_keeps_no_secret(stores: Stores) -> None:
    """What becomes public loses the credential in use and every one beside it."""
    await _add(stores, 2)
    known = await _read(stores)
    public = replace(
        known,
        auth_method=ClientAuthMethod.NONE,
        credential_envelope=b"sealed nothing",
        credential_version=3,
    )
    assert await stores.oauth_clients.put(public, known.revision, a_record())
    client = await _read(stores)
    assert (client.is_public, _versions(client)) == (True, [3])
    assert await stores.oauth_clients.older_credential(client) is None
    assert await stores.oauth_clients.next_credential_version(_CRM) == 4
