"""Aliases that callers link, deleted grants, and filters: fakes and PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import a_grant, a_record, an_oauth_client, new_id, put_grant
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, GrantFilter, GrantState
from vault_service.domain.names import GrantAliasName

_ALIAS = GrantAliasName("acme", "u-2", "theirs")


async def _put(stores: Stores, grant: Grant | None = None, label: str = "mail") -> Grant:
    return await put_grant(stores.authorizations, stores.grants, grant or a_grant(), label)


async def _deleted(stores: Stores, grant: Grant) -> Grant | None:
    tombstone = await stores.grants.revoke(grant, False, a_record())
    assert tombstone is not None
    return await stores.grants.delete(tombstone, a_record())


async def test_linked_and_unlinked(stores: Stores) -> None:
    """An alias leads to its grant until it is taken away; each is recorded once."""
    grant, before = await _put(stores), len(await stores.records())
    for _ in range(2):
        assert await stores.aliases.link(_ALIAS, grant, a_record()) == grant.grant_id
    found = await stores.grants.get(_ALIAS)
    assert found is not None
    assert found.grant_id == grant.grant_id
    assert len(await stores.records()) == before + 1
    assert await stores.aliases.unlink(_ALIAS, grant, a_record())
    assert not await stores.aliases.unlink(_ALIAS, grant, a_record())
    assert await stores.grants.get(_ALIAS) is None
    assert len(await stores.records()) == before + 2


async def test_a_taken_alias_stays(stores: Stores) -> None:
    """An alias that points elsewhere is not moved, and not taken away for another grant."""
    first, second = await _put(stores, label="a"), await _put(stores, label="b")
    links = (stores.aliases.link(_ALIAS, grant, a_record()) for grant in (first, second))
    there = set(await asyncio.gather(*links))
    assert len(there) == 1
    standing = await stores.grants.get(_ALIAS)
    assert standing is not None
    other = second if standing.grant_id == first.grant_id else first
    assert not await stores.aliases.unlink(_ALIAS, other, a_record())
    assert await stores.grants.get(_ALIAS) is not None


async def test_no_alias_of_what_is_gone(stores: Stores) -> None:
    """A revoked grant, one that is not there and one of another tenant get no alias."""
    revoked = await stores.grants.revoke(await _put(stores), False, a_record())
    assert revoked is not None
    foreign = await _put(stores, a_grant("globex"))
    stolen = a_grant(grant_id=foreign.grant_id)
    for grant in (revoked, a_grant(grant_id=new_id()), stolen):
        assert await stores.aliases.link(_ALIAS, grant, a_record()) is None
    assert await stores.grants.get(_ALIAS) is None


async def test_deleted(stores: Stores) -> None:
    """A deleted grant is a tombstone with a time, without aliases and in no list."""
    grant = await _put(stores)
    await stores.aliases.link(_ALIAS, grant, a_record())
    assert await stores.grants.delete(grant, a_record()) is None
    deleted = await _deleted(stores, grant)
    assert deleted is not None
    assert deleted.delete_time is not None
    assert deleted.state is GrantState.REVOKED
    before = len(await stores.records())
    assert await stores.grants.delete(deleted, a_record()) is None
    assert len(await stores.records()) == before
    assert await stores.grants.get(_ALIAS) is None
    assert await stores.grants.get(GrantAliasName("acme", "u-1", "mail")) is None
    for owner in ("", "u-1", "u-2"):
        assert (await stores.grants.list("acme", owner, 50, "")).items == []
    kept = await stores.grants.get(grant.name)
    assert kept is not None
    assert kept.delete_time == deleted.delete_time


async def test_filters(stores: Stores) -> None:
    """Filters narrow a list together, and pages of it follow each other while rows come and go."""
    await stores.oauth_clients.put(an_oauth_client(name="erp"), 0, a_record())
    crm = [await _put(stores, a_grant(), f"l{n}") for n in range(4)]
    erp = await _put(stores, a_grant(oauth_client="erp", owner="u-2"), "erp")
    await stores.grants.revoke(crm[1], False, a_record())

    async def ids(owner: str = "", **only: Any) -> list[object]:
        page = await stores.grants.list("acme", owner, 50, "", GrantFilter(**only))
        return [grant.grant_id for grant in page.items]

    assert await ids(oauth_client="erp") == [erp.grant_id]
    assert await ids(oauth_client="erp", owner="u-1") == []
    assert await ids(state=GrantState.REVOKED) == [crm[1].grant_id]
    assert len(await ids(state=GrantState.ACTIVE, provider="op")) == 4
    assert len(await ids("u-1", state=GrantState.ACTIVE, provider="op", oauth_client="crm")) == 3
    assert await ids(provider="elsewhere") == []
    active = GrantFilter(state=GrantState.ACTIVE)
    first = await stores.grants.list("acme", "", 2, "", active)
    await _deleted(stores, crm[0])  # on the page before
    later = await _put(stores, a_grant(), "later")
    rest = await stores.grants.list("acme", "", 50, first.next_token, active)
    seen = [grant.grant_id for grant in (*first.items, *rest.items)]
    wanted = [crm[0], crm[2], crm[3], erp, later]
    assert seen == [grant.grant_id for grant in wanted]


async def test_no_change_without_its_record(stores: Stores) -> None:
    """Where the record cannot be written, aliases and grants stay as they are."""
    grant, revoked = await _put(stores, label="a"), await _put(stores, label="b")
    tombstone = await stores.grants.revoke(revoked, False, a_record())
    assert tombstone is not None
    mine = GrantAliasName("acme", "u-1", "a")
    await stores.behind.break_audit()
    for change in (
        stores.aliases.link(_ALIAS, grant, a_record()),
        stores.aliases.unlink(mine, grant, a_record()),
        stores.grants.delete(tombstone, a_record()),
    ):
        with pytest.raises(VaultError) as refused:
            await change
        assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
    assert await stores.grants.get(_ALIAS) is None
    assert await stores.grants.get(mine) is not None
    assert len((await stores.grants.list("acme", "", 50, "")).items) == 2
