"""From the wire to an error, where the wire is odd."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

import tokenvault_client as tv
from tokenvault.v1.error_reason_pb2 import ErrorReason
from tokenvault_client._reasons import KIND_BY_CODE, KIND_BY_REASON
from tokenvault_client._status import Ended, Failure, failure_of, telling

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
TARGET = "vault.example.org:8443"


def failure(
    code: grpc.StatusCode, text: str = "text", raw: bytes | None = None, *, connected: bool = True
) -> Failure:
    trailing = () if raw is None else (("grpc-status-details-bin", raw),)
    return failure_of(Ended.of(TARGET, code, text, trailing, connected=connected))


def details(code: int, *messages: error_details_pb2.ErrorInfo) -> bytes:
    status = status_pb2.Status(code=code, message="from the service")
    for message in messages:
        status.details.add().Pack(message)
    return bytes(status.SerializeToString())


def test_the_table_of_reasons_is_complete() -> None:
    """Every reason of the protocol and no other becomes an error, and so does every code."""
    names = {name.removeprefix("ERROR_REASON_") for name, number in ErrorReason.items() if number}
    assert KIND_BY_REASON.keys() == names
    assert KIND_BY_CODE.keys() == set(grpc.StatusCode)


def test_details_of_another_code_are_ignored() -> None:
    """A status that was written for another answer does not explain this one."""
    info = error_details_pb2.ErrorInfo(reason="GRANT_REVOKED", domain="tokenvault")
    error = failure(grpc.StatusCode.INTERNAL, "text", details(9, info)).error
    assert (type(error), error.reason, error.message) == (tv.InternalFault, "", "text")


def test_retry_info_alone_is_enough() -> None:
    """RetryInfo without ErrorInfo gives a delay, and the error of its code."""
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1_500)
    found = failure(UNAVAILABLE, "text", details(14, retry))
    assert type(found.error) is tv.TryLater
    assert found.error.retry_after_s == 1.5


def test_a_negative_delay_is_none_at_all() -> None:
    """RetryInfo from before now means at once."""
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(-1_500)
    assert failure(UNAVAILABLE, "text", details(14, retry)).error.retry_after_s == 0


def test_a_broken_detail_leaves_the_code() -> None:
    """Details that do not parse inside their wrapping are as good as none."""
    packed = Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    raw = status_pb2.Status(code=5, details=[packed]).SerializeToString()
    assert type(failure(grpc.StatusCode.NOT_FOUND, "text", raw).error) is tv.NotFound


@given(raw=st.binary(max_size=200), code=st.sampled_from(list(grpc.StatusCode)))
def test_any_bytes_in_the_details_become_some_error(raw: bytes, code: grpc.StatusCode) -> None:
    """Whatever stands in the trailing metadata, the caller gets a TokenVaultError."""
    assert isinstance(failure(code, "text", raw).error, tv.TokenVaultError)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "errors resolving nohost.invalid:443: [field:hostname lookup error:address lookup "
            "failed for nohost.invalid:443: Domain name not found]",
            tv.TransportProblem.NAME_NOT_RESOLVED,
        ),
        (
            "DNS resolution failed for nohost.invalid:443",
            tv.TransportProblem.NAME_NOT_RESOLVED,
        ),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:1: Failed to "
            "connect to remote host: No route to host",
            tv.TransportProblem.UNREACHABLE,
        ),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:1: Failed to "
            "create security handshaker.",
            tv.TransportProblem.CLIENT_FILES_UNUSABLE,
        ),
        (
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:10.0.0.1:1: "
            "recvmsg:Connection reset by peer",
            tv.TransportProblem.CLIENT_CERTIFICATE_REFUSED,
        ),
        (
            "failed to connect to all addresses; last error: words of another release",
            tv.TransportProblem.UNSPECIFIED,
        ),
    ],
)
def test_words_of_the_transport(text: str, problem: tv.TransportProblem) -> None:
    """A connection that did not come about is a TransportRefused with its likely problem."""
    found = failure(UNAVAILABLE, text)
    assert isinstance(found.error, tv.TransportRefused)
    assert (found.error.problem, found.bare) == (problem, True)
    assert text in found.error.message


@pytest.mark.parametrize(
    "text", ["Socket closed", "upstream connect error: connection refused", "GOAWAY received", ""]
)
def test_a_connection_that_was_there_is_lost_not_refused(text: str) -> None:
    """Without gRPC's words for a failed connect the call may have arrived."""
    found = failure(UNAVAILABLE, text)
    assert (type(found.error), found.bare) == (tv.ConnectionLost, True)


def test_the_last_reason_is_raised_when_the_deadline_ends_the_retries() -> None:
    """A bare DEADLINE_EXCEEDED after a reason of the service is that reason; without one it is
    itself, with a note of what came before."""
    info = error_details_pb2.ErrorInfo(reason="REFRESH_IN_DOUBT", domain="tokenvault")
    doubt = failure(UNAVAILABLE, raw=details(UNAVAILABLE.value[0], info))
    bare = failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    raised = telling(bare, doubt).error
    assert raised.reason == "REFRESH_IN_DOUBT"
    assert "deadline" in str(raised.__notes__)
    assert isinstance(telling(bare, None).error, tv.DeadlineExceeded)
    assert telling(doubt, bare) is doubt
    lost = failure(UNAVAILABLE, "the connection broke")
    assert isinstance(telling(bare, lost).error, tv.DeadlineExceeded)
