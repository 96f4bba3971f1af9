"""Which error a reason becomes, and which a bare status code: two tables, both complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc

from tokenvault.v1 import error_reason_pb2
from tokenvault_client import errors

PREFIX: Final = "ERROR_REASON_"

KIND_BY_REASON: Final[Mapping[str, type[errors.TokenVaultError]]] = {
    "NAME_MALFORMED": errors.InvalidArgument,
    "FIELD_MALFORMED": errors.InvalidArgument,
    "PAYLOAD_TOO_LARGE": errors.InvalidArgument,
    "MIN_TTL_OUT_OF_RANGE": errors.InvalidArgument,
    "SCOPE_MALFORMED": errors.InvalidArgument,
    "REDIRECT_URI_NOT_REGISTERED": errors.InvalidArgument,
    "ENDPOINT_NOT_ALLOWED": errors.InvalidArgument,
    "CALLER_UNKNOWN": errors.CallerUnknown,
    "CALLER_NOT_ALLOWED": errors.NotAllowed,
    "GRANT_NOT_FOUND": errors.NotFound,
    "SECRET_NOT_FOUND": errors.NotFound,
    "PROVIDER_NOT_FOUND": errors.NotFound,
    "OAUTH_CLIENT_NOT_FOUND": errors.NotFound,
    "CREDENTIAL_NOT_FOUND": errors.NotFound,
    "WEBHOOK_NOT_FOUND": errors.NotFound,
    "ATTEMPT_NOT_FOUND": errors.NotFound,
    "CLIENT_ID_IN_USE": errors.AlreadyExists,
    "REQUEST_ID_REUSED": errors.AlreadyExists,
    "ALIAS_EXISTS": errors.AlreadyExists,
    "KILL_SWITCH": errors.NotAllowed,
    "SECRET_VERSION_DESTROYED": errors.SecretUnavailable,
    "SECRET_EXPIRED": errors.SecretUnavailable,
    "CREDENTIAL_LIMIT": errors.PreconditionFailed,
    "WEBHOOK_LIMIT": errors.PreconditionFailed,
    "ATTEMPT_ACTION_NOT_POSSIBLE": errors.PreconditionFailed,
    "CURSOR_EXPIRED": errors.CursorExpired,
    "STREAM_ENDED": errors.TryLater,
    "CALLER_RATE_LIMITED": errors.TryLater,
    "REAUTHORIZATION_REQUIRED": errors.ReauthorizationRequired,
    "NO_REFRESH_TOKEN": errors.ReauthorizationRequired,
    "AUTHORIZATION_CODE_USED": errors.AuthorizationFailed,
    "AUTHORIZATION_CODE_EXPIRED": errors.AuthorizationFailed,
    "AUTHORIZATION_DENIED": errors.AuthorizationFailed,
    "ID_TOKEN_REFUSED": errors.AuthorizationFailed,
    "STATE_UNKNOWN": errors.AuthorizationFailed,
    "STATE_EXPIRED": errors.AuthorizationFailed,
    "REDIRECT_URI_MISMATCH": errors.AuthorizationFailed,
    "ISSUER_MISMATCH": errors.AuthorizationFailed,
    "TENANT_NOT_PROVISIONED": errors.Misconfigured,
    "CLIENT_MISCONFIGURED": errors.Misconfigured,
    "GRANT_REVOKED": errors.GrantRevoked,
    "ETAG_MISMATCH": errors.Conflict,
    "ATTEMPT_MOVED_ON": errors.Conflict,
    "OVERLOADED": errors.TryLater,
    "PROVIDER_RATE_LIMITED": errors.TryLater,
    "PROVIDER_UNAVAILABLE": errors.TryLater,
    "KEK_UNREACHABLE": errors.TryLater,
    "STORE_UNREACHABLE": errors.TryLater,
    "AUDIT_UNAVAILABLE": errors.TryLater,
    "REFRESH_IN_PROGRESS": errors.TryLater,
    "REFRESH_IN_DOUBT": errors.TryLater,
    "BUDGET_TOO_SHORT": errors.DeadlineExceeded,
    "ENVELOPE_CORRUPT": errors.Corrupt,
    "INTERNAL": errors.InternalFault,
}
assert KIND_BY_REASON.keys() == {
    name.removeprefix(PREFIX) for name, _ in error_reason_pb2.ErrorReason.items()
} - {"UNSPECIFIED"}, "every reason becomes one error"

KIND_BY_CODE: Final[Mapping[grpc.StatusCode, type[errors.TokenVaultError]]] = {
    grpc.StatusCode.OK: errors.InternalFault,
    grpc.StatusCode.CANCELLED: errors.ConnectionLost,
    grpc.StatusCode.UNKNOWN: errors.InternalFault,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.PERMISSION_DENIED: errors.NotAllowed,
    grpc.StatusCode.UNAUTHENTICATED: errors.CallerUnknown,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.TryLater,
    grpc.StatusCode.FAILED_PRECONDITION: errors.PreconditionFailed,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgument,
    grpc.StatusCode.UNIMPLEMENTED: errors.InternalFault,
    grpc.StatusCode.INTERNAL: errors.InternalFault,
    grpc.StatusCode.UNAVAILABLE: errors.TryLater,
    grpc.StatusCode.DATA_LOSS: errors.Corrupt,
}
assert KIND_BY_CODE.keys() == set(grpc.StatusCode), "every status code becomes one error"


def kind_of(reason: str, code: grpc.StatusCode) -> type[errors.TokenVaultError]:
    """The error for a reason; by its status code where the reason is newer than this client."""
    return KIND_BY_REASON.get(reason) or KIND_BY_CODE[code]
