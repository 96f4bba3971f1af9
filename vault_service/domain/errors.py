"""One vocabulary of refusals, and one table that gives each its gRPC status code.

A ``VaultError`` is the only exception that crosses a room's wall. Its message says what to do
and never holds a secret or outside text that was not cut and escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Code(Enum):
    """The status codes of google.rpc.Code that the service answers with."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Reason(Enum):
    """Why a call was refused; the name is ErrorInfo.reason (error_reason.proto)."""

    NAME_MALFORMED = 1
    FIELD_MALFORMED = 2
    PAYLOAD_TOO_LARGE = 3
    MIN_TTL_OUT_OF_RANGE = 4
    SCOPE_MALFORMED = 5
    REDIRECT_URI_NOT_REGISTERED = 6
    ENDPOINT_NOT_ALLOWED = 7
    CALLER_UNKNOWN = 8
    CALLER_NOT_ALLOWED = 9
    GRANT_NOT_FOUND = 10
    SECRET_NOT_FOUND = 11
    PROVIDER_NOT_FOUND = 12
    OAUTH_CLIENT_NOT_FOUND = 13
    CLIENT_ID_IN_USE = 14
    REAUTHORIZATION_REQUIRED = 15
    AUTHORIZATION_CODE_USED = 16
    AUTHORIZATION_CODE_EXPIRED = 17
    AUTHORIZATION_DENIED = 18
    STATE_UNKNOWN = 19
    STATE_EXPIRED = 20
    REDIRECT_URI_MISMATCH = 21
    ISSUER_MISMATCH = 22
    NO_REFRESH_TOKEN = 23
    TENANT_NOT_PROVISIONED = 24
    CLIENT_MISCONFIGURED = 25
    GRANT_REVOKED = 26
    ETAG_MISMATCH = 27
    OVERLOADED = 28
    PROVIDER_RATE_LIMITED = 29
    PROVIDER_UNAVAILABLE = 30
    KEK_UNREACHABLE = 31
    STORE_UNREACHABLE = 32
    AUDIT_UNAVAILABLE = 33
    REFRESH_IN_PROGRESS = 34
    REFRESH_IN_DOUBT = 35
    BUDGET_TOO_SHORT = 36
    ENVELOPE_CORRUPT = 37
    INTERNAL = 38
    REQUEST_ID_REUSED = 39
    ALIAS_EXISTS = 40
    SECRET_VERSION_DESTROYED = 41
    SECRET_EXPIRED = 42
    KILL_SWITCH = 43
    CREDENTIAL_NOT_FOUND = 44
    CREDENTIAL_LIMIT = 45
    CURSOR_EXPIRED = 50
    STREAM_ENDED = 51
    CALLER_RATE_LIMITED = 52
    WEBHOOK_NOT_FOUND = 53
    WEBHOOK_LIMIT = 54
    ATTEMPT_NOT_FOUND = 58
    ATTEMPT_MOVED_ON = 59
    ATTEMPT_ACTION_NOT_POSSIBLE = 60
    ID_TOKEN_REFUSED = 61


CODE_BY_REASON: Final[Mapping[Reason, Code]] = {
    Reason.NAME_MALFORMED: Code.INVALID_ARGUMENT,
    Reason.FIELD_MALFORMED: Code.INVALID_ARGUMENT,
    Reason.PAYLOAD_TOO_LARGE: Code.INVALID_ARGUMENT,
    Reason.MIN_TTL_OUT_OF_RANGE: Code.INVALID_ARGUMENT,
    Reason.SCOPE_MALFORMED: Code.INVALID_ARGUMENT,
    Reason.REDIRECT_URI_NOT_REGISTERED: Code.INVALID_ARGUMENT,
    Reason.ENDPOINT_NOT_ALLOWED: Code.INVALID_ARGUMENT,
    Reason.CALLER_UNKNOWN: Code.UNAUTHENTICATED,
    Reason.CALLER_NOT_ALLOWED: Code.PERMISSION_DENIED,
    Reason.GRANT_NOT_FOUND: Code.NOT_FOUND,
    Reason.SECRET_NOT_FOUND: Code.NOT_FOUND,
    Reason.PROVIDER_NOT_FOUND: Code.NOT_FOUND,
    Reason.OAUTH_CLIENT_NOT_FOUND: Code.NOT_FOUND,
    Reason.CLIENT_ID_IN_USE: Code.ALREADY_EXISTS,
    Reason.REAUTHORIZATION_REQUIRED: Code.FAILED_PRECONDITION,
    Reason.AUTHORIZATION_CODE_USED: Code.FAILED_PRECONDITION,
    Reason.AUTHORIZATION_CODE_EXPIRED: Code.FAILED_PRECONDITION,
    Reason.AUTHORIZATION_DENIED: Code.FAILED_PRECONDITION,
    Reason.STATE_UNKNOWN: Code.FAILED_PRECONDITION,
    Reason.STATE_EXPIRED: Code.FAILED_PRECONDITION,
    Reason.REDIRECT_URI_MISMATCH: Code.FAILED_PRECONDITION,
    Reason.ISSUER_MISMATCH: Code.FAILED_PRECONDITION,
    Reason.NO_REFRESH_TOKEN: Code.FAILED_PRECONDITION,
    Reason.TENANT_NOT_PROVISIONED: Code.FAILED_PRECONDITION,
    Reason.CLIENT_MISCONFIGURED: Code.FAILED_PRECONDITION,
    Reason.GRANT_REVOKED: Code.FAILED_PRECONDITION,
    Reason.ETAG_MISMATCH: Code.ABORTED,
    Reason.OVERLOADED: Code.RESOURCE_EXHAUSTED,
    Reason.PROVIDER_RATE_LIMITED: Code.RESOURCE_EXHAUSTED,
    Reason.PROVIDER_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.KEK_UNREACHABLE: Code.UNAVAILABLE,
    Reason.STORE_UNREACHABLE: Code.UNAVAILABLE,
    Reason.AUDIT_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.REFRESH_IN_PROGRESS: Code.UNAVAILABLE,
    Reason.REFRESH_IN_DOUBT: Code.UNAVAILABLE,
    Reason.BUDGET_TOO_SHORT: Code.DEADLINE_EXCEEDED,
    Reason.ENVELOPE_CORRUPT: Code.DATA_LOSS,
    Reason.INTERNAL: Code.INTERNAL,
    Reason.REQUEST_ID_REUSED: Code.ALREADY_EXISTS,
    Reason.ALIAS_EXISTS: Code.ALREADY_EXISTS,
    Reason.SECRET_VERSION_DESTROYED: Code.FAILED_PRECONDITION,
    Reason.SECRET_EXPIRED: Code.FAILED_PRECONDITION,
    Reason.KILL_SWITCH: Code.PERMISSION_DENIED,
    Reason.CREDENTIAL_NOT_FOUND: Code.NOT_FOUND,
    Reason.CREDENTIAL_LIMIT: Code.FAILED_PRECONDITION,
    Reason.CURSOR_EXPIRED: Code.FAILED_PRECONDITION,
    Reason.STREAM_ENDED: Code.UNAVAILABLE,
    Reason.CALLER_RATE_LIMITED: Code.RESOURCE_EXHAUSTED,
    Reason.WEBHOOK_NOT_FOUND: Code.NOT_FOUND,
    Reason.WEBHOOK_LIMIT: Code.FAILED_PRECONDITION,
    Reason.ATTEMPT_NOT_FOUND: Code.NOT_FOUND,
    Reason.ATTEMPT_MOVED_ON: Code.ABORTED,
    Reason.ATTEMPT_ACTION_NOT_POSSIBLE: Code.FAILED_PRECONDITION,
    Reason.ID_TOKEN_REFUSED: Code.FAILED_PRECONDITION,
}
assert CODE_BY_REASON.keys() == set(Reason), "every reason has one status code"

RETRYABLE_CODES: Final = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED})


class VaultError(Exception):
    """A refusal with its reason.

    ``metadata`` goes to the caller in ErrorInfo; ``recorded`` goes only to the AuditRecord
    (the rule that denied, the provider's status), because it may tell what the caller must
    not learn. ``retry_after_s`` goes out as RetryInfo where the code is retryable.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        recorded: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{reason.name}: {message}")
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.recorded: dict[str, str] = dict(recorded or {})
        self.retry_after_s = retry_after_s

    def again(self) -> VaultError:
        """A copy for the next waiter: one exception object is not raised in many tasks."""
        return VaultError(
            self.reason,
            self.message,
            metadata=self.metadata,
            recorded=self.recorded,
            retry_after_s=self.retry_after_s,
        )

    @property
    def code(self) -> Code:
        """The gRPC status code of the reason."""
        return CODE_BY_REASON[self.reason]

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later; such an error carries RetryInfo."""
        return self.code in RETRYABLE_CODES


class KekDenied(VaultError):
    """Transit answered and refused (403, 404, TLS verification): nothing cached may stand in."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.KEK_UNREACHABLE, message, retry_after_s=5.0)
