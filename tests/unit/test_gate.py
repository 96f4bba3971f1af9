"""The gate: policy before any look-up, a denied row like a missing one."""

from __future__ import annotations

import pytest

from tests.fakes.policy import FakePolicy
from tests.fakes.stores import FakeStores
from tests.support.house import APP, ROGUE, House, refused
from tests.support.samples import a_grant
from vault_service.domain import limits
from vault_service.domain.access import Permission, ResourceKind
from vault_service.domain.envelope import Level
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import SYSTEM_TENANT, GrantAliasName
from vault_service.usecases.gate import Gate, grant_resource, tenant_resource

CALL = House().call()


def gate(*permissions: Permission, stores: FakeStores | None = None) -> Gate:
    """A gate for APP with these permissions."""
    policy = FakePolicy((APP, permission) for permission in permissions)
    return Gate(policy, (stores or FakeStores(tenants=["acme"])).tenants)


async def test_enter() -> None:
    """Who may use the tenant enters it; who may not is refused before the tenant is looked up."""
    await gate(Permission.USE_TENANT).enter(CALL, "acme")
    away = FakeStores(tenants=["acme"])
    away.unreachable = True
    for tenant in ("acme", "ghost"):
        error = await refused(Reason.CALLER_NOT_ALLOWED, gate(stores=away).enter(CALL, tenant))
        assert error.recorded["permission"] == "UseTenant"
    await refused(
        Reason.STORE_UNREACHABLE, gate(Permission.USE_TENANT, stores=away).enter(CALL, "acme")
    )


async def test_unknown_tenant() -> None:
    """A tenant that is not there is TENANT_NOT_PROVISIONED; the system's needs no row."""
    await refused(Reason.TENANT_NOT_PROVISIONED, gate(Permission.USE_TENANT).enter(CALL, "ghost"))
    await gate(Permission.USE_TENANT).enter(CALL, SYSTEM_TENANT)


async def test_tenants_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant is looked up once, one that is missing each time; a bounded number is kept."""
    monkeypatch.setattr(limits, "TENANT_CACHE_MAX", 2)
    stores = FakeStores(tenants=["a", "b", "c"])
    asked: list[str] = []
    exists = stores.tenants.exists

    async def counting(tenant: str) -> bool:
        asked.append(tenant)
        return await exists(tenant)

    monkeypatch.setattr(stores.tenants, "exists", counting)
    entered = gate(Permission.USE_TENANT, stores=stores)
    for tenant in ("a", "a", "b", "a", "c", "a", "b"):
        await entered.enter(CALL, tenant)
    assert asked == ["a", "b", "c", "b"]
    await refused(Reason.TENANT_NOT_PROVISIONED, entered.enter(CALL, "new"))
    stores.tables.tenants.add("new")
    await entered.enter(CALL, "new")


def test_require() -> None:
    """An allowed call gets the decision; a denied one has the rule in its record only."""
    resource = tenant_resource("acme")
    decision = gate(Permission.LIST_GRANTS).require(CALL, Permission.LIST_GRANTS, resource)
    assert decision.rule == "allow-ListGrants"
    with pytest.raises(VaultError) as caught:
        gate().require(CALL, Permission.LIST_GRANTS, resource)
    assert caught.value.reason is Reason.CALLER_NOT_ALLOWED
    assert caught.value.recorded == {
        "policy_rule": "default-deny",
        "policy_version": "sha256:fake",
        "permission": "ListGrants",
    }
    assert caught.value.metadata == {}
    assert "default-deny" not in caught.value.message


def test_denied_row_and_missing_row() -> None:
    """To the caller they are one; only the record of the denial has the rule."""
    grant = a_grant()
    told = []
    for row in (grant, None):
        with pytest.raises(VaultError) as caught:
            gate().require_on_grant(CALL, Permission.GET_GRANT, grant.name, row)
        told.append((caught.value.reason, caught.value.message, caught.value.metadata))
    assert told[0] == told[1]
    allowed = gate(Permission.GET_GRANT)
    assert allowed.require_on_grant(CALL, Permission.GET_GRANT, grant.name, grant)[0] is grant


def test_grant_resource() -> None:
    """By name a grant is its first owner's, through an alias the alias's; tenant is the row's."""
    grant = a_grant()
    by_name = grant_resource(grant, grant.name)
    by_alias = grant_resource(grant, GrantAliasName("acme", "u-2", "work"))
    assert (by_name.kind, by_name.level) == (ResourceKind.GRANT, Level.USER)
    assert (by_name.owner, by_name.label) == ("u-1", "")
    assert (by_alias.owner, by_alias.label) == ("u-2", "work")
    assert by_name.id == by_alias.id == str(grant.name)
    assert by_alias.tenant == grant.tenant


def test_one_caller_is_not_another() -> None:
    """What one caller may do says nothing about another."""
    with pytest.raises(VaultError):
        gate(*Permission).require(
            House().call(ROGUE), Permission.USE_TENANT, tenant_resource("acme")
        )
