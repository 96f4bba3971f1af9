"""The two questions of every call: may this caller work in this tenant, and may it do this here."""

from __future__ import annotations

from collections import OrderedDict

from vault_service.domain import limits
from vault_service.domain.access import Call, Decision, Permission, Resource, ResourceKind
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.names import SYSTEM_TENANT, GrantAliasName, GrantTarget, OAuthClientName
from vault_service.ports import Policy, TenantStore


def tenant_resource(tenant: str) -> Resource:
    """A tenant as the policy sees it."""
    return Resource(ResourceKind.TENANT, f"tenants/{tenant}", tenant)


class Gate:
    """Asks the policy first and looks nothing up for a caller that has no business here."""

    def __init__(self, policy: Policy, tenants: TenantStore) -> None:
        self._policy = policy
        self._tenants = tenants
        self._known: OrderedDict[str, None] = OrderedDict()

    async def enter(self, call: Call, tenant: str) -> None:
        """Raises CALLER_NOT_ALLOWED, then TENANT_NOT_PROVISIONED."""
        self.require(call, Permission.USE_TENANT, tenant_resource(tenant))
        if tenant != SYSTEM_TENANT and not await self._exists(tenant):
            raise VaultError(
                Reason.TENANT_NOT_PROVISIONED,
                f"no such tenant; an operator runs: tokenvault tenant create {tenant}",
            )

    async def _exists(self, tenant: str) -> bool:
        # Only that one exists is remembered: a tenant made a moment ago works at once.
        if tenant in self._known:
            self._known.move_to_end(tenant)
            return True
        if not await self._tenants.exists(tenant):
            return False
        self._known[tenant] = None
        if len(self._known) > limits.TENANT_CACHE_MAX:
            self._known.popitem(last=False)
        return True

    def require(self, call: Call, permission: Permission, resource: Resource) -> Decision:
        """The allowing decision; raises CALLER_NOT_ALLOWED with the rule only in the record."""
        decision = self._policy.decide(call.caller, permission, resource)
        if not decision.allowed:
            raise _denied(
                Reason.CALLER_NOT_ALLOWED,
                f"the policy does not allow {permission.value} here for this caller; "
                "ask the security team for a rule",
                decision,
                permission,
            )
        return decision

    def allows(self, call: Call, permission: Permission, resource: Resource) -> bool:
        """For what is left out where it is not allowed, without a refusal."""
        return self._policy.decide(call.caller, permission, resource).allowed

    def require_on_grant(
        self, call: Call, permission: Permission, target: GrantTarget, grant: Grant | None
    ) -> tuple[Grant, Decision]:
        """The grant and the allowing decision.

        A missing row and a denial on the row look the same to the caller (GRANT_NOT_FOUND), so
        that ids cannot be probed; the record has the difference.
        """
        if grant is None or grant.delete_time is not None:
            raise grant_not_found({"why": "deleted"} if grant else {})
        decision = self._policy.decide(call.caller, permission, grant_resource(grant, target))
        if not decision.allowed:
            raise grant_not_found(_facts(decision, permission))
        return grant, decision


def grant_resource(grant: Grant, target: GrantTarget) -> Resource:
    """A grant as the policy sees it: through an alias, the owner is the alias's."""
    alias = target if isinstance(target, GrantAliasName) else None
    return Resource(
        ResourceKind.GRANT,
        str(grant.name),
        grant.tenant,
        level=grant.dek_owner.level,
        owner=alias.owner if alias else grant.owner,
        provider=grant.provider,
        oauth_client=grant.oauth_client,
        label=alias.label if alias else "",
        scopes=frozenset(grant.scopes),
    )


def oauth_client_resource(name: OAuthClientName, provider: str) -> Resource:
    """An OAuthClient as the policy sees it; ``provider`` is "" where it is not known."""
    return Resource(
        ResourceKind.OAUTH_CLIENT,
        str(name),
        name.tenant,
        provider=provider,
        oauth_client=name.oauth_client,
    )


def _facts(decision: Decision, permission: Permission) -> dict[str, str]:
    return {
        "policy_rule": decision.rule,
        "policy_version": decision.policy_version,
        "permission": permission.value,
    }


def _denied(reason: Reason, message: str, decision: Decision, permission: Permission) -> VaultError:
    return VaultError(reason, message, recorded=_facts(decision, permission))


def grant_not_found(recorded: dict[str, str]) -> VaultError:
    """GRANT_NOT_FOUND; ``recorded`` says more, for the record only."""
    return VaultError(
        Reason.GRANT_NOT_FOUND,
        "no such grant, or none that this caller may use; list grants to see what there is",
        recorded=recorded,
    )
