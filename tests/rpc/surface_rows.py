"""The table of the surface: what each RPC records, and how it refuses unknown and too large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from tests.rpc.surface_cases import Case
from tests.rpc.surface_whole_cases import ALL_CASES, WEBHOOK_SECRET
from tests.support.house import REDIRECT_URI, TENANT
from tokenvault.v1 import attempt_service_pb2 as attempts
from tokenvault.v1 import audit_service_pb2 as audit
from tokenvault.v1 import grant_service_pb2 as grants
from tokenvault.v1 import provider_service_pb2 as providers
from tokenvault.v1 import resources_pb2 as resources
from tokenvault.v1 import secret_service_pb2 as secrets
from tokenvault.v1 import token_service_pb2 as tokens
from tokenvault.v1 import webhook_service_pb2 as webhooks
from vault_service.domain.audit import AuditAction

_ABSENT = "0192f0c1-0000-7000-8000-00000000dead"
_GRANT = f"tenants/{TENANT}/grants/{_ABSENT}"
_ATTEMPT = f"tenants/{TENANT}/attempts/{_ABSENT}"
_CLIENT = f"tenants/{TENANT}/oauthClients/nope"
_SECRET = f"tenants/{TENANT}/owners/u-1/secrets/smtp"  # there is one of the application only
_LONG = f"tenants/{TENANT}/secrets/{'x' * 3_000}"
_WEBHOOK = f"tenants/{TENANT}/webhooks/nope"
_TOKEN = "A" * 600
_STORE, _KEYS = "store", "keys"

Asked = tuple[str, Message]
"""A reason, and the request that ends with it."""


@dataclass(frozen=True)
class Row:
    """One RPC. ``recorded``: what an allowed call leaves behind, in this order; ``unknown`` is
    None where there is nothing to name. ``needs``: what it cannot do without."""

    recorded: tuple[AuditAction, ...]
    unknown: Asked | None
    too_large: Asked
    needs: tuple[str, ...] = (_STORE,)


def _put_secret(**changes: Any) -> Message:
    values: dict[str, Any] = {"name": f"tenants/{TENANT}/secrets/smtp", "payload": b"x"}
    return secrets.PutSecretRequest(**(values | changes))


def _oauth_client(provider: str, secret: str) -> Message:
    return providers.PutOAuthClientRequest(
        oauth_client=resources.OAuthClient(
            name=f"tenants/{TENANT}/oauthClients/new",
            provider=f"tenants/{TENANT}/providers/{provider}",
            client_id="new-at-op",
            redirect_uris=[REDIRECT_URI],
        ),
        client_secret=secret,
    )


def _webhook(**changes: Any) -> Message:
    values = {"name": f"tenants/{TENANT}/webhooks/pager", "url": "https://pager.example/hook"}
    return webhooks.PutWebhookRequest(
        webhook=webhooks.Webhook(**(values | changes)), secret=WEBHOOK_SECRET
    )


def _start(client: str, redirect_uri: str) -> Message:
    return grants.StartAuthorizationRequest(
        oauth_client=client, owner="u-1", redirect_uri=redirect_uri
    )


def _complete(state: str, code: str) -> Message:
    return grants.CompleteAuthorizationRequest(
        parent=f"tenants/{TENANT}", state=state, code=code, owner="u-1"
    )


def _page(request: Callable[..., Message]) -> Asked:
    return "FIELD_MALFORMED", request(parent=f"tenants/{TENANT}", page_token=_TOKEN)


_A = AuditAction
ROWS: dict[str, Row] = {
    "GetAccessToken": Row(
        (_A.ACCESS_TOKEN_DISCLOSED,),
        ("GRANT_NOT_FOUND", tokens.GetAccessTokenRequest(grant=_GRANT)),
        (
            "SCOPE_MALFORMED",
            tokens.GetAccessTokenRequest(grant=_GRANT, scopes=[f"s{n}" for n in range(101)]),
        ),
        (_STORE, _KEYS),
    ),
    "StartAuthorization": Row(
        (_A.AUTHORIZATION_STARTED,),
        ("OAUTH_CLIENT_NOT_FOUND", _start(_CLIENT, REDIRECT_URI)),
        ("FIELD_MALFORMED", _start(_CLIENT, "https://app.example/" + "x" * 2_048)),
        (_STORE, _KEYS),
    ),
    "CompleteAuthorization": Row(
        (_A.CODE_EXCHANGE_STARTED, _A.AUTHORIZATION_COMPLETED),
        ("STATE_UNKNOWN", _complete("no-such-state", "code")),
        ("FIELD_MALFORMED", _complete("state", "c" * 4_097)),
        (_STORE, _KEYS),
    ),
    "GetGrant": Row(
        (),
        ("GRANT_NOT_FOUND", grants.GetGrantRequest(name=_GRANT)),
        ("NAME_MALFORMED", grants.GetGrantRequest(name=_LONG)),
    ),
    "ListGrants": Row((), None, _page(grants.ListGrantsRequest)),
    "RevokeGrant": Row(
        (_A.GRANT_REVOKED, _A.PROVIDER_REVOCATION_DONE),
        ("GRANT_NOT_FOUND", grants.RevokeGrantRequest(name=_GRANT)),
        ("NAME_MALFORMED", grants.RevokeGrantRequest(name=_LONG)),
    ),
    "DeleteGrant": Row(
        (_A.GRANT_REVOKED, _A.PROVIDER_REVOCATION_DONE, _A.GRANT_DELETED),
        ("GRANT_NOT_FOUND", grants.DeleteGrantRequest(name=_GRANT)),
        ("NAME_MALFORMED", grants.DeleteGrantRequest(name=_LONG)),
    ),
    "LinkAlias": Row(
        (_A.GRANT_ALIAS_LINKED,),
        (
            "GRANT_NOT_FOUND",
            grants.LinkAliasRequest(
                alias=f"tenants/{TENANT}/owners/u-2/grantAliases/x", grant=_GRANT
            ),
        ),
        (
            "NAME_MALFORMED",
            grants.LinkAliasRequest(
                alias=f"tenants/{TENANT}/owners/{'o' * 129}/grantAliases/x", grant=_GRANT
            ),
        ),
    ),
    "UnlinkAlias": Row(
        (_A.GRANT_ALIAS_UNLINKED,),
        (
            "GRANT_NOT_FOUND",
            grants.UnlinkAliasRequest(alias=f"tenants/{TENANT}/owners/u-1/grantAliases/nope"),
        ),
        (
            "NAME_MALFORMED",
            grants.UnlinkAliasRequest(alias=f"tenants/{TENANT}/owners/u-1/grantAliases/{'l' * 64}"),
        ),
    ),
    "WatchGrants": Row(
        (_A.GRANT_WATCH_STARTED, _A.GRANT_WATCH_ENDED),
        None,
        (
            "FIELD_MALFORMED",
            grants.WatchGrantsRequest(parent=f"tenants/{TENANT}", cursor="A" * 65),
        ),
    ),
    "ReportRejectedToken": Row(
        (_A.ACCESS_TOKEN_REJECTED,),
        (
            "GRANT_NOT_FOUND",
            tokens.ReportRejectedTokenRequest(grant=_GRANT, token_fingerprint="v1.x"),
        ),
        (
            "FIELD_MALFORMED",
            tokens.ReportRejectedTokenRequest(grant=_GRANT, token_fingerprint="x" * 65),
        ),
        (_STORE, _KEYS),
    ),
    "PutWebhook": Row(
        (_A.WEBHOOK_PUT,),
        ("ETAG_MISMATCH", _webhook(name=_WEBHOOK, etag="7")),
        ("FIELD_MALFORMED", _webhook(url="https://pager.example/" + "x" * 2_048)),
        (_STORE, _KEYS),
    ),
    "ListWebhooks": Row((), None, _page(webhooks.ListWebhooksRequest)),
    "DeleteWebhook": Row(
        (_A.WEBHOOK_DELETED,),
        ("WEBHOOK_NOT_FOUND", webhooks.DeleteWebhookRequest(name=_WEBHOOK)),
        ("NAME_MALFORMED", webhooks.DeleteWebhookRequest(name=_LONG)),
    ),
    "ListDeadLetters": Row(
        (),
        ("WEBHOOK_NOT_FOUND", webhooks.ListDeadLettersRequest(parent=_WEBHOOK)),
        (
            "FIELD_MALFORMED",
            webhooks.ListDeadLettersRequest(
                parent=f"tenants/{TENANT}/webhooks/known", page_token=_TOKEN
            ),
        ),
    ),
    "RedeliverDeadLetters": Row(
        (_A.DEAD_LETTERS_REDELIVERED,),
        ("WEBHOOK_NOT_FOUND", webhooks.RedeliverDeadLettersRequest(webhook=_WEBHOOK)),
        (
            "FIELD_MALFORMED",
            webhooks.RedeliverDeadLettersRequest(
                webhook=f"tenants/{TENANT}/webhooks/known", ids=[_ABSENT] * 501
            ),
        ),
    ),
    "ListAttempts": Row((), None, _page(attempts.ListAttemptsRequest)),
    "GetAttempt": Row(
        (),
        ("ATTEMPT_NOT_FOUND", attempts.GetAttemptRequest(name=_ATTEMPT)),
        ("NAME_MALFORMED", attempts.GetAttemptRequest(name=_LONG)),
    ),
    "ResolveAttempt": Row(
        (_A.ATTEMPT_RESOLUTION_ORDERED, _A.REFRESH_ATTEMPT_RESOLVED),
        (
            "ATTEMPT_NOT_FOUND",
            attempts.ResolveAttemptRequest(name=_ATTEMPT, action=attempts.ATTEMPT_ACTION_GIVE_UP),
        ),
        (
            "FIELD_MALFORMED",
            attempts.ResolveAttemptRequest(
                name=_ATTEMPT, action=attempts.ATTEMPT_ACTION_GIVE_UP, reason="x" * 201
            ),
        ),
    ),
    "PutProvider": Row(
        (_A.PROVIDER_PUT,),
        None,
        (
            "FIELD_MALFORMED",
            providers.PutProviderRequest(
                provider=resources.Provider(
                    name=f"tenants/{TENANT}/providers/op",
                    issuer="https://op.example/" + "x" * 2_048,
                )
            ),
        ),
    ),
    "ListProviders": Row((), None, _page(providers.ListProvidersRequest)),
    "PutOAuthClient": Row(
        (_A.OAUTH_CLIENT_PUT,),
        ("PROVIDER_NOT_FOUND", _oauth_client("nope", "secret")),
        ("PAYLOAD_TOO_LARGE", _oauth_client("op", "s" * 4_097)),
        (_STORE, _KEYS),
    ),
    "ListOAuthClients": Row((), None, _page(providers.ListOAuthClientsRequest)),
    "AddClientCredential": Row(
        (_A.CLIENT_CREDENTIAL_ADDED,),
        (
            "OAUTH_CLIENT_NOT_FOUND",
            providers.AddClientCredentialRequest(oauth_client=_CLIENT, client_secret="s"),
        ),
        (
            "PAYLOAD_TOO_LARGE",
            providers.AddClientCredentialRequest(
                oauth_client=f"tenants/{TENANT}/oauthClients/crm", client_secret="s" * 4_097
            ),
        ),
        (_STORE, _KEYS),
    ),
    "RetireClientCredential": Row(
        (_A.CLIENT_CREDENTIAL_RETIRED,),
        (
            "CREDENTIAL_NOT_FOUND",
            providers.RetireClientCredentialRequest(
                oauth_client=f"tenants/{TENANT}/oauthClients/crm", version=9
            ),
        ),
        (
            "NAME_MALFORMED",
            providers.RetireClientCredentialRequest(oauth_client=_LONG, version=1),
        ),
    ),
    "SuspendOAuthClient": Row(
        (_A.OAUTH_CLIENT_SUSPENDED,),
        ("OAUTH_CLIENT_NOT_FOUND", providers.SuspendOAuthClientRequest(name=_CLIENT)),
        ("NAME_MALFORMED", providers.SuspendOAuthClientRequest(name=_LONG)),
    ),
    "ResumeOAuthClient": Row(
        (),  # it was in service
        ("OAUTH_CLIENT_NOT_FOUND", providers.ResumeOAuthClientRequest(name=_CLIENT)),
        ("NAME_MALFORMED", providers.ResumeOAuthClientRequest(name=_LONG)),
    ),
    "ListClientHolds": Row(
        (),
        None,
        (
            "NAME_MALFORMED",
            providers.ListClientHoldsRequest(parent=f"tenants/{'t' * 200}"),
        ),
    ),
    "ClearClientHold": Row(
        (),  # it was not held
        (
            "OAUTH_CLIENT_NOT_FOUND",
            providers.ClearClientHoldRequest(oauth_client=_CLIENT, why="a test"),
        ),
        ("NAME_MALFORMED", providers.ClearClientHoldRequest(oauth_client=_LONG, why="a test")),
    ),
    "PutSecret": Row(
        (_A.SECRET_PUT,),
        ("ETAG_MISMATCH", _put_secret(name=_SECRET, etag="7")),
        ("PAYLOAD_TOO_LARGE", _put_secret(payload=b"x" * 65_537)),
        (_STORE, _KEYS),
    ),
    "GetSecretValue": Row(
        (_A.SECRET_VALUE_DISCLOSED,),
        ("SECRET_NOT_FOUND", secrets.GetSecretValueRequest(name=_SECRET)),
        ("NAME_MALFORMED", secrets.GetSecretValueRequest(name=_LONG)),
        (_STORE, _KEYS),
    ),
    "GetSecret": Row(
        (),
        ("SECRET_NOT_FOUND", secrets.GetSecretRequest(name=_SECRET)),
        ("NAME_MALFORMED", secrets.GetSecretRequest(name=_LONG)),
    ),
    "ListSecrets": Row((), None, _page(secrets.ListSecretsRequest)),
    "ListSecretVersions": Row(
        (),
        ("SECRET_NOT_FOUND", secrets.ListSecretVersionsRequest(parent=_SECRET)),
        (
            "FIELD_MALFORMED",
            secrets.ListSecretVersionsRequest(
                parent=f"tenants/{TENANT}/secrets/smtp", page_token=_TOKEN
            ),
        ),
    ),
    "DestroySecretVersion": Row(
        (_A.SECRET_VERSION_DESTROYED,),
        (
            "SECRET_NOT_FOUND",
            secrets.DestroySecretVersionRequest(
                name=f"tenants/{TENANT}/secrets/smtp", version=2**62
            ),
        ),
        ("NAME_MALFORMED", secrets.DestroySecretVersionRequest(name=_LONG, version=1)),
    ),
    "DeleteSecret": Row(
        (_A.SECRET_DELETED,),
        ("SECRET_NOT_FOUND", secrets.DeleteSecretRequest(name=_SECRET)),
        (
            "FIELD_MALFORMED",
            secrets.DeleteSecretRequest(name=f"tenants/{TENANT}/secrets/smtp", etag="7" * 21),
        ),
    ),
    "ListAuditRecords": Row((_A.AUDIT_RECORDS_LISTED,), None, _page(audit.ListAuditRecordsRequest)),
}

PAIRS: tuple[tuple[Case, Row], ...] = tuple((case, ROWS[case.method]) for case in ALL_CASES)
WITH_KEYS = tuple((case, row) for case, row in PAIRS if _KEYS in row.needs)
WITHOUT_KEYS = tuple((case, row) for case, row in PAIRS if _KEYS not in row.needs)
NAMING = tuple((case, row.unknown) for case, row in PAIRS if row.unknown is not None)
