"""Resource names: every name carries its tenant.

``tenants/{t}``, ``tenants/{t}/providers/{p}``, ``tenants/{t}/oauthClients/{c}``,
``tenants/{t}/grants/{uuid}``, ``tenants/{t}/owners/{o}/grantAliases/{label}``,
``tenants/{t}/secrets/{s}`` (application level), ``tenants/{t}/owners/{o}/secrets/{s}``
(user level), ``tenants/{t}/webhooks/{w}``. Parsing is strict: what parses prints back to the same
text.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Final

from vault_service.domain import limits
from vault_service.domain.envelope import Level
from vault_service.domain.errors import Reason, VaultError

_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,%d}" % (limits.ID_MAX_CHARS - 1))
_OWNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@:+=|-]{0,%d}" % (limits.OWNER_MAX_CHARS - 1))
_SHOWN_MAX: Final = 80

SYSTEM_TENANT: Final = "-"
"""Stands in the records of calls that named no valid tenant; no tenant can be called so."""


def malformed(shape: str, got: str) -> VaultError:
    """NAME_MALFORMED with the shape that was wanted; the wrong text is cut and escaped."""
    shown = got[:_SHOWN_MAX].encode("ascii", "backslashreplace").decode()
    return VaultError(Reason.NAME_MALFORMED, f"expected {shape}, got {shown[:_SHOWN_MAX]!r}")


def require_id(text: str, what: str) -> str:
    """A lower-case id of at most 63 characters; raises NAME_MALFORMED."""
    if not _ID.fullmatch(text):
        raise malformed(f"{what} like 'my-{what.lower()}' ([a-z][a-z0-9-]*, at most 63)", text)
    return text


def require_owner(text: str) -> str:
    """An owner id of at most 128 characters without '/'; raises NAME_MALFORMED."""
    if not _OWNER.fullmatch(text):
        raise malformed("an owner ([A-Za-z0-9][A-Za-z0-9._~@:+=|-]*, at most 128)", text)
    return text


def _split(name: str, collections: tuple[str, ...], shape: str) -> list[str]:
    if len(name) > limits.URI_MAX_CHARS:
        raise malformed(shape, name)
    parts = name.split("/")
    if len(parts) != 2 * len(collections) or tuple(parts[::2]) != collections:
        raise malformed(shape, name)
    return parts[1::2]


def parse_tenant(name: str) -> str:
    """The id in ``tenants/{t}``; raises NAME_MALFORMED."""
    (tenant,) = _split(name, ("tenants",), "'tenants/{tenant}'")
    return require_id(tenant, "Tenant")


@dataclass(frozen=True, slots=True)
class ProviderName:
    """``tenants/{t}/providers/{p}``"""

    tenant: str
    provider: str

    @classmethod
    def parse(cls, name: str) -> ProviderName:
        """Strict; raises NAME_MALFORMED."""
        tenant, provider = _split(
            name, ("tenants", "providers"), "'tenants/{tenant}/providers/{provider}'"
        )
        return cls(require_id(tenant, "Tenant"), require_id(provider, "Provider"))

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/providers/{self.provider}"


@dataclass(frozen=True, slots=True)
class OAuthClientName:
    """``tenants/{t}/oauthClients/{c}``"""

    tenant: str
    oauth_client: str

    @classmethod
    def parse(cls, name: str) -> OAuthClientName:
        """Strict; raises NAME_MALFORMED."""
        tenant, client = _split(
            name, ("tenants", "oauthClients"), "'tenants/{tenant}/oauthClients/{client}'"
        )
        return cls(require_id(tenant, "Tenant"), require_id(client, "OAuthClient"))

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/oauthClients/{self.oauth_client}"


@dataclass(frozen=True, slots=True)
class GrantName:
    """``tenants/{t}/grants/{uuid}``, the UUID in its one canonical spelling"""

    tenant: str
    grant_id: uuid.UUID

    @classmethod
    def parse(cls, name: str) -> GrantName:
        """Strict; raises NAME_MALFORMED."""
        shape = "'tenants/{tenant}/grants/{uuid}'"
        tenant, text = _split(name, ("tenants", "grants"), shape)
        try:
            grant_id = uuid.UUID(text)
        except ValueError:
            raise malformed(shape, name) from None
        if str(grant_id) != text:
            raise malformed(shape, name)
        return cls(require_id(tenant, "Tenant"), grant_id)

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/grants/{self.grant_id}"


@dataclass(frozen=True, slots=True)
class AttemptName:
    """``tenants/{t}/attempts/{uuid}``, the UUID in its one canonical spelling"""

    tenant: str
    attempt_id: uuid.UUID

    @classmethod
    def parse(cls, name: str) -> AttemptName:
        """Strict; raises NAME_MALFORMED."""
        shape = "'tenants/{tenant}/attempts/{uuid}'"
        tenant, text = _split(name, ("tenants", "attempts"), shape)
        try:
            attempt_id = uuid.UUID(text)
        except ValueError:
            raise malformed(shape, name) from None
        if str(attempt_id) != text:
            raise malformed(shape, name)
        return cls(require_id(tenant, "Tenant"), attempt_id)

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/attempts/{self.attempt_id}"


@dataclass(frozen=True, slots=True)
class GrantAliasName:
    """``tenants/{t}/owners/{o}/grantAliases/{label}``"""

    tenant: str
    owner: str
    label: str

    @classmethod
    def parse(cls, name: str) -> GrantAliasName:
        """Strict; raises NAME_MALFORMED."""
        tenant, owner, label = _split(
            name,
            ("tenants", "owners", "grantAliases"),
            "'tenants/{tenant}/owners/{owner}/grantAliases/{label}'",
        )
        return cls(require_id(tenant, "Tenant"), require_owner(owner), require_id(label, "Label"))

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/owners/{self.owner}/grantAliases/{self.label}"


@dataclass(frozen=True, slots=True)
class SecretName:
    """``tenants/{t}/secrets/{s}`` or ``tenants/{t}/owners/{o}/secrets/{s}``

    The name says the level: without an owner it is application-level, and ``owner`` is "".
    """

    tenant: str
    owner: str
    secret: str

    @property
    def level(self) -> Level:
        """APPLICATION without an owner, USER with one."""
        return Level.USER if self.owner else Level.APPLICATION

    @classmethod
    def parse(cls, name: str) -> SecretName:
        """Strict; raises NAME_MALFORMED."""
        shape = (
            "'tenants/{tenant}/secrets/{secret}' or "
            "'tenants/{tenant}/owners/{owner}/secrets/{secret}'"
        )
        if name.count("/") == 3:
            tenant, secret = _split(name, ("tenants", "secrets"), shape)
            return cls(require_id(tenant, "Tenant"), "", require_id(secret, "Secret"))
        tenant, owner, secret = _split(name, ("tenants", "owners", "secrets"), shape)
        return cls(require_id(tenant, "Tenant"), require_owner(owner), require_id(secret, "Secret"))

    def __str__(self) -> str:
        owner = f"/owners/{self.owner}" if self.owner else ""
        return f"tenants/{self.tenant}{owner}/secrets/{self.secret}"


@dataclass(frozen=True, slots=True)
class SecretParent:
    """``tenants/{t}`` (its application-level secrets) or ``tenants/{t}/owners/{o}``"""

    tenant: str
    owner: str  # "" for the application's

    @property
    def level(self) -> Level:
        """APPLICATION without an owner, USER with one."""
        return Level.USER if self.owner else Level.APPLICATION

    @classmethod
    def parse(cls, name: str) -> SecretParent:
        """Strict; raises NAME_MALFORMED."""
        shape = "'tenants/{tenant}' or 'tenants/{tenant}/owners/{owner}'"
        if name.count("/") == 1:
            (tenant,) = _split(name, ("tenants",), shape)
            return cls(require_id(tenant, "Tenant"), "")
        tenant, owner = _split(name, ("tenants", "owners"), shape)
        return cls(require_id(tenant, "Tenant"), require_owner(owner))

    def __str__(self) -> str:
        return f"tenants/{self.tenant}" + (f"/owners/{self.owner}" if self.owner else "")


@dataclass(frozen=True, slots=True)
class WebhookName:
    """``tenants/{t}/webhooks/{w}``"""

    tenant: str
    webhook: str

    @classmethod
    def parse(cls, name: str) -> WebhookName:
        """Strict; raises NAME_MALFORMED."""
        tenant, webhook = _split(
            name, ("tenants", "webhooks"), "'tenants/{tenant}/webhooks/{webhook}'"
        )
        return cls(require_id(tenant, "Tenant"), require_id(webhook, "Webhook"))

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/webhooks/{self.webhook}"


GrantTarget = GrantName | GrantAliasName
"""How a caller points at a grant: by its name, or by an alias of its own."""
