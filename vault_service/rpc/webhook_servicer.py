"""WebhookService."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from tokenvault.v1 import webhook_service_pb2 as pb
from tokenvault.v1 import webhook_service_pb2_grpc
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.names import WebhookName, parse_tenant
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.webhook import DeadLetter, Webhook
from vault_service.rpc import fields, translate
from vault_service.rpc.handling import Handling, handled
from vault_service.usecases.webhooks import Webhooks


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Endpoints that are told what happens to grants."""

    def __init__(self, handling: Handling, webhooks: Webhooks) -> None:
        self.handling = handling
        self._webhooks = webhooks

    @handled("WebhookService", lambda request: request.webhook.name)
    async def PutWebhook(self, request: pb.PutWebhookRequest, call: Call) -> pb.PutWebhookResponse:
        """See the proto."""
        name = WebhookName.parse(request.webhook.name)
        secret = Sensitive.from_text(request.secret) if request.secret else None
        webhook = await self._webhooks.put(
            call,
            name,
            url=fields.text("webhook.url", request.webhook.url, limits.URI_MAX_CHARS),
            kinds=fields.event_kinds("webhook.kinds", request.webhook.kinds),
            secret=secret,
            etag=fields.text("etag", request.webhook.etag, limits.ETAG_MAX_CHARS, optional=True),
        )
        return pb.PutWebhookResponse(webhook=_webhook(webhook))

    @handled("WebhookService", lambda request: request.parent)
    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, call: Call
    ) -> pb.ListWebhooksResponse:
        """See the proto."""
        page = await self._webhooks.list(
            call,
            parse_tenant(request.parent),
            fields.page_size(request.page_size),
            fields.page_token(request.page_token),
        )
        return pb.ListWebhooksResponse(
            webhooks=map(_webhook, page.items), next_page_token=page.next_token
        )

    @handled("WebhookService", lambda request: request.name)
    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, call: Call
    ) -> pb.DeleteWebhookResponse:
        """See the proto."""
        await self._webhooks.delete(call, WebhookName.parse(request.name))
        return pb.DeleteWebhookResponse()

    @handled("WebhookService", lambda request: request.parent)
    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, call: Call
    ) -> pb.ListDeadLettersResponse:
        """See the proto."""
        page = await self._webhooks.dead_letters(
            call,
            WebhookName.parse(request.parent),
            fields.page_size(request.page_size),
            fields.page_token(request.page_token),
        )
        return pb.ListDeadLettersResponse(
            dead_letters=map(_dead_letter, page.items), next_page_token=page.next_token
        )

    @handled("WebhookService", lambda request: request.webhook)
    async def RedeliverDeadLetters(
        self, request: pb.RedeliverDeadLettersRequest, call: Call
    ) -> pb.RedeliverDeadLettersResponse:
        """See the proto."""
        name, ids = WebhookName.parse(request.webhook), _ids(request.ids)
        return pb.RedeliverDeadLettersResponse(
            count=await self._webhooks.redeliver(call, name, ids)
        )


def _ids(texts: Iterable[str]) -> frozenset[uuid.UUID]:
    given = list(texts)
    if len(given) > limits.REDELIVER_MAX_COUNT:
        raise fields.malformed("ids", f"has at most {limits.REDELIVER_MAX_COUNT} entries")
    try:
        return frozenset(map(uuid.UUID, given))
    except ValueError:
        raise fields.malformed("ids", "are UUIDs of events") from None


def _webhook(value: Webhook) -> pb.Webhook:
    overlap = value.previous_until if len(value.secrets) > 1 else None
    return pb.Webhook(
        name=str(value.name),
        url=value.url,
        kinds=map(translate.event_kind, sorted(value.kinds, key=lambda kind: kind.value)),
        state=pb.WebhookState.ValueType(value.state.value),
        overlap_end_time=translate.timestamp(overlap),
        etag=str(value.revision),
        create_time=translate.timestamp(value.create_time),
        update_time=translate.timestamp(value.update_time),
    )


def _dead_letter(value: DeadLetter) -> pb.DeadLetter:
    return pb.DeadLetter(
        id=str(value.event_id),
        webhook=str(value.webhook),
        grant=str(value.grant),
        kind=translate.event_kind(value.kind),
        attempts=value.attempts,
        status=value.status,
        detail=value.detail,
        dead_time=translate.timestamp(value.dead_time),
    )
