"""From the end of a failed call to the error that is raised: google.rpc.Status, ErrorInfo and
RetryInfo where the service spoke (AIP-193), gRPC's own words where it did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from tokenvault_client import errors
from tokenvault_client._limits import RECEIVED_MAX_BYTES, SENT_MAX_BYTES, TEXT_MAX_CHARS
from tokenvault_client._reasons import kind_of
from tokenvault_client._transport import advice, problem_of

DOMAIN: Final = "tokenvault"
DETAILS_KEY: Final = "grpc-status-details-bin"
REQUEST_ID_KEY: Final = "tokenvault-request-id"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended on the wire. ``connected`` is False where no connection was ready."""

    target: str
    code: grpc.StatusCode
    details: str
    trailing: Mapping[str, str | bytes]
    connected: bool = True

    @classmethod
    def of(
        cls,
        target: str,
        code: grpc.StatusCode,
        details: str | None,
        trailing: Iterable[tuple[str, str | bytes]] | None,
        *,
        connected: bool = True,
    ) -> Ended:
        """As gRPC gives it; of a metadata key that comes twice the first counts."""
        pairs = list(trailing or ())
        text = (details or "")[:TEXT_MAX_CHARS]
        return cls(target, code, text, dict(reversed(pairs)), connected)


@dataclass(frozen=True, slots=True)
class Failure:
    """The error to raise. ``bare`` is an UNAVAILABLE that no ErrorInfo came with: it speaks of
    the way to the service, not of the service.
    """

    error: errors.TokenVaultError
    bare: bool


@dataclass(frozen=True, slots=True)
class _Details:
    message: str
    has_error_info: bool = False
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None


def failure_of(ended: Ended) -> Failure:
    """The one translation from the wire to an error."""
    details = _details(ended)
    bare = ended.code is grpc.StatusCode.UNAVAILABLE and not details.has_error_info
    if not details.has_error_info and details.retry_after_s is None:
        return Failure(_unexplained(ended), bare)
    error = kind_of(details.reason, ended.code)(
        details.reason,
        details.message,
        ended.code,
        details.metadata,
        details.retry_after_s,
        _request_id(ended),
    )
    return Failure(error, bare)


def broken_off() -> Failure:
    """A stream that ended without a status of its own: something between cut it."""
    error = errors.ConnectionLost("", "the stream ended", grpc.StatusCode.UNAVAILABLE)
    return Failure(error, bare=True)


def telling(failure: Failure, last: Failure | None) -> Failure:
    """The failure to raise: a deadline that ran out on a retry, with no word of the service, tells
    less than the reason that the service gave for the attempt before."""
    bare = isinstance(failure.error, errors.DeadlineExceeded) and not failure.error.reason
    if last is None or not bare:
        return failure
    if not last.error.reason:
        failure.error.add_note(f"the attempt before ended with {last.error}")
        return failure
    last.error.add_note("the deadline ended the attempt after it")
    return last


def _details(ended: Ended) -> _Details:
    raw = ended.trailing.get(DETAILS_KEY)
    if not isinstance(raw, bytes):
        return _Details(ended.details)
    try:
        status = status_pb2.Status.FromString(raw)
        if status.code != ended.code.value[0]:
            return _Details(ended.details)  # written for another answer than this one
        info = _unpack(status, error_details_pb2.ErrorInfo())
        retry = _unpack(status, error_details_pb2.RetryInfo())
    except DecodeError:
        return _Details(ended.details)
    ours = info is not None and info.domain == DOMAIN
    return _Details(
        message=(status.message or ended.details)[:TEXT_MAX_CHARS],
        has_error_info=info is not None,
        reason=info.reason if info is not None and ours else "",
        metadata=dict(info.metadata) if info is not None and ours else {},
        retry_after_s=None if retry is None else _seconds(retry),
    )


def _unpack(
    status: status_pb2.Status, message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo
) -> error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo | None:
    return message if any(packed.Unpack(message) for packed in status.details) else None


def _seconds(retry: error_details_pb2.RetryInfo) -> float:
    return max(0.0, float(retry.retry_delay.seconds) + float(retry.retry_delay.nanos) / 1e9)


def _request_id(ended: Ended) -> str:
    value = ended.trailing.get(REQUEST_ID_KEY, "")
    return value[:TEXT_MAX_CHARS] if isinstance(value, str) else ""


def _unexplained(ended: Ended) -> errors.TokenVaultError:
    """What the service did not explain: the transport's failures, and codes without details."""
    request_id = _request_id(ended)
    if ended.code is grpc.StatusCode.UNAVAILABLE:
        return _unavailable(ended, request_id)
    if ended.code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in ended.details:
        message = (
            f"a request holds at most {SENT_MAX_BYTES} bytes and an answer "
            f"{RECEIVED_MAX_BYTES}; ask for a smaller page_size ({ended.details})"
        )
        return errors.InvalidArgument("", message, ended.code, request_id=request_id)
    if ended.code is grpc.StatusCode.DEADLINE_EXCEEDED and not ended.connected:
        message = (
            f"no connection to {ended.target} came about in time; check the address, firewalls, "
            "and that what listens there speaks TLS"
        )
        return errors.DeadlineExceeded("", message, ended.code)
    return kind_of("", ended.code)("", ended.details, ended.code, request_id=request_id)


def _unavailable(ended: Ended, request_id: str) -> errors.TokenVaultError:
    problem = problem_of(ended.details)
    if problem is None:
        return errors.ConnectionLost("", ended.details, ended.code, request_id=request_id)
    message = f"{advice(problem, ended.target)} ({ended.details})"
    return errors.TransportRefused("", message, ended.code, {"problem": problem.value})
