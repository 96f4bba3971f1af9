"""LinkAlias and UnlinkAlias: who may use whose grant, decided from both sides."""

from __future__ import annotations

import uuid

import pytest

from tests.support.house import APP, OTHER, ROGUE, TENANT, House, refused
from vault_service.domain.access import Caller, Permission, Resource
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantAliasName, GrantName

THEIRS = GrantAliasName(TENANT, "u-2", "shared")


@pytest.fixture
async def house() -> House:
    return House()


@pytest.fixture
async def grant(house: House) -> Grant:
    return await house.grant()


async def another(house: House) -> Grant:
    """A grant of another subject at the provider."""
    house.endpoint.subject = "sub-9"
    return (await house.consent(owner="u-9")).grant


async def test_link(house: House, grant: Grant) -> None:
    """An alias of another owner gives the use of the grant, and is on record with it."""
    assert (await house.aliases.link(house.call(), THEIRS, grant.name)).grant_id == grant.grant_id
    assert (await house.token(THEIRS)).grant == grant.name
    (record,) = house.records(AuditAction.GRANT_ALIAS_LINKED)
    assert (record.resource, record.caller) == (str(THEIRS), APP)
    assert record.detail["grant"] == str(grant.name)
    assert record.detail["policy_rule"] == "allow-LinkAlias"


async def test_linked_again(house: House, grant: Grant) -> None:
    """The same link again says the same."""
    for _ in range(2):
        await house.aliases.link(house.call(), THEIRS, grant.name)
    assert (await house.token(THEIRS)).grant == grant.name


async def test_taken(house: House, grant: Grant) -> None:
    """An alias that points at another grant is not moved."""
    other = await another(house)
    await house.aliases.link(house.call(), THEIRS, grant.name)
    await refused(Reason.ALIAS_EXISTS, house.aliases.link(house.call(), THEIRS, other.name))
    assert (await house.token(THEIRS)).grant == grant.name
    assert len(house.records(AuditAction.GRANT_ALIAS_LINKED)) == 1


async def test_policy_is_asked_from_both_sides(house: House, grant: Grant) -> None:
    """Who may link the grant but not for that owner, or for that owner but not this grant, is told
    what a missing grant says."""

    def only(owner: str) -> None:
        def rule(caller: Caller, permission: Permission, resource: Resource) -> bool:
            return permission is not Permission.LINK_ALIAS or resource.owner == owner

        house.policy.only = rule

    for owner in ("u-1", "u-2"):
        only(owner)
        error = await refused(
            Reason.GRANT_NOT_FOUND, house.aliases.link(house.call(), THEIRS, grant.name)
        )
        assert error.recorded["permission"] == "LinkAlias"
    house.policy.only = None
    absent = GrantName(TENANT, uuid.UUID(int=7))
    missing = await refused(
        Reason.GRANT_NOT_FOUND, house.aliases.link(house.call(), THEIRS, absent)
    )
    assert missing.message == error.message
    assert house.records(AuditAction.GRANT_ALIAS_LINKED) == []


async def test_tenants_are_not_crossed(house: House, grant: Grant) -> None:
    """An alias of one tenant never names a grant of another."""
    foreign = GrantAliasName("beta", "u-1", "x")
    error = await refused(
        Reason.FIELD_MALFORMED, house.aliases.link(house.call(), foreign, grant.name)
    )
    assert error.metadata == {"field": "grant"}


async def test_revoked(house: House, grant: Grant) -> None:
    """A revoked grant takes no new alias."""
    await house.revoke(house.call(), grant.name)
    await refused(Reason.GRANT_REVOKED, house.aliases.link(house.call(), THEIRS, grant.name))


async def test_unlink(house: House, grant: Grant) -> None:
    """The alias is gone and on record; the grant and its other aliases stay."""
    await house.aliases.link(house.call(), THEIRS, grant.name)
    await house.aliases.unlink(house.call(), THEIRS)
    await refused(Reason.GRANT_NOT_FOUND, house.token(THEIRS))
    assert (await house.token(GrantAliasName(TENANT, "u-1", "crm"))).grant == grant.name
    (record,) = house.records(AuditAction.GRANT_ALIAS_UNLINKED)
    assert record.detail["grant"] == str(grant.name)
    await refused(Reason.GRANT_NOT_FOUND, house.aliases.unlink(house.call(), THEIRS))


async def test_moved_meanwhile(house: House, grant: Grant, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias that came to point elsewhere while it was judged is not taken away."""
    other = await another(house)
    await house.aliases.link(house.call(), THEIRS, grant.name)
    get = house.stores.grants.get

    async def moved(name: object) -> Grant | None:
        found = await get(name)  # type: ignore[arg-type]
        house.stores.tables.aliases[THEIRS] = other.grant_id
        return found

    monkeypatch.setattr(house.stores.grants, "get", moved)
    await refused(Reason.ETAG_MISMATCH, house.aliases.unlink(house.call(), THEIRS))
    assert house.stores.tables.aliases[THEIRS] == other.grant_id


async def test_denied(house: House, grant: Grant) -> None:
    """Who has no business in the tenant is told so; who may not unlink this one, that there is
    none."""
    await house.aliases.link(house.call(), THEIRS, grant.name)
    call = house.call(ROGUE)
    await refused(Reason.CALLER_NOT_ALLOWED, house.aliases.link(call, THEIRS, grant.name))
    await refused(Reason.CALLER_NOT_ALLOWED, house.aliases.unlink(call, THEIRS))
    house.policy.allowed.discard((OTHER, Permission.UNLINK_ALIAS))
    await refused(Reason.GRANT_NOT_FOUND, house.aliases.unlink(house.call(OTHER), THEIRS))
    assert (await house.token(THEIRS)).grant == grant.name


async def test_unrecordable(house: House, grant: Grant) -> None:
    """What cannot be put on record is neither linked nor unlinked."""
    await house.aliases.link(house.call(), THEIRS, grant.name)
    house.stores.audit_unavailable = True
    second = GrantAliasName(TENANT, "u-3", "x")
    await refused(Reason.AUDIT_UNAVAILABLE, house.aliases.link(house.call(), second, grant.name))
    await refused(Reason.AUDIT_UNAVAILABLE, house.aliases.unlink(house.call(), THEIRS))
    assert second not in house.stores.tables.aliases
    assert THEIRS in house.stores.tables.aliases
