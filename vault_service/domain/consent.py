"""How an exchange of a code ends, and what is kept of it.

A code is presented once (RFC 6749 §4.1.2, §10.5: a second time it is refused, and the tokens of the
first time are revoked). So after a request an answer either says surely that the code was not
looked at, or the authorization has ended.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final

from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.error_codes import known_class
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName

NO_CODE_HASH: Final = bytes(32)
"""In place of the hash of a code, where an error callback ended the authorization."""

# RFC 6749 §4.1.2.1: the user may go back to the provider's page, and then a code comes after all.
_PASSING_ERRORS: Final = frozenset({"server_error", "temporarily_unavailable"})


class TokenKind(Enum):
    """Which token of an answer; the value is its token_type_hint (RFC 7009 §2.1)."""

    REFRESH = "refresh_token"
    ACCESS = "access_token"


@dataclass(frozen=True, slots=True)
class Ending:
    """The refusal with which an authorization ended: each later completion gets the same."""

    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: VaultError) -> Ending:
        """What of a refusal is for its caller."""
        return cls(error.reason, error.message, error.metadata)

    def error(self) -> VaultError:
        """The refusal once more."""
        return VaultError(self.reason, self.message, metadata=self.metadata)


@dataclass(frozen=True, slots=True)
class DiscardedToken:
    """A token that came and made no grant, until its provider is told to revoke it."""

    token_id: uuid.UUID
    tenant: str
    authorization_id: uuid.UUID
    owner: str
    oauth_client: str
    provider: str
    kind: TokenKind
    envelope: bytes
    attempts: int
    expire_time: datetime
    read_time: datetime

    @property
    def client(self) -> OAuthClientName:
        """As whom the provider is told."""
        return OAuthClientName(self.tenant, self.oauth_client)

    @property
    def binding(self) -> Binding:
        """What the envelope is bound to."""
        return discarded_binding(
            self.tenant, self.owner, self.authorization_id, self.provider, self.kind
        )

    @property
    def resource(self) -> str:
        """Its name in records."""
        return authorization_name(self.tenant, self.authorization_id)


def authorization_name(tenant: str, authorization_id: uuid.UUID) -> str:
    """The name of an authorization in records and lists; no call takes it."""
    return f"tenants/{tenant}/authorizations/{authorization_id}"


def discarded_binding(
    tenant: str, owner: str, authorization_id: uuid.UUID, provider: str, kind: TokenKind
) -> Binding:
    """Binding of a token without a grant, sealed under the owner who consented."""
    column = {TokenKind.REFRESH: Field.REFRESH_TOKEN, TokenKind.ACCESS: Field.ACCESS_TOKEN}[kind]
    dek_owner = DekOwner(tenant, Level.USER, owner)
    return Binding(dek_owner, str(authorization_id), column, 1, provider)


def ends_the_state(callback_error: str) -> bool:
    """Whether the error of a callback is final (RFC 6749 §4.1.2.1)."""
    return callback_error not in _PASSING_ERRORS


def leaves_the_code(error: TokenEndpointError) -> bool:
    """Whether the code was surely not looked at, so that it may be presented (again).

    Nothing was sent; or the provider's rate limiter answered; or the client was not authenticated,
    which comes before everything (RFC 6749 §3.2.1, §5.2): a 401 that names an error says so only
    where that is about the client. Nothing else: a 5xx, with Retry-After or
    without, a redirect or a page of HTML does not say how far the request came, a request that is
    wrong is wrong again, and many providers use a code up with the first request that they refuse.
    """
    if error.answer_class is AnswerClass.CLIENT_REFUSED:
        unnamed = error.error == "" or error.error.lower() == "unauthorized"
        of_client = unnamed or known_class(error.error) is AnswerClass.CLIENT_REFUSED
        return error.error == "invalid_client" or (error.status == 401 and of_client)
    if error.answer_class is AnswerClass.RATE_LIMITED:
        return error.status < 500
    return error.answer_class is AnswerClass.NOT_SENT


_REFUSED: Final = (
    Reason.CLIENT_MISCONFIGURED,
    "the provider refuses our registration or request, and the code may be used up: the platform "
    "team checks the OAuthClient, then start a new authorization",
)
_TAKEN: Final = (
    Reason.AUTHORIZATION_CODE_USED,
    "the provider was given the code and did not answer with tokens that can be read; a code is "
    "presented once, so start a new authorization",
)
_ENDINGS: Final[Mapping[AnswerClass, tuple[Reason, str]]] = {
    AnswerClass.INVALID_GRANT: (
        Reason.AUTHORIZATION_CODE_EXPIRED,
        "the provider refuses the code: expired, used or not for us; ask for consent again",
    ),
    AnswerClass.CLIENT_REFUSED: _REFUSED,
    AnswerClass.REQUEST_REFUSED: _REFUSED,
    AnswerClass.PROVIDER_FAULT: _TAKEN,
    AnswerClass.IN_DOUBT: _TAKEN,
    AnswerClass.RATE_LIMITED: _TAKEN,  # 503 with Retry-After
    AnswerClass.UNREADABLE_SUCCESS: _TAKEN,
}


def ending_of(error: TokenEndpointError) -> VaultError:
    """How the authorization ends after an answer that does not leave the code."""
    reason, message = _ENDINGS.get(error.answer_class, _TAKEN)
    return VaultError(reason, message, recorded=error.recorded())
