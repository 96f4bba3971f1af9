"""ports.RevocationQueue: one suite for the fakes and for PostgreSQL."""

from __future__ import annotations

import asyncio

from tests.contract.conftest import Stores
from tests.support.samples import a_grant, a_record, put_grant
from vault_service.domain.audit import AuditAction
from vault_service.domain.grant import Grant, ProviderRevocation


async def _put(stores: Stores, tenant: str = "acme", label: str = "mail") -> Grant:
    return await put_grant(stores.authorizations, stores.grants, a_grant(tenant), label)


async def _revoked(stores: Stores, tenant: str = "acme", label: str = "mail") -> Grant:
    grant = await _put(stores, tenant, label)
    tombstone = await stores.grants.revoke(grant, True, a_record(tenant))
    assert tombstone is not None
    return tombstone


async def test_due_revocations_of_all_tenants(stores: Stores) -> None:
    """The worker gets what is due of every tenant, the oldest first, and hides it from others."""
    grants = {(await _revoked(stores, tenant)).grant_id for tenant in ("acme", "globex")}
    items = await stores.revocations.take_due(10, {})
    assert {item.grant.grant_id for item in items} == grants
    assert all(item.refresh_envelope == b"sealed refresh token 1" for item in items)
    assert all((item.generation, item.attempts) == (1, 0) for item in items)
    assert list(await stores.revocations.take_due(10, {})) == []
    await stores.behind.make_due()
    assert len(await stores.revocations.take_due(1, {})) == 1
    assert len(await stores.revocations.take_due(10, {})) == 1


async def test_taken_rows_are_hidden_from_both(stores: Stores) -> None:
    """What one took, for a grant or as due, the other does not get at the same time."""
    tombstone = await _revoked(stores)
    taken = await asyncio.gather(
        *(stores.revocations.take_for(tombstone) for _ in range(3)),
        *(stores.revocations.take_due(10, {}) for _ in range(3)),
    )
    assert sum(len(items) for items in taken) == 1


async def test_take_for_takes_one_grants_rows(stores: Stores) -> None:
    """The attempt after a revocation gets the rows of its grant only."""
    first, second = await _revoked(stores, label="a"), await _revoked(stores, label="b")
    items = await stores.revocations.take_for(first)
    assert [item.grant.grant_id for item in items] == [first.grant_id]
    assert len(await stores.revocations.take_for(second)) == 1


async def test_finish_writes_the_outcome(stores: Stores) -> None:
    """A finished revocation is out of the queue, on the grant and on record, once."""
    tombstone = await _revoked(stores)
    (item,) = await stores.revocations.take_for(tombstone)
    record = a_record(action=AuditAction.PROVIDER_REVOCATION_DONE)
    await stores.revocations.finish(item, ProviderRevocation.DONE, record)
    await stores.revocations.finish(item, ProviderRevocation.UNSUPPORTED, a_record())
    grant = await stores.grants.get(tombstone.name)
    assert grant is not None
    assert grant.provider_revocation is ProviderRevocation.DONE
    assert grant.revision == tombstone.revision + 1
    assert (await stores.records())[0].record_id == record.record_id
    await stores.behind.make_due()
    assert list(await stores.revocations.take_due(10, {})) == []


async def test_outcome_waits_for_the_last_token(stores: Stores) -> None:
    """A grant stays PENDING until the provider was told of all its refresh tokens."""
    tombstone = await _revoked(stores)
    await stores.grants.queue_revocation(tombstone, b"late", 2, a_record())
    first, second = await stores.revocations.take_for(tombstone)
    seen = []
    for item in (first, second):
        await stores.revocations.finish(item, ProviderRevocation.DONE, a_record())
        grant = await stores.grants.get(tombstone.name)
        assert grant is not None
        seen.append(grant.provider_revocation)
    assert seen == [ProviderRevocation.PENDING, ProviderRevocation.DONE]


async def test_postpone_counts_attempts(stores: Stores) -> None:
    """A postponed revocation comes back when its time has come, one attempt older."""
    tombstone = await _revoked(stores)
    (item,) = await stores.revocations.take_for(tombstone)
    await stores.revocations.postpone(item, 0.2)
    assert list(await stores.revocations.take_due(10, {})) == []
    await stores.behind.advance(0.3)
    (again,) = await stores.revocations.take_due(10, {})
    assert (again.queue_id, again.attempts) == (item.queue_id, 1)
