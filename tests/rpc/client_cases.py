"""Each RPC with a call of the client, the request it sends, an answer and its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

import tokenvault_client as tv
from tokenvault.v1 import audit_service_pb2 as audit
from tokenvault.v1 import grant_service_pb2 as grants
from tokenvault.v1 import provider_service_pb2 as providers
from tokenvault.v1 import resources_pb2 as resources
from tokenvault.v1 import secret_service_pb2 as secrets
from tokenvault.v1 import token_service_pb2 as tokens

NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=UTC)
STAMP = Timestamp(seconds=int(NOON.timestamp()), nanos=250_000_000)
GRANT_NAME = "tenants/acme/grants/0192f0c1-0000-7000-8000-000000000001"
ALIAS = tv.grant_alias_name("acme", "user-42", "calendar")

GRANT_MESSAGE = resources.Grant(
    name=GRANT_NAME,
    owner="user-42",
    oauth_client="tenants/acme/oauthClients/web",
    provider="tenants/acme/providers/idp",
    subject="s-1",
    state=resources.GRANT_STATE_REAUTHORIZATION_REQUIRED,
    cause=resources.REAUTHORIZATION_CAUSE_EXPIRED_UNUSED,
    scopes=["a", "b"],
    generation=7,
    access_token_expire_time=STAMP,
    provider_revocation=resources.PROVIDER_REVOCATION_PENDING,
    etag="e1",
    create_time=STAMP,
)
GRANT = tv.Grant(
    name=GRANT_NAME,
    owner="user-42",
    oauth_client="tenants/acme/oauthClients/web",
    provider="tenants/acme/providers/idp",
    subject="s-1",
    state=tv.GrantState.REAUTHORIZATION_REQUIRED,
    cause=tv.ReauthorizationCause.EXPIRED_UNUSED,
    scopes=("a", "b"),
    generation=7,
    access_token_expire_time=NOON,
    provider_revocation=tv.ProviderRevocation.PENDING,
    etag="e1",
    create_time=NOON,
    update_time=None,
)
PROVIDER = tv.Provider(
    name="tenants/acme/providers/idp",
    issuer="https://idp.example",
    authorization_endpoint="https://idp.example/authorize",
    token_endpoint="https://idp.example/token",
    revocation_endpoint="https://idp.example/revoke",
    refresh_class=tv.RefreshClass.G,
    grace_s=30,
    authorization_params={"access_type": "offline"},
    scope_separator=",",
    subject_from="response:sub",
    requires_iss=True,
    default_life_s=1_800,
    token_paths={"access_token": "authed_user.access_token"},
    error_in_200=tv.ErrorIn200(
        member="error", codes={"bad_refresh_token": tv.AnswerClass.INVALID_GRANT}
    ),
    error_codes={"over_limit": tv.AnswerClass.RATE_LIMITED},
    refresh_kills_old_access_token=True,
    probe_endpoint="https://idp.example/me",
    introspection_endpoint="https://idp.example/introspect",
    requires_scope_on_refresh=True,
    max_idle_s=7_776_000,
    confirm_after_s=90,
    rate_per_s=50,
    rate_per_min=500,
    refresh_parallel_max=4,
    body_encoding=tv.BodyEncoding.JSON,
    auth_methods=(tv.ClientAuthMethod.CLIENT_SECRET_POST,),
    recovery=tv.Recovery.MANUAL,
    error_code_paths=("errors.0.code",),
    scope_aliases={"email": "https://idp.example/email"},
    scopes_not_comparable=True,
    token_life=tv.TokenLife.ENDLESS,
    token_params={"audience": "https://api.example"},
)
PROVIDER_MESSAGE = resources.Provider(
    name="tenants/acme/providers/idp",
    issuer="https://idp.example",
    authorization_endpoint="https://idp.example/authorize",
    token_endpoint="https://idp.example/token",
    revocation_endpoint="https://idp.example/revoke",
    refresh_class=resources.REFRESH_CLASS_G,
    grace_s=30,
    authorization_params={"access_type": "offline"},
    scope_separator=",",
    subject_from="response:sub",
    requires_iss=True,
    default_life_s=1_800,
    token_paths={"access_token": "authed_user.access_token"},
    error_in_200=resources.ErrorIn200(
        member="error", codes={"bad_refresh_token": resources.ANSWER_CLASS_INVALID_GRANT}
    ),
    error_codes={"over_limit": resources.ANSWER_CLASS_RATE_LIMITED},
    refresh_kills_old_access_token=True,
    probe_endpoint="https://idp.example/me",
    introspection_endpoint="https://idp.example/introspect",
    requires_scope_on_refresh=True,
    max_idle_s=7_776_000,
    confirm_after_s=90,
    rate_per_s=50,
    rate_per_min=500,
    refresh_parallel_max=4,
    body_encoding=resources.BODY_ENCODING_JSON,
    auth_methods=[resources.CLIENT_AUTH_METHOD_CLIENT_SECRET_POST],
    recovery=resources.RECOVERY_MANUAL,
    error_code_paths=["errors.0.code"],
    scope_aliases={"email": "https://idp.example/email"},
    scopes_not_comparable=True,
    token_life=resources.TOKEN_LIFE_ENDLESS,
    token_params={"audience": "https://api.example"},
)
OAUTH_CLIENT = tv.OAuthClient(
    name="tenants/acme/oauthClients/web",
    provider="tenants/acme/providers/idp",
    client_id="abc",
    auth_method=tv.ClientAuthMethod.CLIENT_SECRET_POST,
    redirect_uris=("https://app.example/cb",),
    scopes=("openid",),
    token_params={"resource": "https://api.example/mcp"},
)
OAUTH_CLIENT_MESSAGE = resources.OAuthClient(
    name="tenants/acme/oauthClients/web",
    provider="tenants/acme/providers/idp",
    client_id="abc",
    auth_method=resources.CLIENT_AUTH_METHOD_CLIENT_SECRET_POST,
    redirect_uris=["https://app.example/cb"],
    scopes=["openid"],
    token_params={"resource": "https://api.example/mcp"},
)
SECRET = tv.secret_name("acme", "api-key", owner="user-42")
VERSION_MESSAGE = resources.SecretVersion(
    secret=SECRET, version=3, level=resources.LEVEL_USER, create_time=STAMP
)
VERSION = tv.SecretVersion(secret=SECRET, version=3, level=tv.Level.USER, create_time=NOON)
RECORD_MESSAGE = resources.AuditRecord(
    id="r1",
    record_time=STAMP,
    action="ACCESS_TOKEN_DISCLOSED",
    outcome=resources.AUDIT_OUTCOME_DENY,
    reason="CALLER_NOT_ALLOWED",
    caller="spiffe://example.org/calendar",
    certificate_serial="0a",
    source="10.0.0.1:1",
    rpc="TokenService/GetAccessToken",
    request_id="q1",
    resource=ALIAS,
    token_fingerprint="f1",
    detail={"rule": "r"},
    deployment="prod",
    instance="i1",
)
RECORD = tv.AuditRecord(
    id="r1",
    record_time=NOON,
    action="ACCESS_TOKEN_DISCLOSED",
    outcome=tv.AuditOutcome.DENY,
    reason="CALLER_NOT_ALLOWED",
    caller="spiffe://example.org/calendar",
    certificate_serial="0a",
    source="10.0.0.1:1",
    rpc="TokenService/GetAccessToken",
    request_id="q1",
    resource=ALIAS,
    token_fingerprint="f1",
    detail={"rule": "r"},
    deployment="prod",
    instance="i1",
)


@dataclass(frozen=True)
class Case:
    """``call`` sends ``request`` to ``rpc``; ``answer`` reads as ``result``."""

    rpc: str
    call: Callable[[tv.TokenVaultClient], Awaitable[Any]]
    request: Message
    answer: Message
    result: object


CASES = [
    Case(
        "TokenService/GetAccessToken",
        lambda vault: vault.get_access_token(alias=ALIAS, min_ttl_s=90.5, scopes=("a",)),
        tokens.GetAccessTokenRequest(
            alias=ALIAS, min_ttl=Duration(seconds=90, nanos=500_000_000), scopes=["a"]
        ),
        tokens.GetAccessTokenResponse(
            access_token="at-1",
            token_type="Bearer",
            expire_time=STAMP,
            scopes=["a", "b"],
            token_fingerprint="f1",
            served=resources.SERVED_REFRESHED,
            grant_state=resources.GRANT_STATE_ACTIVE,
            grant=GRANT_NAME,
        ),
        tv.AccessToken(
            value="at-1",
            token_type="Bearer",
            expire_time=NOON,
            scopes=("a", "b"),
            fingerprint="f1",
            served=tv.Served.REFRESHED,
            grant=GRANT_NAME,
            grant_state=tv.GrantState.ACTIVE,
        ),
    ),
    Case(
        "GrantService/StartAuthorization",
        lambda vault: vault.start_authorization(
            "tenants/acme/oauthClients/web",
            owner="user-42",
            redirect_uri="https://app.example/cb",
            scopes=["a"],
            label="calendar",
        ),
        grants.StartAuthorizationRequest(
            oauth_client="tenants/acme/oauthClients/web",
            owner="user-42",
            redirect_uri="https://app.example/cb",
            scopes=["a"],
            label="calendar",
        ),
        grants.StartAuthorizationResponse(
            authorization_url="https://idp.example/a", state="st", expire_time=STAMP
        ),
        tv.Authorization(url="https://idp.example/a", state="st", expire_time=NOON),
    ),
    Case(
        "GrantService/CompleteAuthorization",
        lambda vault: vault.complete_authorization(
            "tenants/acme",
            state="st",
            owner="user-42",
            code="c",
            iss="https://idp.example",
            redirect_uri="https://app.example/cb",
        ),
        grants.CompleteAuthorizationRequest(
            parent="tenants/acme",
            state="st",
            owner="user-42",
            code="c",
            iss="https://idp.example",
            redirect_uri="https://app.example/cb",
        ),
        grants.CompleteAuthorizationResponse(grant=GRANT_MESSAGE, alias=ALIAS),
        tv.CompletedAuthorization(grant=GRANT, alias=ALIAS),
    ),
    Case(
        "GrantService/GetGrant",
        lambda vault: vault.get_grant(GRANT_NAME),
        grants.GetGrantRequest(name=GRANT_NAME),
        grants.GetGrantResponse(grant=GRANT_MESSAGE),
        GRANT,
    ),
    Case(
        "GrantService/ListGrants",
        lambda vault: vault.list_grants(
            "tenants/acme", owner="user-42", page_size=2, page_token="t"
        ),
        grants.ListGrantsRequest(
            parent="tenants/acme", owner="user-42", page_size=2, page_token="t"
        ),
        grants.ListGrantsResponse(grants=[GRANT_MESSAGE], next_page_token="n"),
        tv.Page((GRANT,), "n"),
    ),
    Case(
        "GrantService/RevokeGrant",
        lambda vault: vault.revoke_grant(GRANT_NAME),
        grants.RevokeGrantRequest(name=GRANT_NAME),
        grants.RevokeGrantResponse(grant=GRANT_MESSAGE),
        GRANT,
    ),
    Case(
        "ProviderService/PutProvider",
        lambda vault: vault.put_provider(PROVIDER),
        providers.PutProviderRequest(provider=PROVIDER_MESSAGE),
        providers.PutProviderResponse(provider=PROVIDER_MESSAGE),
        PROVIDER,
    ),
    Case(
        "ProviderService/ListProviders",
        lambda vault: vault.list_providers("tenants/acme", page_size=2, page_token="t"),
        providers.ListProvidersRequest(parent="tenants/acme", page_size=2, page_token="t"),
        providers.ListProvidersResponse(providers=[PROVIDER_MESSAGE], next_page_token="n"),
        tv.Page((PROVIDER,), "n"),
    ),
    Case(
        "ProviderService/PutOAuthClient",
        lambda vault: vault.put_oauth_client(OAUTH_CLIENT, client_secret="hush"),
        providers.PutOAuthClientRequest(oauth_client=OAUTH_CLIENT_MESSAGE, client_secret="hush"),
        providers.PutOAuthClientResponse(oauth_client=OAUTH_CLIENT_MESSAGE),
        OAUTH_CLIENT,
    ),
    Case(
        "ProviderService/ListOAuthClients",
        lambda vault: vault.list_oauth_clients("tenants/acme", page_size=2, page_token="t"),
        providers.ListOAuthClientsRequest(parent="tenants/acme", page_size=2, page_token="t"),
        providers.ListOAuthClientsResponse(
            oauth_clients=[OAUTH_CLIENT_MESSAGE], next_page_token="n"
        ),
        tv.Page((OAUTH_CLIENT,), "n"),
    ),
    Case(
        "SecretService/PutSecret",
        lambda vault: vault.put_secret(SECRET, b"hush"),
        secrets.PutSecretRequest(name=SECRET, payload=b"hush"),
        secrets.PutSecretResponse(secret_version=VERSION_MESSAGE),
        VERSION,
    ),
    Case(
        "SecretService/GetSecretValue",
        lambda vault: vault.get_secret_value(SECRET),
        secrets.GetSecretValueRequest(name=SECRET),
        secrets.GetSecretValueResponse(payload=b"hush", secret_version=VERSION_MESSAGE),
        tv.SecretValue(value=b"hush", secret_version=VERSION),
    ),
    Case(
        "AuditService/ListAuditRecords",
        lambda vault: vault.list_audit_records("tenants/acme", page_size=2, page_token="t"),
        audit.ListAuditRecordsRequest(parent="tenants/acme", page_size=2, page_token="t"),
        audit.ListAuditRecordsResponse(records=[RECORD_MESSAGE], next_page_token="n"),
        tv.Page((RECORD,), "n"),
    ),
]

BY_RPC = {case.rpc: case for case in CASES}
GET_GRANT = BY_RPC["GrantService/GetGrant"]
PUT_SECRET = BY_RPC["SecretService/PutSecret"]
