"""Resource names from their parts, checked: what comes out names the kind that was asked for.

Every function raises ``InvalidArgument`` (NAME_MALFORMED) for a part that is not of its kind,
so that an owner or id from outside cannot turn into another resource's name.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

import grpc

from tokenvault_client.errors import InvalidArgument

_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_OWNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@:+=|-]{0,127}")
_SHOWN_MAX: Final = 80


def _malformed(wanted: str, got: str) -> InvalidArgument:
    shown = got[:_SHOWN_MAX].encode("ascii", "backslashreplace").decode()
    return InvalidArgument(
        "NAME_MALFORMED", f"expected {wanted}, got {shown!r}", grpc.StatusCode.INVALID_ARGUMENT
    )


def _id(text: str, what: str) -> str:
    if not _ID.fullmatch(text):
        raise _malformed(f"{what} ([a-z][a-z0-9-]*, at most 63)", text)
    return text


def _owner(text: str) -> str:
    if not _OWNER.fullmatch(text):
        raise _malformed("an owner ([A-Za-z0-9][A-Za-z0-9._~@:+=|-]*, at most 128)", text)
    return text


def tenant_name(tenant: str) -> str:
    """``tenants/{tenant}``: the parent of everything."""
    return f"tenants/{_id(tenant, 'a tenant')}"


def provider_name(tenant: str, provider: str) -> str:
    """``tenants/{tenant}/providers/{provider}``"""
    return f"{tenant_name(tenant)}/providers/{_id(provider, 'a provider')}"


def oauth_client_name(tenant: str, oauth_client: str) -> str:
    """``tenants/{tenant}/oauthClients/{oauth_client}``"""
    return f"{tenant_name(tenant)}/oauthClients/{_id(oauth_client, 'an OAuthClient')}"


def grant_name(tenant: str, grant_id: str | uuid.UUID) -> str:
    """``tenants/{tenant}/grants/{uuid}``"""
    try:
        canonical = uuid.UUID(str(grant_id))
    except ValueError:
        raise _malformed("a grant's UUID", str(grant_id)) from None
    return f"{tenant_name(tenant)}/grants/{canonical}"


def grant_alias_name(tenant: str, owner: str, label: str) -> str:
    """``tenants/{tenant}/owners/{owner}/grantAliases/{label}``"""
    return f"{tenant_name(tenant)}/owners/{_owner(owner)}/grantAliases/{_id(label, 'a label')}"


def owner_name(tenant: str, owner: str) -> str:
    """``tenants/{tenant}/owners/{owner}``: the parent of that owner's secrets"""
    return f"{tenant_name(tenant)}/owners/{_owner(owner)}"


def webhook_name(tenant: str, webhook: str) -> str:
    """``tenants/{tenant}/webhooks/{webhook}``"""
    return f"{tenant_name(tenant)}/webhooks/{_id(webhook, 'a webhook')}"


def attempt_name(tenant: str, attempt_id: str | uuid.UUID) -> str:
    """``tenants/{tenant}/attempts/{uuid}``"""
    try:
        canonical = uuid.UUID(str(attempt_id))
    except ValueError:
        raise _malformed("an attempt's UUID", str(attempt_id)) from None
    return f"{tenant_name(tenant)}/attempts/{canonical}"


def secret_name(tenant: str, secret: str, *, owner: str | None = None) -> str:
    """``tenants/{tenant}/secrets/{secret}``, or with an owner (user-level)
    ``tenants/{tenant}/owners/{owner}/secrets/{secret}``.
    """
    level = "" if owner is None else f"/owners/{_owner(owner)}"
    return f"{tenant_name(tenant)}{level}/secrets/{_id(secret, 'a secret')}"
