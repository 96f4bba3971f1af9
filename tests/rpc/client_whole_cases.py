"""Cases of the RPCs beyond the main job, as ``client_cases`` has the first ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

import tokenvault_client as tv
from tests.rpc.client_cases import (
    ALIAS,
    GRANT,
    GRANT_MESSAGE,
    GRANT_NAME,
    NOON,
    SECRET,
    STAMP,
    VERSION,
    VERSION_MESSAGE,
    Case,
)
from tokenvault.v1 import grant_service_pb2 as grants
from tokenvault.v1 import provider_service_pb2 as providers
from tokenvault.v1 import resources_pb2 as resources
from tokenvault.v1 import secret_service_pb2 as secrets
from tokenvault.v1 import token_service_pb2 as tokens
from tokenvault.v1 import webhook_service_pb2 as webhooks

LATER = datetime(2027, 1, 2, tzinfo=UTC)
LATER_STAMP = Timestamp(seconds=int(LATER.timestamp()))
CLIENT = "tenants/acme/oauthClients/web"
SECRET_MESSAGE = resources.Secret(
    name=SECRET,
    level=resources.LEVEL_USER,
    latest_version=3,
    labels={"team": "pay"},
    etag="4",
    create_time=STAMP,
    update_time=STAMP,
)
SECRET_RESULT = tv.Secret(
    name=SECRET,
    level=tv.Level.USER,
    latest_version=3,
    labels={"team": "pay"},
    etag="4",
    create_time=NOON,
    update_time=NOON,
)
TOMBSTONE_MESSAGE = resources.SecretVersion(
    secret=SECRET,
    version=2,
    level=resources.LEVEL_USER,
    create_time=STAMP,
    expire_time=LATER_STAMP,
    destroy_time=STAMP,
    state=resources.SECRET_VERSION_STATE_DESTROYED,
)
TOMBSTONE = tv.SecretVersion(
    secret=SECRET,
    version=2,
    level=tv.Level.USER,
    create_time=NOON,
    expire_time=LATER,
    destroy_time=NOON,
    state=tv.SecretVersionState.DESTROYED,
)
CLIENT_MESSAGE = resources.OAuthClient(
    name=CLIENT,
    provider="tenants/acme/providers/idp",
    client_id="abc",
    credentials=[
        resources.ClientCredential(version=2, create_time=STAMP),
        resources.ClientCredential(version=1),
    ],
    suspend_time=STAMP,
)
CLIENT_RESULT = tv.OAuthClient(
    name=CLIENT,
    provider="tenants/acme/providers/idp",
    client_id="abc",
    credentials=(
        tv.ClientCredential(version=2, create_time=NOON),
        tv.ClientCredential(version=1, create_time=None),
    ),
    suspend_time=NOON,
)


def _deleted() -> tuple[Any, tv.Grant]:
    message = resources.Grant()
    message.CopyFrom(GRANT_MESSAGE)
    message.delete_time.CopyFrom(STAMP)
    values = {name: getattr(GRANT, name) for name in tv.Grant.__dataclass_fields__}
    return message, tv.Grant(**(values | {"delete_time": NOON}))


DELETED_MESSAGE, DELETED = _deleted()

EVENT_MESSAGE = resources.GrantEvent(
    id="e1",
    grant=GRANT_NAME,
    kind=resources.GRANT_EVENT_KIND_REAUTHORIZATION_REQUIRED,
    owner="user-42",
    oauth_client=CLIENT,
    provider="tenants/acme/providers/idp",
    state=resources.GRANT_STATE_REAUTHORIZATION_REQUIRED,
    cause=resources.REAUTHORIZATION_CAUSE_SUCCESSOR_LOST,
    generation=3,
    revision=5,
    event_time=STAMP,
)
EVENT = tv.GrantEvent(
    id="e1",
    grant=GRANT_NAME,
    kind=tv.GrantEventKind.REAUTHORIZATION_REQUIRED,
    owner="user-42",
    oauth_client=CLIENT,
    provider="tenants/acme/providers/idp",
    state=tv.GrantState.REAUTHORIZATION_REQUIRED,
    cause=tv.ReauthorizationCause.SUCCESSOR_LOST,
    generation=3,
    revision=5,
    event_time=NOON,
)


WEBHOOK = tv.webhook_name("acme", "pager")
WEBHOOK_MESSAGE = webhooks.Webhook(
    name=WEBHOOK,
    url="https://pager.example/hook",
    kinds=[resources.GRANT_EVENT_KIND_REVOKED],
    state=webhooks.WEBHOOK_STATE_GONE,
    overlap_end_time=LATER_STAMP,
    etag="5",
    create_time=STAMP,
    update_time=STAMP,
)
WEBHOOK_RESULT = tv.Webhook(
    name=WEBHOOK,
    url="https://pager.example/hook",
    kinds=(tv.GrantEventKind.REVOKED,),
    etag="5",
    state=tv.WebhookState.GONE,
    overlap_end_time=LATER,
    create_time=NOON,
    update_time=NOON,
)


async def _first_step(vault: tv.TokenVaultClient) -> tv.WatchStep:
    watch = vault.watch_grants(
        "tenants/acme",
        cursor="c0",
        owner="user-42",
        oauth_client=CLIENT,
        provider="tenants/acme/providers/idp",
        kinds=[tv.GrantEventKind.REAUTHORIZATION_REQUIRED],
    )
    async for step in watch:
        return step
    raise AssertionError("the watch ended")


WHOLE_CASES = [
    Case(
        "GrantService/DeleteGrant",
        lambda vault: vault.delete_grant(GRANT_NAME),
        grants.DeleteGrantRequest(name=GRANT_NAME),
        grants.DeleteGrantResponse(grant=DELETED_MESSAGE),
        DELETED,
    ),
    Case(
        "GrantService/LinkAlias",
        lambda vault: vault.link_alias(ALIAS, GRANT_NAME),
        grants.LinkAliasRequest(alias=ALIAS, grant=GRANT_NAME),
        grants.LinkAliasResponse(alias=ALIAS, grant=GRANT_MESSAGE),
        GRANT,
    ),
    Case(
        "GrantService/UnlinkAlias",
        lambda vault: vault.unlink_alias(ALIAS),
        grants.UnlinkAliasRequest(alias=ALIAS),
        grants.UnlinkAliasResponse(),
        None,
    ),
    Case(
        "TokenService/ReportRejectedToken",
        lambda vault: vault.report_rejected_token(alias=ALIAS, token_fingerprint="v1.x"),
        tokens.ReportRejectedTokenRequest(alias=ALIAS, token_fingerprint="v1.x"),
        tokens.ReportRejectedTokenResponse(grant=GRANT_NAME, already_refreshed=True),
        tv.RejectedToken(grant=GRANT_NAME, already_refreshed=True),
    ),
    Case(
        "WebhookService/PutWebhook",
        lambda vault: vault.put_webhook(
            tv.Webhook(
                name=WEBHOOK,
                url="https://pager.example/hook",
                kinds=(tv.GrantEventKind.REVOKED,),
                etag="4",
            ),
            secret="whsec_x",
        ),
        webhooks.PutWebhookRequest(
            webhook=webhooks.Webhook(
                name=WEBHOOK,
                url="https://pager.example/hook",
                kinds=[resources.GRANT_EVENT_KIND_REVOKED],
                etag="4",
            ),
            secret="whsec_x",
        ),
        webhooks.PutWebhookResponse(webhook=WEBHOOK_MESSAGE),
        WEBHOOK_RESULT,
    ),
    Case(
        "WebhookService/ListWebhooks",
        lambda vault: vault.list_webhooks("tenants/acme", page_size=2, page_token="t"),
        webhooks.ListWebhooksRequest(parent="tenants/acme", page_size=2, page_token="t"),
        webhooks.ListWebhooksResponse(webhooks=[WEBHOOK_MESSAGE], next_page_token="n"),
        tv.Page((WEBHOOK_RESULT,), "n"),
    ),
    Case(
        "WebhookService/DeleteWebhook",
        lambda vault: vault.delete_webhook(WEBHOOK),
        webhooks.DeleteWebhookRequest(name=WEBHOOK),
        webhooks.DeleteWebhookResponse(),
        None,
    ),
    Case(
        "WebhookService/ListDeadLetters",
        lambda vault: vault.list_dead_letters(WEBHOOK, page_size=2, page_token="t"),
        webhooks.ListDeadLettersRequest(parent=WEBHOOK, page_size=2, page_token="t"),
        webhooks.ListDeadLettersResponse(
            dead_letters=[
                webhooks.DeadLetter(
                    id="e1",
                    webhook=WEBHOOK,
                    grant=GRANT_NAME,
                    kind=resources.GRANT_EVENT_KIND_REVOKED,
                    attempts=20,
                    status=503,
                    detail="status 503",
                    dead_time=STAMP,
                )
            ],
            next_page_token="n",
        ),
        tv.Page(
            (
                tv.DeadLetter(
                    id="e1",
                    webhook=WEBHOOK,
                    grant=GRANT_NAME,
                    kind=tv.GrantEventKind.REVOKED,
                    attempts=20,
                    status=503,
                    detail="status 503",
                    dead_time=NOON,
                ),
            ),
            "n",
        ),
    ),
    Case(
        "WebhookService/RedeliverDeadLetters",
        lambda vault: vault.redeliver_dead_letters(WEBHOOK, ids=["e1"]),
        webhooks.RedeliverDeadLettersRequest(webhook=WEBHOOK, ids=["e1"]),
        webhooks.RedeliverDeadLettersResponse(count=1),
        1,
    ),
    Case(
        "GrantService/WatchGrants",
        _first_step,
        grants.WatchGrantsRequest(
            parent="tenants/acme",
            cursor="c0",
            owner="user-42",
            oauth_client=CLIENT,
            provider="tenants/acme/providers/idp",
            kinds=[resources.GRANT_EVENT_KIND_REAUTHORIZATION_REQUIRED],
        ),
        grants.WatchGrantsResponse(event=EVENT_MESSAGE, cursor="c1"),
        tv.WatchStep(EVENT, "c1"),
    ),
    Case(
        "GrantService/ListGrants",
        lambda vault: vault.list_grants(
            "tenants/acme",
            state=tv.GrantState.REAUTHORIZATION_REQUIRED,
            oauth_client=CLIENT,
            provider="tenants/acme/providers/idp",
        ),
        grants.ListGrantsRequest(
            parent="tenants/acme",
            state=resources.GRANT_STATE_REAUTHORIZATION_REQUIRED,
            oauth_client=CLIENT,
            provider="tenants/acme/providers/idp",
        ),
        grants.ListGrantsResponse(grants=[GRANT_MESSAGE]),
        tv.Page((GRANT,), ""),
    ),
    Case(
        "ProviderService/AddClientCredential",
        lambda vault: vault.add_client_credential(CLIENT, "hush"),
        providers.AddClientCredentialRequest(oauth_client=CLIENT, client_secret="hush"),
        providers.AddClientCredentialResponse(oauth_client=CLIENT_MESSAGE),
        CLIENT_RESULT,
    ),
    Case(
        "ProviderService/RetireClientCredential",
        lambda vault: vault.retire_client_credential(CLIENT, 1),
        providers.RetireClientCredentialRequest(oauth_client=CLIENT, version=1),
        providers.RetireClientCredentialResponse(oauth_client=CLIENT_MESSAGE),
        CLIENT_RESULT,
    ),
    Case(
        "ProviderService/SuspendOAuthClient",
        lambda vault: vault.suspend_oauth_client(CLIENT),
        providers.SuspendOAuthClientRequest(name=CLIENT),
        providers.SuspendOAuthClientResponse(oauth_client=CLIENT_MESSAGE),
        CLIENT_RESULT,
    ),
    Case(
        "ProviderService/ResumeOAuthClient",
        lambda vault: vault.resume_oauth_client(CLIENT),
        providers.ResumeOAuthClientRequest(name=CLIENT),
        providers.ResumeOAuthClientResponse(oauth_client=CLIENT_MESSAGE),
        CLIENT_RESULT,
    ),
    Case(
        "SecretService/PutSecret",
        lambda vault: vault.put_secret(
            SECRET,
            b"hush",
            etag="4",
            request_id="job-1",
            labels={"team": "pay"},
            expire_time=LATER,
        ),
        secrets.PutSecretRequest(
            name=SECRET,
            payload=b"hush",
            etag="4",
            request_id="job-1",
            labels={"team": "pay"},
            expire_time=LATER_STAMP,
        ),
        secrets.PutSecretResponse(secret_version=VERSION_MESSAGE),
        VERSION,
    ),
    Case(
        "SecretService/GetSecretValue",
        lambda vault: vault.get_secret_value(SECRET, version=3),
        secrets.GetSecretValueRequest(name=SECRET, version=3),
        secrets.GetSecretValueResponse(payload=b"hush", secret_version=VERSION_MESSAGE),
        tv.SecretValue(value=b"hush", secret_version=VERSION),
    ),
    Case(
        "SecretService/GetSecret",
        lambda vault: vault.get_secret(SECRET),
        secrets.GetSecretRequest(name=SECRET),
        secrets.GetSecretResponse(secret=SECRET_MESSAGE),
        SECRET_RESULT,
    ),
    Case(
        "SecretService/ListSecrets",
        lambda vault: vault.list_secrets(
            tv.owner_name("acme", "user-42"), page_size=2, page_token="t"
        ),
        secrets.ListSecretsRequest(
            parent="tenants/acme/owners/user-42", page_size=2, page_token="t"
        ),
        secrets.ListSecretsResponse(secrets=[SECRET_MESSAGE], next_page_token="n"),
        tv.Page((SECRET_RESULT,), "n"),
    ),
    Case(
        "SecretService/ListSecretVersions",
        lambda vault: vault.list_secret_versions(SECRET, page_size=2, page_token="t"),
        secrets.ListSecretVersionsRequest(parent=SECRET, page_size=2, page_token="t"),
        secrets.ListSecretVersionsResponse(
            secret_versions=[TOMBSTONE_MESSAGE], next_page_token="n"
        ),
        tv.Page((TOMBSTONE,), "n"),
    ),
    Case(
        "SecretService/DestroySecretVersion",
        lambda vault: vault.destroy_secret_version(SECRET, 2),
        secrets.DestroySecretVersionRequest(name=SECRET, version=2),
        secrets.DestroySecretVersionResponse(secret_version=TOMBSTONE_MESSAGE),
        TOMBSTONE,
    ),
    Case(
        "SecretService/DeleteSecret",
        lambda vault: vault.delete_secret(SECRET, etag="4"),
        secrets.DeleteSecretRequest(name=SECRET, etag="4"),
        secrets.DeleteSecretResponse(),
        None,
    ),
]
