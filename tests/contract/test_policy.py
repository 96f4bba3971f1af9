"""ports.Policy: one suite for the fake and for Cedar."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fakes.policy import FakePolicy
from vault_service.adapters.cedar import CedarPolicy
from vault_service.domain.access import Caller, Permission, Resource, ResourceKind
from vault_service.domain.envelope import Level
from vault_service.ports import Policy

APP = Caller("spiffe://prod.example/app", "01")
OTHER = Caller("spiffe://prod.example/other", "02")

Make = Callable[..., Policy]

_KINDS = {
    ResourceKind.TENANT: (
        Permission.USE_TENANT,
        Permission.LIST_GRANTS,
        Permission.LIST_PROVIDERS,
        Permission.LIST_OAUTH_CLIENTS,
        Permission.LIST_AUDIT_RECORDS,
        Permission.PUT_WEBHOOK,
        Permission.LIST_WEBHOOKS,
        Permission.DELETE_WEBHOOK,
        Permission.LIST_DEAD_LETTERS,
        Permission.REDELIVER_DEAD_LETTERS,
        Permission.LIST_CLIENT_HOLDS,
        Permission.LIST_ATTEMPTS,
        Permission.GET_ATTEMPT,
        Permission.RESOLVE_ATTEMPT,
    ),
    ResourceKind.PROVIDER: (Permission.PUT_PROVIDER,),
    ResourceKind.OAUTH_CLIENT: (
        Permission.PUT_OAUTH_CLIENT,
        Permission.ADD_CLIENT_CREDENTIAL,
        Permission.RETIRE_CLIENT_CREDENTIAL,
        Permission.SUSPEND_OAUTH_CLIENT,
        Permission.RESUME_OAUTH_CLIENT,
        Permission.CLEAR_CLIENT_HOLD,
    ),
    ResourceKind.GRANT: (
        Permission.START_AUTHORIZATION,
        Permission.COMPLETE_AUTHORIZATION,
        Permission.GET_ACCESS_TOKEN,
        Permission.REPORT_REJECTED_TOKEN,
        Permission.GET_GRANT,
        Permission.REVOKE_GRANT,
        Permission.DELETE_GRANT,
        Permission.LINK_ALIAS,
        Permission.UNLINK_ALIAS,
        Permission.WATCH_GRANTS,
    ),
    ResourceKind.SECRET: (
        Permission.PUT_SECRET,
        Permission.GET_SECRET_VALUE,
        Permission.GET_SECRET,
        Permission.LIST_SECRETS,
        Permission.LIST_SECRET_VERSIONS,
        Permission.DESTROY_SECRET_VERSION,
        Permission.DELETE_SECRET,
    ),
}
KIND_OF = {permission: kind for kind, permissions in _KINDS.items() for permission in permissions}


def resource_for(permission: Permission, tenant: str = "acme") -> Resource:
    """A resource of the kind that the permission is about."""
    kind = KIND_OF[permission]
    if kind is ResourceKind.TENANT:
        return Resource(kind, f"tenants/{tenant}", tenant)
    name = f"tenants/{tenant}/things/x"
    return Resource(kind, name, tenant, Level.USER, "u-1", "google", "web", "main")


def fake(*permissions: Permission) -> Policy:
    return FakePolicy(
        {(APP.spiffe_id, permission) for permission in permissions},
        only=lambda _caller, _permission, resource: resource.tenant == "acme",
    )


def cedar(*permissions: Permission) -> Policy:
    return CedarPolicy.parse(
        "\n".join(
            f'@id("allow-{permission.value}") permit (principal == Caller::"{APP.spiffe_id}", '
            f'action == Action::"{permission.value}", resource in Tenant::"acme");'
            for permission in permissions
        ),
        "test",
    )


@pytest.fixture(params=[fake, cedar], ids=["fake", "cedar"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a policy that allows APP these permissions in the tenant acme."""
    made: Make = request.param
    return made


def test_every_permission_has_a_kind_of_resource() -> None:
    """The suite knows what each permission is about."""
    assert KIND_OF.keys() == set(Permission)


@pytest.mark.parametrize("permission", Permission, ids=lambda p: p.value)
def test_what_is_permitted_is_allowed_by_its_rule(make: Make, permission: Permission) -> None:
    """A permitted call is allowed, and the decision names its rule and the policy's version."""
    policy = make(permission)
    decision = policy.decide(APP, permission, resource_for(permission))
    assert decision.allowed
    assert decision.rule == f"allow-{permission.value}"
    assert decision.policy_version == policy.version
    assert policy.version.startswith("sha256:")


@pytest.mark.parametrize("permission", Permission, ids=lambda p: p.value)
def test_what_is_not_permitted_is_denied(make: Make, permission: Permission) -> None:
    """Without a matching rule the answer is no: other permissions, callers and tenants."""
    others = make(*(set(Permission) - {permission}))
    own = make(permission)
    for decision in (
        others.decide(APP, permission, resource_for(permission)),
        own.decide(OTHER, permission, resource_for(permission)),
        own.decide(APP, permission, resource_for(permission, "globex")),
        make().decide(APP, permission, resource_for(permission)),
    ):
        assert not decision.allowed
        assert decision.rule == "default-deny"
