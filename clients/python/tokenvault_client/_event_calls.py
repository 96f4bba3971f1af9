"""The stream of WatchGrants and the calls of WebhookService, as ``_calls`` has the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokenvault.v1 import grant_service_pb2, resources_pb2, webhook_service_pb2
from tokenvault_client import _convert, models
from tokenvault_client._calls import Call, PageOf, Stream, nothing
from tokenvault_client.enums import GrantEventKind


def _kinds(kinds: Iterable[GrantEventKind]) -> list[resources_pb2.GrantEventKind.ValueType]:
    return [resources_pb2.GrantEventKind.Value(f"GRANT_EVENT_KIND_{kind.value}") for kind in kinds]


@dataclass(frozen=True, slots=True)
class EventsOf:
    """Which events of a tenant; what is "" or empty does not narrow them."""

    owner: str = ""
    oauth_client: str = ""
    provider: str = ""
    kinds: Iterable[GrantEventKind] = ()


def watch_grants(
    parent: str, only: EventsOf, cursor: str
) -> Stream[grant_service_pb2.WatchGrantsResponse, models.WatchStep]:
    """GrantService.WatchGrants"""
    kinds = _kinds(only.kinds)
    return Stream(
        "GrantService/WatchGrants",
        lambda place: grant_service_pb2.WatchGrantsRequest(
            parent=parent,
            cursor=place,
            owner=only.owner,
            oauth_client=only.oauth_client,
            provider=only.provider,
            kinds=kinds,
        ),
        grant_service_pb2.WatchGrantsResponse,
        _convert.watch_step,
        lambda message: message.cursor,
        cursor,
    )


def put_webhook(
    webhook: models.Webhook, secret: str
) -> Call[webhook_service_pb2.PutWebhookResponse, models.Webhook]:
    """WebhookService.PutWebhook"""
    message = webhook_service_pb2.Webhook(
        name=webhook.name, url=webhook.url, kinds=_kinds(webhook.kinds), etag=webhook.etag
    )
    return Call(
        "WebhookService/PutWebhook",
        webhook_service_pb2.PutWebhookRequest(webhook=message, secret=secret),
        webhook_service_pb2.PutWebhookResponse,
        lambda response: _convert.webhook(response.webhook),
    )


def list_webhooks(
    parent: str, page: PageOf
) -> Call[webhook_service_pb2.ListWebhooksResponse, models.Page[models.Webhook]]:
    """WebhookService.ListWebhooks"""
    return Call(
        "WebhookService/ListWebhooks",
        webhook_service_pb2.ListWebhooksRequest(
            parent=parent, page_size=page.size, page_token=page.token
        ),
        webhook_service_pb2.ListWebhooksResponse,
        lambda response: models.Page(
            tuple(map(_convert.webhook, response.webhooks)), response.next_page_token
        ),
        is_read=True,
    )


def delete_webhook(name: str) -> Call[webhook_service_pb2.DeleteWebhookResponse, None]:
    """WebhookService.DeleteWebhook"""
    return Call(
        "WebhookService/DeleteWebhook",
        webhook_service_pb2.DeleteWebhookRequest(name=name),
        webhook_service_pb2.DeleteWebhookResponse,
        nothing,
    )


def list_dead_letters(
    webhook: str, page: PageOf
) -> Call[webhook_service_pb2.ListDeadLettersResponse, models.Page[models.DeadLetter]]:
    """WebhookService.ListDeadLetters"""
    return Call(
        "WebhookService/ListDeadLetters",
        webhook_service_pb2.ListDeadLettersRequest(
            parent=webhook, page_size=page.size, page_token=page.token
        ),
        webhook_service_pb2.ListDeadLettersResponse,
        lambda response: models.Page(
            tuple(map(_convert.dead_letter, response.dead_letters)), response.next_page_token
        ),
        is_read=True,
    )


def redeliver_dead_letters(
    webhook: str, ids: Iterable[str]
) -> Call[webhook_service_pb2.RedeliverDeadLettersResponse, int]:
    """WebhookService.RedeliverDeadLetters"""
    return Call(
        "WebhookService/RedeliverDeadLetters",
        webhook_service_pb2.RedeliverDeadLettersRequest(webhook=webhook, ids=ids),
        webhook_service_pb2.RedeliverDeadLettersResponse,
        lambda response: response.count,
    )
