"""Cases of the RPCs beyond the main job, as ``surface_cases`` has the first ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.rpc.surface_cases import CASES, Case, Known, known
from tests.support.house import CLIENT, TENANT, House, refused
from tokenvault.v1 import (
    attempt_service_pb2,
    attempt_service_pb2_grpc,
    grant_service_pb2,
    grant_service_pb2_grpc,
    provider_service_pb2,
    provider_service_pb2_grpc,
    secret_service_pb2,
    secret_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)
from vault_service.domain.errors import Reason
from vault_service.domain.event import EventKind
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.names import WebhookName
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.webhook import WebhookAnswer

_attempts = attempt_service_pb2_grpc.AttemptServiceStub
_grants = grant_service_pb2_grpc.GrantServiceStub
_providers = provider_service_pb2_grpc.ProviderServiceStub
_secrets = secret_service_pb2_grpc.SecretServiceStub
_tokens = token_service_pb2_grpc.TokenServiceStub
_webhooks = webhook_service_pb2_grpc.WebhookServiceStub

WEBHOOK_SECRET = "whsec_c3VyZmFjZS1jYW5hcnktc3VyZmFjZS1jYW5hcnk="
_KNOWN = WebhookName(TENANT, "known")


async def all_known(house: House) -> Known:
    """As ``known``, a second credential of the OAuthClient, and a webhook with a dead letter."""
    there = await known(house)
    await house.client_credentials.add(house.call(), CLIENT, Sensitive(b"second credential"))
    await house.webhooks.put(
        house.call(),
        _KNOWN,
        url="https://known.example/hook",
        kinds=frozenset(),
        secret=Sensitive.from_text(WEBHOOK_SECRET),
        etag="",
    )
    await _dead_letter(house)
    attempt = await _attempt_in_doubt(house)
    return replace(there, fingerprint=await _fingerprint(house), attempt=attempt)


async def _attempt_in_doubt(house: House) -> str:
    """One of another grant, whose answer is kept and cannot be read."""
    house.endpoint.subject = "sub-in-doubt"
    grant = (await house.consent("u-in-doubt")).grant
    answer = HttpAnswer(200, "text/html", Sensitive(b"surface-canary-of-an-answer"))
    house.endpoint.answers.append(answer)
    await refused(Reason.REFRESH_IN_DOUBT, house.refresh(house.call(), grant))
    (attempt,) = house.stores.tables.attempts
    return str(attempt)


async def _fingerprint(house: House) -> str:
    """Of the grant's newest token."""
    grant = next(iter(house.stores.tables.grants.values()))
    assert grant.access_envelope is not None
    value = await house.envelopes.open(grant.access_binding(), grant.access_envelope)
    return await house.envelopes.fingerprint(TENANT, value)


async def _dead_letter(house: House) -> None:
    """One that is older than deliveries are tried."""
    grant = next(iter(house.stores.tables.grants.values()))
    house.stores.tables.tell(house.stores.records[-1], grant, EventKind.EXPIRING_SOON)
    await house.deliver_webhooks.fan_out()
    (delivery,) = await house.deliver_webhooks.take(1, ())
    house.webhook_endpoint.answers.append(WebhookAnswer(500))
    long_ago = delivery.begin_time - timedelta(days=4)
    await house.deliver_webhooks.deliver(house.call(), replace(delivery, begin_time=long_ago))


WHOLE_CASES = (
    Case(
        _grants,
        "DeleteGrant",
        lambda t, k: grant_service_pb2.DeleteGrantRequest(name=f"tenants/{t}/grants/{k.grant}"),
        grant_service_pb2.DeleteGrantRequest(name=f"tenants/{TENANT}/grants/{'0' * 36}"),
    ),
    Case(
        _grants,
        "LinkAlias",
        lambda t, k: grant_service_pb2.LinkAliasRequest(
            alias=f"tenants/{t}/owners/u-2/grantAliases/theirs",
            grant=f"tenants/{t}/grants/{k.grant}",
        ),
        grant_service_pb2.LinkAliasRequest(
            alias=f"tenants/{TENANT}/owners/u 2/grantAliases/theirs"
        ),
    ),
    Case(
        _grants,
        "UnlinkAlias",
        lambda t, k: grant_service_pb2.UnlinkAliasRequest(
            alias=f"tenants/{t}/owners/u-1/grantAliases/crm"
        ),
        grant_service_pb2.UnlinkAliasRequest(alias=f"tenants/{TENANT}/owners/u-1/aliases/crm"),
    ),
    Case(
        _grants,
        "WatchGrants",
        lambda t, k: grant_service_pb2.WatchGrantsRequest(parent=f"tenants/{t}"),
        grant_service_pb2.WatchGrantsRequest(parent=f"tenants/{TENANT}/grants"),
    ),
    Case(
        _tokens,
        "ReportRejectedToken",
        lambda t, k: token_service_pb2.ReportRejectedTokenRequest(
            grant=f"tenants/{t}/grants/{k.grant}", token_fingerprint=k.fingerprint or "v1.x"
        ),
        token_service_pb2.ReportRejectedTokenRequest(alias="calendar", token_fingerprint="v1.x"),
    ),
    Case(
        _webhooks,
        "PutWebhook",
        lambda t, k: webhook_service_pb2.PutWebhookRequest(
            webhook=webhook_service_pb2.Webhook(
                name=f"tenants/{t}/webhooks/pager", url="https://pager.example/hook"
            ),
            secret=WEBHOOK_SECRET,
        ),
        webhook_service_pb2.PutWebhookRequest(
            webhook=webhook_service_pb2.Webhook(name=f"tenants/{TENANT}/webhooks/Pager")
        ),
    ),
    Case(
        _webhooks,
        "ListWebhooks",
        lambda t, k: webhook_service_pb2.ListWebhooksRequest(parent=f"tenants/{t}"),
        webhook_service_pb2.ListWebhooksRequest(parent=f"tenants/{TENANT}/webhooks"),
    ),
    Case(
        _webhooks,
        "DeleteWebhook",
        lambda t, k: webhook_service_pb2.DeleteWebhookRequest(name=f"tenants/{t}/webhooks/known"),
        webhook_service_pb2.DeleteWebhookRequest(name="known"),
    ),
    Case(
        _webhooks,
        "ListDeadLetters",
        lambda t, k: webhook_service_pb2.ListDeadLettersRequest(
            parent=f"tenants/{t}/webhooks/known"
        ),
        webhook_service_pb2.ListDeadLettersRequest(parent=f"tenants/{TENANT}"),
    ),
    Case(
        _webhooks,
        "RedeliverDeadLetters",
        lambda t, k: webhook_service_pb2.RedeliverDeadLettersRequest(
            webhook=f"tenants/{t}/webhooks/known"
        ),
        webhook_service_pb2.RedeliverDeadLettersRequest(webhook=f"tenants/{TENANT}/webhooks/"),
    ),
    Case(
        _providers,
        "AddClientCredential",
        lambda t, k: provider_service_pb2.AddClientCredentialRequest(
            oauth_client=f"tenants/{t}/oauthClients/crm", client_secret="third credential"
        ),
        provider_service_pb2.AddClientCredentialRequest(oauth_client="crm", client_secret="x"),
    ),
    Case(
        _providers,
        "RetireClientCredential",
        lambda t, k: provider_service_pb2.RetireClientCredentialRequest(
            oauth_client=f"tenants/{t}/oauthClients/crm", version=1
        ),
        provider_service_pb2.RetireClientCredentialRequest(
            oauth_client=f"tenants/{TENANT}/oauthClients/CRM", version=1
        ),
    ),
    Case(
        _providers,
        "SuspendOAuthClient",
        lambda t, k: provider_service_pb2.SuspendOAuthClientRequest(
            name=f"tenants/{t}/oauthClients/crm"
        ),
        provider_service_pb2.SuspendOAuthClientRequest(name=f"tenants/{TENANT}/oauthClients/"),
    ),
    Case(
        _providers,
        "ResumeOAuthClient",
        lambda t, k: provider_service_pb2.ResumeOAuthClientRequest(
            name=f"tenants/{t}/oauthClients/crm"
        ),
        provider_service_pb2.ResumeOAuthClientRequest(name=f"tenants/{TENANT}"),
    ),
    Case(
        _providers,
        "ListClientHolds",
        lambda t, k: provider_service_pb2.ListClientHoldsRequest(parent=f"tenants/{t}"),
        provider_service_pb2.ListClientHoldsRequest(parent="tenants/"),
    ),
    Case(
        _providers,
        "ClearClientHold",
        lambda t, k: provider_service_pb2.ClearClientHoldRequest(
            oauth_client=f"tenants/{t}/oauthClients/crm", why="a test"
        ),
        provider_service_pb2.ClearClientHoldRequest(oauth_client=f"tenants/{TENANT}", why="x"),
    ),
    Case(
        _secrets,
        "GetSecret",
        lambda t, k: secret_service_pb2.GetSecretRequest(name=f"tenants/{t}/secrets/smtp"),
        secret_service_pb2.GetSecretRequest(name=f"tenants/{TENANT}/secrets/-"),
    ),
    Case(
        _secrets,
        "ListSecrets",
        lambda t, k: secret_service_pb2.ListSecretsRequest(parent=f"tenants/{t}"),
        secret_service_pb2.ListSecretsRequest(parent=f"tenants/{TENANT}/owners/"),
    ),
    Case(
        _secrets,
        "ListSecretVersions",
        lambda t, k: secret_service_pb2.ListSecretVersionsRequest(
            parent=f"tenants/{t}/secrets/smtp"
        ),
        secret_service_pb2.ListSecretVersionsRequest(parent=f"tenants/{TENANT}"),
    ),
    Case(
        _secrets,
        "DestroySecretVersion",
        lambda t, k: secret_service_pb2.DestroySecretVersionRequest(
            name=f"tenants/{t}/secrets/smtp", version=1
        ),
        secret_service_pb2.DestroySecretVersionRequest(name="smtp", version=1),
    ),
    Case(
        _secrets,
        "DeleteSecret",
        lambda t, k: secret_service_pb2.DeleteSecretRequest(name=f"tenants/{t}/secrets/smtp"),
        secret_service_pb2.DeleteSecretRequest(name=f"tenants/{TENANT}/owners/-/secrets/smtp"),
    ),
    Case(
        _attempts,
        "ListAttempts",
        lambda t, k: attempt_service_pb2.ListAttemptsRequest(parent=f"tenants/{t}"),
        attempt_service_pb2.ListAttemptsRequest(parent=f"tenants/{TENANT}/attempts"),
    ),
    Case(
        _attempts,
        "GetAttempt",
        lambda t, k: attempt_service_pb2.GetAttemptRequest(
            name=f"tenants/{t}/attempts/{k.attempt}"
        ),
        attempt_service_pb2.GetAttemptRequest(name=f"tenants/{TENANT}/attempts/7"),
    ),
    Case(
        _attempts,
        "ResolveAttempt",
        lambda t, k: attempt_service_pb2.ResolveAttemptRequest(
            name=f"tenants/{t}/attempts/{k.attempt}",
            action=attempt_service_pb2.ATTEMPT_ACTION_GIVE_UP,
        ),
        attempt_service_pb2.ResolveAttemptRequest(name=f"tenants/{TENANT}/attempts/"),
    ),
)
ALL_CASES = (*CASES, *WHOLE_CASES)
