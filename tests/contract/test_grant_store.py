"""ports.GrantStore: one suite for the fake and for PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import (
    LONG_AGO,
    a_grant,
    a_record,
    an_authorization,
    new_id,
    put_grant,
)
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import (
    Grant,
    GrantState,
    ProviderRevocation,
    ReauthorizationCause,
    RejectionKind,
)
from vault_service.domain.names import GrantAliasName, GrantName, OAuthClientName
from vault_service.domain.oauth import Authorization

_CLIENT = OAuthClientName("acme", "crm")


async def _put(stores: Stores, grant: Grant | None = None, label: str = "mail") -> Grant:
    return await put_grant(stores.authorizations, stores.grants, grant or a_grant(), label)


async def _started(stores: Stores, **changes: Any) -> Authorization:
    authorization = an_authorization(**changes)
    await stores.authorizations.insert(
        authorization, limits.AUTHORIZATION_LIFE_S, a_record(authorization.tenant)
    )
    return authorization


async def test_insert_keeps_every_field(stores: Stores) -> None:
    """A grant reads back as it was written, its times from the stores' own clock."""
    grant = a_grant(
        cause=ReauthorizationCause.SCOPES_MISSING, subject=None, asked_scopes=("mail", "files")
    )
    stored = await _put(stores, grant)
    times: dict[str, Any] = {
        "create_time": stored.create_time,
        "update_time": stored.update_time,
        "read_time": stored.read_time,
    }
    assert stored == replace(grant, **times)
    assert LONG_AGO < stored.create_time <= stored.update_time <= stored.read_time


async def test_alias_points_at_the_grant(stores: Stores) -> None:
    """A grant is found by the alias of its consent, and by no other label, owner or tenant."""
    grant = await _put(stores)
    found = await stores.grants.get(GrantAliasName("acme", "u-1", "mail"))
    assert found is not None
    assert found.grant_id == grant.grant_id
    assert await stores.grants.get(GrantAliasName("acme", "u-1", "other")) is None
    assert await stores.grants.get(GrantAliasName("acme", "u-2", "mail")) is None
    assert await stores.grants.get(GrantAliasName("globex", "u-1", "mail")) is None


async def test_other_tenant_finds_nothing(stores: Stores) -> None:
    """An id under another tenant's name is an unknown grant."""
    grant = await _put(stores)
    assert await stores.grants.get(GrantName("globex", grant.grant_id)) is None
    stolen = replace(grant, tenant="globex")
    assert await stores.grants.revoke(stolen, True, a_record("globex")) is None


async def test_insert_sets_the_outcome(stores: Stores) -> None:
    """The consent that made a grant names it as its outcome."""
    authorization = await _started(stores)
    grant = a_grant()
    assert await stores.grants.insert(grant, authorization, a_record())
    found = await stores.authorizations.find("acme", authorization.state_hash)
    assert found is not None
    assert found.grant_id == grant.grant_id


async def test_one_consent_makes_one_grant(stores: Stores) -> None:
    """Storing a consent again, its first answer lost, makes no second holder of its token."""
    authorization = await _started(stores)
    first = a_grant(subject=None)
    assert await stores.grants.insert(first, authorization, a_record())
    again = a_grant(subject=None)
    assert await stores.grants.insert(again, authorization, a_record())
    assert await stores.grants.get(again.name) is None
    assert await stores.grants.reconnect(first, 1, authorization, a_record())
    unchanged = await stores.grants.get(first.name)
    assert unchanged is not None
    assert unchanged.revision == 1


async def test_subject_has_one_live_grant(stores: Stores) -> None:
    """A second grant of a subject is refused and writes nothing; a tombstone does not count."""
    first = await _put(stores, a_grant(subject="s-1"))
    second = a_grant(subject="s-1")
    authorization = await _started(stores, label="second")
    before = len(await stores.records())
    assert not await stores.grants.insert(second, authorization, a_record())
    assert await stores.grants.get(GrantAliasName("acme", "u-1", "second")) is None
    assert len(await stores.records()) == before
    await stores.grants.revoke(first, False, a_record())
    assert await stores.grants.get_by_subject(_CLIENT, "s-1") is None
    assert await stores.grants.insert(second, authorization, a_record())
    found = await stores.grants.get_by_subject(_CLIENT, "s-1")
    assert found is not None
    assert found.grant_id == second.grant_id


async def test_concurrent_inserts_of_one_subject(stores: Stores) -> None:
    """Of many consents of one subject at one moment exactly one makes a grant."""
    started = [await _started(stores, label=f"l{n}") for n in range(8)]
    made = await asyncio.gather(
        *(stores.grants.insert(a_grant(subject="s-1"), one, a_record()) for one in started)
    )
    assert sorted(made) == [False] * 7 + [True]


async def test_insert_in_unknown_tenant(stores: Stores) -> None:
    """A grant of a tenant that was not created is refused with a reason of the registry."""
    with pytest.raises(VaultError) as refused:
        await stores.grants.insert(
            a_grant("nowhere"), an_authorization("nowhere"), a_record("nowhere")
        )
    assert refused.value.reason in (Reason.TENANT_NOT_PROVISIONED, Reason.OAUTH_CLIENT_NOT_FOUND)


async def test_reconnect_writes_the_row_as_given(stores: Stores) -> None:
    """A new consent of the same account replaces tokens and scopes at the next revision."""
    grant = await _put(stores)
    authorization = await _started(stores, owner="u-2", label="theirs")
    new = replace(grant, generation=2, scopes=("mail",), refresh_envelope=b"sealed 2",
                  refresh_generation=2, access_envelope=b"sealed", access_generation=2)  # fmt: skip
    assert await stores.grants.reconnect(new, 1, authorization, a_record())
    stored = await stores.grants.get(GrantAliasName("acme", "u-2", "theirs"))
    assert stored is not None
    assert stored.grant_id == grant.grant_id
    assert (stored.revision, stored.generation, stored.scopes) == (2, 2, ("mail",))
    assert (stored.refresh_envelope, stored.owner) == (b"sealed 2", "u-1")
    assert grant.update_time <= stored.update_time <= stored.read_time
    assert stored.create_time == grant.create_time


async def test_reconnect_is_a_compare_and_swap(stores: Stores) -> None:
    """A row that moved since it was read, or was revoked, is not reconnected."""
    grant = await _put(stores)
    authorization = await _started(stores)
    assert not await stores.grants.reconnect(grant, 7, authorization, a_record())
    await stores.grants.revoke(grant, False, a_record())
    before = len(await stores.records())
    assert not await stores.grants.reconnect(grant, 2, authorization, a_record())
    assert len(await stores.records()) == before


async def test_list_by_owner_counts_aliases(stores: Stores) -> None:
    """An owner's list has its own grants and those its aliases point at, each once, by id."""
    own = await _put(stores, a_grant(owner="u-1"), "one")
    shared = await _put(stores, a_grant(owner="u-2"), "two")
    await _put(stores, a_grant(owner="u-3"), "three")
    for label in ("mine", "mine-too"):
        await stores.grants.reconnect(
            shared, (await _read(stores, shared)).revision,
            await _started(stores, owner="u-1", label=label), a_record(),
        )  # fmt: skip
    page = await stores.grants.list("acme", "u-1", 50, "")
    assert [grant.grant_id for grant in page.items] == [own.grant_id, shared.grant_id]
    assert page.next_token == ""
    assert len((await stores.grants.list("acme", "", 50, "")).items) == 3
    assert (await stores.grants.list("globex", "", 50, "")).items == []


async def test_list_pages(stores: Stores) -> None:
    """Pages follow each other without a gap or a repetition, in the order of ids."""
    ids = [(await _put(stores, a_grant(owner="u-1"), f"l{n}")).grant_id for n in range(5)]
    for owner in ("", "u-1"):
        seen, token = [], ""
        for size in (2, 2, 1):
            page = await stores.grants.list("acme", owner, size, token)
            seen += [grant.grant_id for grant in page.items]
            token = page.next_token
        assert (seen, token) == (ids, "")


@pytest.mark.parametrize("token", ["%", "AAAA", "not ours", "é", "A" * 5_000])
async def test_page_token_malformed(stores: Stores, token: str) -> None:
    """A page token that we did not give is FIELD_MALFORMED."""
    for call in (
        stores.grants.list("acme", "", 50, token),
        stores.audit.list("acme", 50, token),
    ):
        with pytest.raises(VaultError) as refused:
            await call
        assert refused.value.reason is Reason.FIELD_MALFORMED


@pytest.mark.parametrize(
    ("queued", "refresh", "at_provider"),
    [
        (True, b"sealed", ProviderRevocation.PENDING),
        (False, b"sealed", ProviderRevocation.UNSUPPORTED),
        (True, None, ProviderRevocation.NONE),
        (False, None, ProviderRevocation.NONE),
    ],
)
async def test_revoke_leaves_a_tombstone(
    stores: Stores, queued: bool, refresh: bytes | None, at_provider: ProviderRevocation
) -> None:
    """A tombstone holds no envelope; the refresh token's goes to the queue where it is wanted."""
    grant = await _put(stores, a_grant(refresh_envelope=refresh, refresh_generation=1))
    tombstone = await stores.grants.revoke(grant, queued, a_record())
    assert tombstone is not None
    assert tombstone.state is GrantState.REVOKED
    assert (tombstone.access_envelope, tombstone.refresh_envelope) == (None, None)
    assert tombstone.provider_revocation is at_provider
    assert tombstone.revision == 2
    queue = await stores.revocations.take_for(tombstone)
    assert [item.refresh_envelope for item in queue] == (
        [refresh] if at_provider is ProviderRevocation.PENDING else []
    )
    by_alias = await stores.grants.get(GrantAliasName("acme", "u-1", "mail"))
    assert by_alias is not None
    assert by_alias.state is GrantState.REVOKED


async def test_revoke_twice(stores: Stores) -> None:
    """A grant already REVOKED stays as it is and is not recorded again."""
    grant = await _put(stores)
    first = await stores.grants.revoke(grant, True, a_record())
    before = len(await stores.records())
    again = await stores.grants.revoke(grant, False, a_record())
    assert first is not None
    assert again is not None
    assert replace(again, read_time=first.read_time) == first
    assert len(await stores.records()) == before


async def test_queue_revocation_of_a_late_token(stores: Stores) -> None:
    """A refresh token that came after the revocation waits in the queue too, once."""
    grant = await _put(stores)
    tombstone = await stores.grants.revoke(grant, False, a_record())
    assert tombstone is not None
    record = a_record(action=AuditAction.REFRESH_RESULT_DISCARDED)
    for _ in range(2):
        await stores.grants.queue_revocation(tombstone, b"late", 2, record)
    stored = await _read(stores, grant)
    assert stored.provider_revocation is ProviderRevocation.PENDING
    (item,) = await stores.revocations.take_for(stored)
    assert (item.refresh_envelope, item.generation, item.attempts) == (b"late", 2, 0)
    assert (item.expire_time - item.grant.read_time).days in (6, 7)


async def test_no_change_without_its_record(stores: Stores) -> None:
    """Where the record cannot be written, the change is undone: AUDIT_UNAVAILABLE."""
    grant = await _put(stores)
    authorization = await _started(stores, label="new")
    await stores.behind.break_audit()
    changes = [
        stores.grants.insert(a_grant(), authorization, a_record()),
        stores.grants.reconnect(grant, 1, authorization, a_record()),
        stores.grants.queue_revocation(grant, b"late", 2, a_record()),
        stores.grants.revoke(grant, True, a_record()),
    ]
    for change in changes:
        with pytest.raises(VaultError) as refused:
            await change
        assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
    stored = await _read(stores, grant)
    assert replace(stored, read_time=grant.read_time) == grant
    assert await stores.revocations.take_for(grant) == []
    assert len((await stores.grants.list("acme", "", 50, "")).items) == 1


async def _read(stores: Stores, grant: Grant) -> Grant:
    stored = await stores.grants.get(grant.name)
    assert stored is not None
    return stored


async def test_reject_marks_a_generation_once(stores: Stores) -> None:
    """A reported generation is marked at the next revision, with its record, once."""
    grant = await _put(stores)
    record = a_record()
    assert (await stores.grants.reject(grant, 60, record)).kind is RejectionKind.MARKED
    found = await stores.grants.get(grant.name)
    assert found is not None
    assert (found.rejected_generation, found.revision) == (1, 2)
    again = await stores.grants.reject(found, 60, a_record())
    assert again.kind is RejectionKind.STANDING
    assert (await stores.records())[0].record_id == record.record_id
    unchanged = await stores.grants.get(grant.name)
    assert unchanged is not None
    assert unchanged.revision == 2


async def test_reject_of_another_generation_or_state(stores: Stores) -> None:
    """A generation that is not the row's, and a grant that is not ACTIVE, are not marked."""
    grant = await _put(stores)
    newer = replace(grant, generation=2)
    assert (await stores.grants.reject(newer, 60, a_record())).kind is RejectionKind.MOVED
    await stores.grants.revoke(grant, False, a_record())
    assert (await stores.grants.reject(grant, 60, a_record())).kind is RejectionKind.MOVED
    with pytest.raises(VaultError) as refused:
        await stores.grants.reject(a_grant(), 60, a_record())
    assert refused.value.reason is Reason.GRANT_NOT_FOUND


async def test_marks_are_apart(stores: Stores) -> None:
    """Another generation is not marked within the interval of the last mark, by anybody; how long
    to wait is said, and after that it is."""
    grant = await _put(stores)
    await stores.grants.reject(grant, 60, a_record())
    authorization = await _started(stores, label="again")
    second = replace(grant, generation=2)
    assert await stores.grants.reconnect(second, 2, authorization, a_record())
    soon = await stores.grants.reject(second, 60, a_record())
    assert soon.kind is RejectionKind.TOO_SOON
    assert 55 < soon.wait_s <= 60
    await stores.behind.advance(0.2)
    assert (await stores.grants.reject(second, 0.1, a_record())).kind is RejectionKind.MARKED


async def test_a_mark_of_many_at_once(stores: Stores) -> None:
    """Of many reports at one moment one makes the mark."""
    grant = await _put(stores)
    kinds = [
        one.kind
        for one in await asyncio.gather(
            *(stores.grants.reject(grant, 60, a_record()) for _ in range(8))
        )
    ]
    assert kinds.count(RejectionKind.MARKED) == 1
    assert kinds.count(RejectionKind.STANDING) == 7


async def test_only_the_newest_consent_is_reconnected(stores: Stores) -> None:
    """An answer from before does not replace the tokens of a consent that was claimed later,
    under another label or by another owner."""
    earlier = await _claimed(stores, "u-1", "crm")
    await stores.behind.advance(0.01)
    later = await _claimed(stores, "u-2", "mail")
    grant = a_grant()
    assert await stores.grants.insert(grant, later, a_record())
    assert await stores.grants.is_consented_since(grant, earlier)
    assert not await stores.grants.is_consented_since(grant, later)
    again = replace(grant, generation=2, refresh_generation=2, access_generation=2)
    refused = await stores.grants.reconnect(again, 1, earlier, a_record(), only_newest=True)
    assert not refused
    newest = await _claimed(stores, "u-1", "new")
    assert await stores.grants.reconnect(again, 1, newest, a_record(), only_newest=True)


async def _claimed(stores: Stores, owner: str, label: str) -> Authorization:
    started = await _started(stores, owner=owner, label=label)
    assert await stores.authorizations.claim(started, b"c" * 32, new_id(), a_record())
    found = await stores.authorizations.find(started.tenant, started.state_hash)
    assert found is not None
    return found
