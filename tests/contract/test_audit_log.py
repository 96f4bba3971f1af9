"""ports.AuditLog: one suite for the fake and for PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import LONG_AGO, a_grant, a_record, put_grant
from vault_service.domain.audit import AuditAction, Outcome
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.names import SYSTEM_TENANT, GrantAliasName


async def _put(stores: Stores, tenant: str = "acme", label: str = "mail") -> Grant:
    return await put_grant(stores.authorizations, stores.grants, a_grant(tenant), label)


async def test_record_keeps_every_field(stores: Stores) -> None:
    """A record reads back as it was appended, with the time of the stores' clock."""
    record = a_record(
        action=AuditAction.CALL_REFUSED,
        outcome=Outcome.DENY,
        reason="CALLER_NOT_ALLOWED",
        token_fingerprint="f" * 32,
        detail={"rule": "default-deny", "text": 'quote " slash \\ ü'},
    )
    await stores.audit.append(record)
    stored = (await stores.records())[0]
    assert stored.record_time is not None
    assert stored.record_time > LONG_AGO
    assert replace(stored, record_time=None) == record


async def test_newest_first_in_pages(stores: Stores) -> None:
    """Records come newest first, in pages, and only those of the tenant."""
    tenant = "initech"
    records = [a_record(tenant) for _ in range(5)]
    await asyncio.gather(*(stores.audit.append(record) for record in records))
    await stores.audit.append(a_record("globex"))
    first = await stores.audit.list(tenant, 3, "")
    rest = await stores.audit.list(tenant, 3, first.next_token)
    seen = [record.record_id for record in (*first.items, *rest.items)]
    assert seen == [record.record_id for record in reversed(records)]
    assert rest.next_token == ""


async def test_calls_without_a_tenant_are_recorded(stores: Stores) -> None:
    """Records of calls that named no valid tenant stand under a tenant of their own."""
    record = a_record(SYSTEM_TENANT)
    await stores.audit.append(record)
    (stored,) = (await stores.audit.list(SYSTEM_TENANT, 50, "")).items
    assert stored.record_id == record.record_id


async def test_disclosure_of_a_current_grant(stores: Stores) -> None:
    """A disclosure of the grant as it stands is accepted and on record."""
    grant = await _put(stores)
    record = a_record()
    assert await stores.audit.disclose(record, grant)
    assert (await stores.records())[0].record_id == record.record_id


async def test_disclosure_by_alias(stores: Stores) -> None:
    """Asked by an alias, a grant is disclosed only while that alias points at it: once it points
    elsewhere, or where it never was, nothing is written although the grant is unchanged."""
    first, second = await _put(stores, label="mine"), await _put(stores, label="yours")
    mine = GrantAliasName("acme", first.owner, "mine")
    assert await stores.audit.disclose(a_record(), first, mine)
    await put_grant(stores.authorizations, stores.grants, a_grant(owner=first.owner), "mine")
    before = len(await stores.records())
    for alias in (
        mine,
        GrantAliasName("acme", second.owner, "yours"),
        GrantAliasName("acme", first.owner, "none"),
        GrantAliasName("globex", first.owner, "mine"),
    ):
        assert not await stores.audit.disclose(a_record(), first, alias)
    assert len(await stores.records()) == before
    assert await stores.audit.disclose(a_record(), first)


async def test_disclosure_of_what_has_changed(stores: Stores) -> None:
    """A grant that moved on, was revoked, never was or is another tenant's is not disclosed, and
    no record says it was."""
    moved, revoked = await _put(stores), await _put(stores, label="other")
    tombstone = await stores.grants.revoke(revoked, False, a_record())
    assert tombstone is not None
    foreign = await _put(stores, "globex")
    before = len(await stores.records())
    for record, grant in (
        (a_record(), replace(moved, revision=2)),
        (a_record(), revoked),
        (a_record(), tombstone),
        (a_record(), a_grant()),
        (a_record(), foreign),
        (a_record("globex"), moved),
    ):
        assert not await stores.audit.disclose(record, grant)
    assert len(await stores.records()) == before
    assert await stores.audit.disclose(a_record(), moved)


async def test_many_at_one_moment_get_their_own_answer(stores: Stores) -> None:
    """Hundreds of disclosures and appends at one moment, good and bad, of two tenants, are each
    answered for themselves."""
    acme, globex = await _put(stores), await _put(stores, "globex")
    old = replace(acme, revision=9)
    asked = [(a_record(grant.tenant), grant) for _ in range(120) for grant in (acme, globex, old)]
    appended = [stores.audit.append(a_record("initech")) for _ in range(120)]
    answers, _ = await asyncio.gather(
        asyncio.gather(*(stores.audit.disclose(record, grant) for record, grant in asked)),
        asyncio.gather(*appended),
    )
    assert answers == [True, True, False] * 120
    assert len((await stores.audit.list("initech", 500, "")).items) == 120


async def test_no_record_no_disclosure(stores: Stores) -> None:
    """Where nothing can be recorded, appends and disclosures fail: AUDIT_UNAVAILABLE."""
    grant = await _put(stores)
    await stores.behind.break_audit()
    for call in (stores.audit.append(a_record()), stores.audit.disclose(a_record(), grant)):
        with pytest.raises(VaultError) as refused:
            await call
        assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
        assert refused.value.retry_after_s is not None
