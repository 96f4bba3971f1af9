"""When a watch is opened again, without a clock or a wire."""

from __future__ import annotations

import grpc
import pytest

import tokenvault_client as tv
from tokenvault_client._retry import Resumes, Step
from tokenvault_client._status import Failure

BARE = Failure(tv.ConnectionLost("", "gone", grpc.StatusCode.UNAVAILABLE), bare=True)


def refused(problem: tv.TransportProblem) -> Failure:
    error = tv.TransportRefused("", "no", grpc.StatusCode.UNAVAILABLE, {"problem": problem.value})
    return Failure(error, bare=True)


def ended(retry_after_s: float) -> Failure:
    return Failure(tv.TryLater("STREAM_ENDED", "again", retry_after_s=retry_after_s), bare=False)


def begun() -> Resumes:
    resumes = Resumes()
    resumes.heard()
    return resumes


def test_the_pause_doubles_up_to_half_a_minute() -> None:
    """Broken connections are tried for ever, with pauses from 0.1 s to 30 s on new connections."""
    resumes = begun()
    pauses = []
    for _ in range(20):
        step = resumes.next_step(BARE, chance=0)
        assert step is not None
        assert step.new_connection
        pauses.append(step.delay_s)
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == 30.0


def test_a_message_forgets_what_failed() -> None:
    """After a message the first pause counts again."""
    resumes = begun()
    for _ in range(6):
        resumes.next_step(BARE, chance=0)
    resumes.heard()
    assert resumes.next_step(BARE, chance=0) == Step(0.1, True)


def test_the_services_word_counts() -> None:
    """RetryInfo is waited for with jitter, on the same connection; repeated, the pause grows."""
    resumes = begun()
    assert resumes.next_step(ended(0.2), chance=0.5) == Step(0.225, False)
    for _ in range(8):
        step = resumes.next_step(ended(0.2), chance=0)
    assert step is not None
    assert step.delay_s > 10


@pytest.mark.parametrize(
    "problem", [tv.TransportProblem.NOTHING_LISTENING, tv.TransportProblem.UNREACHABLE]
)
def test_a_restart_is_waited_for(problem: tv.TransportProblem) -> None:
    """A service that listens no more is tried on, once it had been there."""
    resumes = begun()
    assert all(resumes.next_step(refused(problem), chance=0) for _ in range(50))
    assert Resumes().next_step(refused(problem), chance=0) is None


def test_a_certificate_that_is_refused_is_raised() -> None:
    """A handshake that fails five times in a row is no restart."""
    resumes, failure = begun(), refused(tv.TransportProblem.CLIENT_CERTIFICATE_REFUSED)
    assert all(resumes.next_step(failure, chance=0) for _ in range(4))
    assert resumes.next_step(failure, chance=0) is None


@pytest.mark.parametrize(
    "error",
    [
        tv.NotAllowed("CALLER_NOT_ALLOWED", "no", grpc.StatusCode.PERMISSION_DENIED),
        tv.CursorExpired("CURSOR_EXPIRED", "old", grpc.StatusCode.FAILED_PRECONDITION),
        tv.CallerUnknown("CALLER_UNKNOWN", "who", grpc.StatusCode.UNAUTHENTICATED),
    ],
)
def test_refusals_are_raised(error: tv.TokenVaultError) -> None:
    """What is refused without RetryInfo is raised at once."""
    assert begun().next_step(Failure(error, bare=False), chance=0) is None
