"""Whether an answer that refuses our registration is about it, or may be about one grant only."""

from __future__ import annotations

from vault_service.domain.answers import AnswerClass, BreakerKey, TokenEndpointError
from vault_service.domain.error_codes import CLASS_BY_ERROR


def names_the_registration(error: TokenEndpointError) -> bool:
    """Whether its code is one that speaks of the OAuthClient (RFC 6749 §5.2: invalid_client)."""
    return CLASS_BY_ERROR.get(error.error) is AnswerClass.CLIENT_REFUSED


def may_be_the_grants(error: TokenEndpointError) -> bool:
    """A refusal that no table makes the registration's: it is this grant's own, until several say
    the same and none succeeds."""
    refused = error.judgement.breaker is BreakerKey.OAUTH_CLIENT
    return refused and not names_the_registration(error)


def way_of(error: TokenEndpointError) -> str:
    """What makes two refusals the same."""
    return f"{error.answer_class.name} {error.status} {error.error}"
