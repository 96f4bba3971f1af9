"""A refusal on the wire: google.rpc.Status with ErrorInfo and RetryInfo (AIP-193)."""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from vault_service.domain import limits
from vault_service.domain.errors import Code, VaultError

DOMAIN: Final = "tokenvault"
STATUS_KEY: Final = "grpc-status-details-bin"
REQUEST_ID_KEY: Final = "tokenvault-request-id"

GRPC_CODE: Final = {code: grpc.StatusCode[code.name] for code in Code}


def to_status(error: VaultError) -> status_pb2.Status:
    """The status of a refusal; RetryInfo on everything retryable."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason.name, domain=DOMAIN, metadata=error.metadata
    )
    details = [_packed(info)]
    if error.retryable:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(1000 * (error.retry_after_s or limits.RETRY_AFTER_S)))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=error.code.value, message=error.message, details=details)


def _packed(
    message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
