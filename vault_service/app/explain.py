"""What a policy says of one caller: for reviewers, before it is in force."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vault_service.adapters.cedar import CedarPolicy, PolicyInvalid, resource_kinds
from vault_service.domain.access import Caller, Resource, ResourceKind
from vault_service.domain.envelope import Level

__all__ = ["PolicyInvalid", "Question", "Ruling", "explain", "rules_of"]

_UNNAMED = "-"  # stands in ids where none is given; no id looks like it


@dataclass(frozen=True, slots=True)
class Question:
    """Who asks, and about what; "" where a policy shall see nothing."""

    caller: str
    tenant: str
    owner: str = ""
    label: str = ""
    provider: str = ""
    oauth_client: str = ""
    grant_id: str = ""
    secret: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ruling:
    """The decision about one permission, by the rule with this @id (default-deny: by none)."""

    permission: str
    resource: str
    allowed: bool
    rule: str


def rules_of(file: Path) -> tuple[str, tuple[str, ...]]:
    """The version of a policy and its rules' ids. Raises PolicyInvalid."""
    policy = CedarPolicy.load(file)
    return policy.version, policy.rules


def explain(file: Path, question: Question) -> list[Ruling]:
    """One ruling for each permission there is. Raises PolicyInvalid."""
    policy, caller = CedarPolicy.load(file), Caller(question.caller, "")
    rulings = []
    for permission, kind in resource_kinds().items():
        resource = _resource(kind, question)
        decision = policy.decide(caller, permission, resource)
        shown = f"{kind.value} {resource.id}"
        rulings.append(Ruling(permission.value, shown, decision.allowed, decision.rule))
    return rulings


def _resource(kind: ResourceKind, asked: Question) -> Resource:
    base = f"tenants/{asked.tenant}"
    owned = f"{base}/owners/{asked.owner}" if asked.owner else base
    if kind is ResourceKind.TENANT:
        return Resource(kind, base, asked.tenant)
    if kind is ResourceKind.PROVIDER:
        name = f"{base}/providers/{asked.provider or _UNNAMED}"
        return Resource(kind, name, asked.tenant, provider=asked.provider)
    if kind is ResourceKind.OAUTH_CLIENT:
        name = f"{base}/oauthClients/{asked.oauth_client or _UNNAMED}"
        return Resource(
            kind, name, asked.tenant, provider=asked.provider, oauth_client=asked.oauth_client
        )
    level = Level.USER if asked.owner else Level.APPLICATION
    if kind is ResourceKind.SECRET:
        name = f"{owned}/secrets/{asked.secret or _UNNAMED}"
        return Resource(kind, name, asked.tenant, level=level, owner=asked.owner)
    alias = f"{owned}/grantAliases/{asked.label or _UNNAMED}"
    return Resource(
        kind,
        f"{base}/grants/{asked.grant_id}" if asked.grant_id else alias,
        asked.tenant,
        level=Level.USER,
        owner=asked.owner,
        provider=asked.provider,
        oauth_client=asked.oauth_client,
        label=asked.label,
        scopes=frozenset(asked.scopes),
    )
