"""ports.WebhookEndpoint over the one HTTP client."""

from __future__ import annotations

from vault_service.domain import limits
from vault_service.domain.webhook import SignedMessage, WebhookAnswer
from vault_service.egress.answer import TransportFailure
from vault_service.egress.client import HttpClient


class HttpWebhookEndpoint:
    """One POST of JSON, signed as the Standard Webhooks specification says; only the status of the
    answer counts, and its body is read no further than it takes to end the exchange."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def send(self, message: SignedMessage) -> WebhookAnswer:
        """The status that came, or why none did. Never raises."""
        headers = {
            "webhook-id": message.message_id,
            "webhook-timestamp": str(message.timestamp),
            "webhook-signature": message.signature,
        }
        try:
            answer = await self._http.post_body(
                message.url,
                message.body,
                headers=headers,
                limit_s=limits.WEBHOOK_LIMIT_S,
                answer_max_bytes=limits.WEBHOOK_ANSWER_MAX_BYTES,
            )
        except TransportFailure as failure:
            return WebhookAnswer(0, failure.detail)
        redirect = 300 <= answer.status < 400
        detail = "a redirect, which is not followed" if redirect else f"status {answer.status}"
        if answer.refusal:
            detail = f"{detail}, {answer.refusal}"
        return WebhookAnswer(answer.status, detail, answer.retry_after_s)
