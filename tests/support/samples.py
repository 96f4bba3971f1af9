"""Rows that tests need and do not care about."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from vault_service.adapters.clock import SystemEntropy
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.audit import AuditAction, AuditRecord, Outcome
from vault_service.domain.consent import DiscardedToken, Ending, TokenKind
from vault_service.domain.envelope import DekOwner, Level, WrappedDek
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant, GrantState, ProviderRevocation, SealedTokens
from vault_service.domain.names import OAuthClientName, ProviderName, WebhookName
from vault_service.domain.oauth import Authorization, ClientAuthMethod, OAuthClient
from vault_service.domain.provider import (
    BodyEncoding,
    ErrorIn200,
    ProviderProfile,
    Recovery,
    RefreshClass,
    TokenLife,
)
from vault_service.domain.webhook import Webhook, WebhookState
from vault_service.ports import (
    AuthorizationStore,
    GrantStore,
    OAuthClientStore,
    ProviderStore,
)

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_ENTROPY = SystemEntropy()


def new_id() -> uuid.UUID:
    """A fresh time-ordered id."""
    return _ENTROPY.uuid7()


def a_record(tenant: str = "acme", **changes: Any) -> AuditRecord:
    """A record of a disclosure."""
    values: dict[str, Any] = {
        "record_id": new_id(),
        "tenant": tenant,
        "action": AuditAction.ACCESS_TOKEN_DISCLOSED,
        "outcome": Outcome.ALLOW,
        "reason": "",
        "caller": "spiffe://example.org/app",
        "certificate_serial": "01ab",
        "source": "ipv4:127.0.0.1:4711",
        "rpc": "TokenService/GetAccessToken",
        "request_id": "r-1",
        "resource": f"tenants/{tenant}/grants/x",
        "deployment": "dep-1",
        "instance": "i-1",
    }
    return AuditRecord(**(values | changes))


def a_profile(**changes: Any) -> ProviderProfile:
    """A provider's profile."""
    values: dict[str, Any] = {
        "issuer": "https://op.example",
        "authorization_endpoint": "https://op.example/auth",
        "token_endpoint": "https://op.example/token",
        "revocation_endpoint": "https://op.example/revoke",
    }
    return ProviderProfile(**(values | changes))


def a_full_profile() -> ProviderProfile:
    """A sound profile in which no field that may be left out has its default."""
    return a_profile(
        refresh_class=RefreshClass.S,
        authorization_params={"access_type": "offline", "prompt": "consent ü"},
        scope_separator=",",
        subject_from="response:team_id",
        requires_iss=True,
        default_life_s=7_200,
        token_paths={"access_token": "authed_user.access_token"},
        error_in_200=ErrorIn200("error.code", {"bad_refresh_token": AnswerClass.INVALID_GRANT}),
        error_codes={"unauthorized_client: refresh_token is invalid": AnswerClass.INVALID_GRANT},
        error_code_paths=("errors.0.code", "fault.detail.code"),
        scope_aliases={"email": "https://op.example/email"},
        scopes_not_comparable=True,
        token_life=TokenLife.ZERO_IS_ENDLESS,
        token_params={"audience": "https://api.example.org"},
        refresh_kills_old_access_token=True,
        probe_endpoint="https://op.example/me",
        introspection_endpoint="https://op.example/introspect",
        requires_scope_on_refresh=True,
        max_idle_s=7_776_000,
        confirm_after_s=90,
        rate_per_s=50,
        rate_per_min=500,
        refresh_parallel_max=4,
        body_encoding=BodyEncoding.JSON,
        auth_methods=(ClientAuthMethod.CLIENT_SECRET_POST,),
        recovery=Recovery.PROBE_ONLY,
    )


def an_oauth_client(tenant: str = "acme", name: str = "crm", **changes: Any) -> OAuthClient:
    """A registration at the provider ``op``; its client_id is the tenant's own."""
    values: dict[str, Any] = {
        "name": OAuthClientName(tenant, name),
        "provider": "op",
        "issuer": "https://op.example",
        "client_id": f"{tenant}-{name}",
        "auth_method": ClientAuthMethod.CLIENT_SECRET_BASIC,
        "redirect_uris": ("https://app.example/cb",),
        "scopes": ("openid", "mail"),
        "credential_envelope": b"sealed credential",
        "credential_version": 1,
        "revision": 0,
        "create_time": LONG_AGO,
        "update_time": LONG_AGO,
    }
    return OAuthClient(**(values | changes))


def an_authorization(tenant: str = "acme", **changes: Any) -> Authorization:
    """A consent under way."""
    authorization_id = new_id()
    values: dict[str, Any] = {
        "tenant": tenant,
        "authorization_id": authorization_id,
        "state_hash": hashlib.sha256(authorization_id.bytes).digest(),
        "caller": "spiffe://example.org/app",
        "owner": "u-1",
        "label": "mail",
        "oauth_client": "crm",
        "provider": "op",
        "redirect_uri": "https://app.example/cb",
        "scopes": ("openid",),
        "nonce": "n-1",
        "verifier_envelope": b"sealed verifier",
        "create_time": LONG_AGO,
        "expire_time": LONG_AGO,
        "code_hash": None,
        "claim_time": None,
        "grant_id": None,
        "read_time": LONG_AGO,
    }
    return Authorization(**(values | changes))


def a_grant(tenant: str = "acme", **changes: Any) -> Grant:
    """A grant as a consent brings it: generation 1, both tokens."""
    values: dict[str, Any] = {
        "tenant": tenant,
        "grant_id": new_id(),
        "owner": "u-1",
        "oauth_client": "crm",
        "provider": "op",
        "issuer": "https://op.example",
        "token_endpoint": "https://op.example/token",
        "subject": f"sub-{new_id()}",
        "state": GrantState.ACTIVE,
        "cause": None,
        "scopes": ("openid", "mail"),
        "token_type": "Bearer",
        "revision": 1,
        "generation": 1,
        "access_envelope": b"sealed access token 1",
        "access_generation": 1,
        "access_expire_time": datetime(2030, 1, 1, tzinfo=UTC),
        "access_life_s": 3_600,
        "refresh_envelope": b"sealed refresh token 1",
        "refresh_generation": 1,
        "provider_revocation": ProviderRevocation.NONE,
        "create_time": LONG_AGO,
        "update_time": LONG_AGO,
        "read_time": LONG_AGO,
    }
    return Grant(**(values | changes))


def some_tokens(generation: int = 2, **changes: Any) -> SealedTokens:
    """The envelopes of one refresh."""
    values: dict[str, Any] = {
        "generation": generation,
        "access_envelope": f"sealed access token {generation}".encode(),
        "access_expire_time": datetime(2031, 1, 1, tzinfo=UTC) + timedelta(hours=generation),
        "access_life_s": 1_800,
        "refresh_envelope": f"sealed refresh token {generation}".encode(),
        "scopes": ("openid",),
        "token_type": "bearer",
    }
    return SealedTokens(**(values | changes))


def a_webhook(tenant: str = "acme", webhook: str = "pager", **changes: Any) -> Webhook:
    """An endpoint that is told of everything."""
    values: dict[str, Any] = {
        "name": WebhookName(tenant, webhook),
        "webhook_id": new_id(),
        "url": "https://pager.example/hook",
        "kinds": frozenset(),
        "state": WebhookState.ENABLED,
        "secret_envelope": b"sealed secret 1",
        "secret_version": 1,
        "previous_envelope": None,
        "previous_version": None,
        "previous_until": None,
        "revision": 1,
        "create_time": LONG_AGO,
        "update_time": LONG_AGO,
        "read_time": LONG_AGO,
    }
    return Webhook(**(values | changes))


def a_dek(tenant: str = "acme", level: Level = Level.USER, owner: str = "u-1") -> WrappedDek:
    """A wrapped DEK."""
    return WrappedDek(new_id().bytes, DekOwner(tenant, level, owner), "vault:v1:xyz", 1)


async def put_client(
    providers: ProviderStore, oauth_clients: OAuthClientStore, tenant: str = "acme"
) -> None:
    """The provider ``op`` and the OAuthClient ``crm`` of a tenant."""
    await providers.put(ProviderName(tenant, "op"), a_profile(), a_record(tenant))
    assert await oauth_clients.put(an_oauth_client(tenant), 0, a_record(tenant))


async def discard_token(
    authorizations: AuthorizationStore, authorization: Authorization
) -> DiscardedToken:
    """A consent that has ended, and its token in the queue of revocations."""
    tenant, claim_id = authorization.tenant, new_id()
    await authorizations.insert(authorization, limits.AUTHORIZATION_LIFE_S, a_record(tenant))
    assert await authorizations.claim(authorization, b"c" * 32, claim_id, a_record(tenant))
    token = DiscardedToken(
        token_id=new_id(),
        tenant=tenant,
        authorization_id=authorization.authorization_id,
        owner="u-1",
        oauth_client="crm",
        provider="op",
        kind=TokenKind.ACCESS,
        envelope=b"sealed token",
        attempts=0,
        expire_time=LONG_AGO,
        read_time=LONG_AGO,
    )
    ending, record = Ending(Reason.ID_TOKEN_REFUSED, "no"), a_record(tenant)
    for _ in range(2):  # as after a commit whose answer was lost
        await authorizations.end(authorization, claim_id, ending, record, discarded=token)
    return token


async def put_grant(
    authorizations: AuthorizationStore, grants: GrantStore, grant: Grant, label: str = "mail"
) -> Grant:
    """Store a grant through a consent of its owner; returns the row."""
    authorization = an_authorization(grant.tenant, owner=grant.owner, label=label)
    await authorizations.insert(authorization, limits.AUTHORIZATION_LIFE_S, a_record(grant.tenant))
    assert await grants.insert(grant, authorization, a_record(grant.tenant))
    stored = await grants.get(grant.name)
    assert stored is not None
    return stored
