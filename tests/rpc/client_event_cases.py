"""Cases of watching, webhooks and reports, as ``client_cases`` has the first ones."""

from __future__ import annotations

import tokenvault_client as tv
from tests.rpc.client_cases import ALIAS, GRANT_NAME, NOON, STAMP, Case
from tests.rpc.client_whole_cases import CLIENT, LATER, LATER_STAMP
from tokenvault.v1 import grant_service_pb2 as grants
from tokenvault.v1 import resources_pb2 as resources
from tokenvault.v1 import token_service_pb2 as tokens
from tokenvault.v1 import webhook_service_pb2 as webhooks

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


EVENT_CASES = [
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
]
