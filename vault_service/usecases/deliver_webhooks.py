"""From the outbox to the endpoints: signed, tried for three days, then a dead letter."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vault_service.crypto.envelopes import Envelopes
from vault_service.crypto.webhook_signature import sign
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.on_behalf import on_behalf_of
from vault_service.domain.sensitive import Sensitive
from vault_service.domain.webhook import Delivery, SignedMessage, Webhook, WebhookAnswer
from vault_service.ports import Clock, Entropy, WebhookEndpoint, WebhookQueue, WebhookStore
from vault_service.usecases.recorder import Recorder

_GONE = 410  # RFC 9110 §15.5.11: likely to be permanent
_GROWTH = 4.0


class DeliverWebhooks:
    """At least once, in the order of each grant as far as endpoints let it."""

    def __init__(
        self,
        *,
        queue: WebhookQueue,
        webhooks: WebhookStore,
        endpoint: WebhookEndpoint,
        envelopes: Envelopes,
        recorder: Recorder,
        entropy: Entropy,
        clock: Clock,
    ) -> None:
        self._queue = queue
        self._webhooks = webhooks
        self._endpoint = endpoint
        self._envelopes = envelopes
        self._recorder = recorder
        self._entropy = entropy
        self._clock = clock

    async def fan_out(self) -> int:
        """New events become deliveries; how many were looked at."""
        return await self._queue.fan_out(limits.WEBHOOK_FAN_OUT_MAX)

    async def take(self, room: int, under_way: Collection[Delivery]) -> Sequence[Delivery]:
        """What is due, at most ``room``: nothing to webhooks that have some ``under_way``, and of
        each tenant no more than it leaves free."""
        return await self._queue.take_due(room, limits.WEBHOOK_PER_ENDPOINT_MAX, under_way)

    async def deliver(self, call: Call, delivery: Delivery) -> WebhookAnswer | None:
        """One attempt, and what follows from its answer; None where the webhook is deleted."""
        webhook = await self._webhooks.get_by_id(delivery.tenant, delivery.webhook_id)
        if webhook is None:
            return None
        message = await self._signed(webhook, delivery)
        with on_behalf_of(delivery.tenant):
            answer = await self._endpoint.send(message)
        if answer.taken:
            await self._queue.delivered(delivery)
        elif answer.status == _GONE:
            record = self._record(call, AuditAction.WEBHOOK_GONE, webhook, delivery, answer)
            await self._queue.mark_gone(webhook, record)
        else:
            await self._later(call, webhook, delivery, answer)
        return answer

    async def _signed(self, webhook: Webhook, delivery: Delivery) -> SignedMessage:
        keys = [
            await self._envelopes.open(binding, envelope) for binding, envelope in webhook.secrets
        ]
        body = delivery.body.encode()
        message_id, timestamp = str(delivery.event_id), int(self._clock.now().timestamp())
        return SignedMessage(
            url=webhook.url,
            message_id=message_id,
            timestamp=timestamp,
            signature=sign(keys, message_id, timestamp, body),
            body=Sensitive(body),
        )

    async def _later(
        self, call: Call, webhook: Webhook, delivery: Delivery, answer: WebhookAnswer
    ) -> None:
        grown_s = limits.WEBHOOK_RETRY_FIRST_S * _GROWTH ** min(delivery.attempts, 10)
        # Between three quarters and five quarters, so that what failed together comes apart.
        chance = 0.75 + int.from_bytes(self._entropy.token(2)) / 2**17
        delay_s = min(grown_s, limits.WEBHOOK_RETRY_MAX_S) * chance
        delay_s = max(delay_s, answer.retry_after_s or 0.0)
        age_s = (delivery.read_time - delivery.begin_time).total_seconds()
        if age_s + delay_s <= limits.WEBHOOK_KEEP_TRYING_S:
            await self._queue.postpone(delivery, answer, delay_s)
            return
        record = self._record(call, AuditAction.WEBHOOK_DELIVERY_DEAD, webhook, delivery, answer)
        await self._queue.bury(delivery, answer, record)

    def _record(
        self,
        call: Call,
        action: AuditAction,
        webhook: Webhook,
        delivery: Delivery,
        answer: WebhookAnswer,
    ) -> AuditRecord:
        facts = {
            "event": str(delivery.event_id),
            "attempts": str(delivery.attempts + 1),
            "status": str(answer.status),
            "detail": answer.detail,
        }
        return self._recorder.done(call, action, delivery.tenant, str(webhook.name), detail=facts)
