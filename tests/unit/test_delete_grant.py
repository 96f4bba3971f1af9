"""DeleteGrant: revoked first, then gone from every list, never from the record."""

from __future__ import annotations

import pytest

from tests.support.house import APP, OTHER, ROGUE, TENANT, House, refused
from vault_service.domain.access import Permission
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.names import GrantAliasName


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register(revocation_endpoint="https://op.example/revoke")
    return house


@pytest.fixture
async def grant(house: House) -> Grant:
    return (await house.consent(label="crm")).grant


async def test_delete(house: House, grant: Grant) -> None:
    """The grant is revoked here and at the provider, leaves the lists and its aliases, and both
    steps are on record with the rule that allowed them."""
    deleted = await house.delete(house.call(), grant.name)
    assert deleted.state is GrantState.REVOKED
    assert deleted.delete_time is not None
    assert len(house.endpoint.posted("revoke")) == 1
    page = await house.read.list(house.call(), TENANT, "", 50, "")
    assert list(page.items) == []
    alias = GrantAliasName(TENANT, "u-1", "crm")
    await refused(Reason.GRANT_NOT_FOUND, house.token(alias))
    for action in (AuditAction.GRANT_REVOKED, AuditAction.GRANT_DELETED):
        (record,) = house.records(action)
        assert (record.resource, record.caller) == (str(grant.name), APP)
        assert record.detail["policy_rule"] == "allow-DeleteGrant"


async def test_deleted_is_gone(house: House, grant: Grant) -> None:
    """A second deletion, a read and a revocation find nothing; the record says why."""
    await house.delete(house.call(), grant.name)
    for again in (house.delete, house.revoke, house.read.get):
        error = await refused(Reason.GRANT_NOT_FOUND, again(house.call(), grant.name))
        assert error.recorded == {"why": "deleted"}
        assert "deleted" not in error.message
    assert len(house.records(AuditAction.GRANT_DELETED)) == 1


async def test_a_revoked_grant_is_deleted(house: House, grant: Grant) -> None:
    """What was revoked before is deleted without telling the provider again."""
    await house.revoke(house.call(), grant.name)
    posts = len(house.endpoint.posted("revoke"))
    assert (await house.delete(house.call(), grant.name)).delete_time is not None
    assert len(house.endpoint.posted("revoke")) == posts


async def test_denied_and_absent_look_alike(house: House, grant: Grant) -> None:
    """Who may delete nothing in the tenant is told so; who may not delete this row is told what a
    missing row says, and the record has the difference."""
    await refused(Reason.CALLER_NOT_ALLOWED, house.delete(house.call(ROGUE), grant.name))
    house.policy.allowed.discard((OTHER, Permission.DELETE_GRANT))
    denied = await refused(Reason.GRANT_NOT_FOUND, house.delete(house.call(OTHER), grant.name))
    del house.stores.tables.grants[grant.grant_id]
    absent = await refused(Reason.GRANT_NOT_FOUND, house.delete(house.call(), grant.name))
    assert denied.message == absent.message
    assert (denied.recorded["permission"], absent.recorded) == ("DeleteGrant", {})
    assert house.records(AuditAction.GRANT_DELETED) == []


async def test_unrecordable(house: House, grant: Grant) -> None:
    """Where the record cannot be written nothing is revoked or deleted, at the provider neither."""
    house.stores.audit_unavailable = True
    await refused(Reason.AUDIT_UNAVAILABLE, house.delete(house.call(), grant.name))
    assert (await house.row(grant.name)).state is GrantState.ACTIVE
    assert house.endpoint.posted("revoke") == []


async def test_a_failure_in_between(
    house: House, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that goes away after the revocation leaves it revoked; deleting again ends it."""

    async def failing(*_: object) -> None:
        house.stores.unreachable = True
        await house.stores.grants.get(grant.name)

    with monkeypatch.context() as patched:
        patched.setattr(house.stores.grants, "delete", failing)
        await refused(Reason.STORE_UNREACHABLE, house.delete(house.call(), grant.name))
    house.stores.unreachable = False
    row = await house.row(grant.name)
    assert (row.state, row.delete_time) == (GrantState.REVOKED, None)
    assert (await house.delete(house.call(), grant.name)).delete_time is not None
    assert len(house.records(AuditAction.GRANT_REVOKED)) == 1
