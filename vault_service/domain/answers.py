"""What a provider's answer means: whose fault it is, and whether the request may have counted."""

from __future__ import annotations

from enum import Enum


class AnswerClass(Enum):
    """Classes of failures at a token endpoint."""

    NOT_SENT = 1  # nothing left this host: safe to try again
    IN_DOUBT = 2  # sent, and no clear answer: it may have counted
    RATE_LIMITED = 3  # 429, or 503 with Retry-After
    INVALID_GRANT = 4  # the code or refresh token is refused (RFC 6749 §5.2)
    CLIENT_REFUSED = 5  # invalid_client, unauthorized_client, 401: our registration is wrong
    REQUEST_REFUSED = 6  # invalid_request, invalid_scope, ...: configuration
    PROVIDER_FAULT = 7  # 5xx, HTML, empty, oversized, not JSON, nested too deep


class TokenEndpointError(Exception):
    """A token endpoint did not give what was asked.

    ``error`` is the provider's own error code (cut, printable ASCII), never its body.
    """

    def __init__(
        self,
        answer_class: AnswerClass,
        *,
        status: int = 0,
        error: str = "",
        detail: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{answer_class.name} status={status} error={error!r} {detail}")
        self.answer_class = answer_class
        self.status = status
        self.error = error
        self.detail = detail
        self.retry_after_s = retry_after_s

    def recorded(self) -> dict[str, str]:
        """The facts for an AuditRecord."""
        facts = {"provider_answer": self.answer_class.name}
        if self.status:
            facts["provider_status"] = str(self.status)
        if self.error:
            facts["provider_error"] = self.error
        if self.detail:
            facts["provider_detail"] = self.detail
        return facts
