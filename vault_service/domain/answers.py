"""What a provider's answer means: whose fault it is, for how long, and whether it may have counted.

One table, complete at import: every class of answer has one judgement. The rules that give an
answer its class stand in ``domain.token_answer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class AnswerClass(Enum):
    """Classes of failures at a token endpoint, one for each row of the table."""

    NOT_SENT = 1  # DNS, connect, TLS: nothing left this host
    IN_DOUBT = 2  # sent, then a timeout, a reset or a 5xx: it may have been carried out
    RATE_LIMITED = 3  # 429, or 503 with Retry-After
    INVALID_GRANT = 4  # the code or refresh token is refused (RFC 6749 §5.2)
    CLIENT_REFUSED = 5  # invalid_client, unauthorized_client, 401: our registration is wrong
    REQUEST_REFUSED = 6  # invalid_request, invalid_scope, ...: configuration
    PROVIDER_FAULT = 7  # below 500 and no success: HTML, empty, oversized, not JSON, a redirect
    UNREADABLE_SUCCESS = 8  # a 2xx that holds none of the tokens it should: they may be lost


class Fault(Enum):
    """Whose it is."""

    PROVIDER = 1
    GRANT = 2
    OAUTH_CLIENT = 3
    CONFIGURATION = 4


class Duration(Enum):
    """For how long."""

    TRANSIENT = 1  # the same request may succeed later
    MAYBE_PERMANENT = 2  # to be confirmed before anything is concluded
    PERMANENT = 3  # until a person changes something


class Counted(Enum):
    """Whether the provider may have carried the request out, and so consumed the refresh token."""

    NO = 1
    MAYBE = 2


class BreakerKey(Enum):
    """Whose circuit breaker counts the failure."""

    NONE = 1
    PROVIDER = 2
    OAUTH_CLIENT = 3


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows from a class of answer."""

    fault: Fault
    duration: Duration
    counted: Counted
    breaker: BreakerKey
    may_condemn: bool = False  # whether a grant may end as REAUTHORIZATION_REQUIRED because of it


JUDGEMENTS: Final[Mapping[AnswerClass, Judgement]] = {
    AnswerClass.NOT_SENT: Judgement(
        Fault.PROVIDER, Duration.TRANSIENT, Counted.NO, BreakerKey.PROVIDER
    ),
    AnswerClass.IN_DOUBT: Judgement(
        Fault.PROVIDER, Duration.TRANSIENT, Counted.MAYBE, BreakerKey.PROVIDER
    ),
    # A server that says when to come back has turned the request away before it worked on it
    # (RFC 9110 §15.6.4, RFC 6585 §4). It is up, so no breaker counts it: the rate budget does.
    AnswerClass.RATE_LIMITED: Judgement(
        Fault.PROVIDER, Duration.TRANSIENT, Counted.NO, BreakerKey.NONE
    ),
    AnswerClass.INVALID_GRANT: Judgement(
        Fault.GRANT, Duration.MAYBE_PERMANENT, Counted.NO, BreakerKey.NONE, may_condemn=True
    ),
    AnswerClass.CLIENT_REFUSED: Judgement(
        Fault.OAUTH_CLIENT, Duration.PERMANENT, Counted.NO, BreakerKey.OAUTH_CLIENT
    ),
    AnswerClass.REQUEST_REFUSED: Judgement(
        Fault.CONFIGURATION, Duration.PERMANENT, Counted.NO, BreakerKey.OAUTH_CLIENT
    ),
    AnswerClass.PROVIDER_FAULT: Judgement(
        Fault.PROVIDER, Duration.TRANSIENT, Counted.NO, BreakerKey.PROVIDER
    ),
    AnswerClass.UNREADABLE_SUCCESS: Judgement(
        Fault.PROVIDER, Duration.TRANSIENT, Counted.MAYBE, BreakerKey.PROVIDER
    ),
}
assert JUDGEMENTS.keys() == set(AnswerClass), "every class of answer has one judgement"
assert [key for key, one in JUDGEMENTS.items() if one.may_condemn] == [AnswerClass.INVALID_GRANT], (
    "only a refused grant condemns a grant"
)
assert all(one.counted is Counted.NO for one in JUDGEMENTS.values() if one.may_condemn), (
    "what may have been carried out condemns nothing"
)


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
        noted: str = "",
    ) -> None:
        super().__init__(f"{answer_class.name} status={status} error={error!r} {detail}")
        self.answer_class = answer_class
        self.status = status
        self.error = error
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.noted = noted  # what was odd about the answer, in our own words

    @property
    def judgement(self) -> Judgement:
        """What follows from it."""
        return JUDGEMENTS[self.answer_class]

    def recorded(self) -> dict[str, str]:
        """The facts for an AuditRecord."""
        facts = {"provider_answer": self.answer_class.name}
        if self.status:
            facts["provider_status"] = str(self.status)
        if self.error:
            facts["provider_error"] = self.error
        if self.detail:
            facts["provider_detail"] = self.detail
        if self.noted:
            facts["provider_oddities"] = self.noted
        return facts
