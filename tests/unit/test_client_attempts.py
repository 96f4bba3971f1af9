"""The rules of trying again, without a clock or a wire."""

from __future__ import annotations

import grpc
from hypothesis import given
from hypothesis import strategies as st

import tokenvault_client as tv
from tokenvault_client._retry import Attempts, Step
from tokenvault_client._status import Failure

BARE = Failure(tv.ConnectionLost("", "gone", grpc.StatusCode.UNAVAILABLE), bare=True)


def busy(retry_after_s: float) -> Failure:
    return Failure(tv.TryLater("OVERLOADED", "full", retry_after_s=retry_after_s), bare=False)


def test_the_delay_is_a_lower_bound() -> None:
    """Jitter makes the delay of RetryInfo up to a quarter longer, never shorter."""
    attempts = Attempts(is_read=True, now_s=100, timeout_s=10)
    assert attempts.next_step(busy(2), now_s=100, chance=0) == Step(2, False)
    assert attempts.next_step(busy(2), now_s=100, chance=0.5) == Step(2.25, False)


def test_a_delay_of_nothing_is_no_busy_loop() -> None:
    """RetryInfo of 0 s is waited for at least 10 ms."""
    attempts = Attempts(is_read=False, now_s=0, timeout_s=10)
    assert attempts.next_step(busy(0), now_s=0, chance=0) == Step(0.01, False)


def test_the_next_attempt_needs_time_to_work() -> None:
    """Less than 100 ms after the delay is not worth an attempt."""
    attempts = Attempts(is_read=True, now_s=0, timeout_s=1)
    assert attempts.next_step(busy(0.5), now_s=0.45, chance=0) is None


def test_both_rules_share_the_five_attempts() -> None:
    """A read that reconnected once has four attempts by RetryInfo, and no second new connection."""
    attempts = Attempts(is_read=True, now_s=0, timeout_s=100)
    first = attempts.next_step(BARE, now_s=0, chance=0)
    assert first is not None
    assert first.new_connection
    assert all(attempts.next_step(busy(1), now_s=0, chance=0) for _ in range(3))
    assert attempts.next_step(busy(1), now_s=0, chance=0) is None


FAILURES = st.one_of(
    st.just(BARE),
    st.floats(min_value=0, max_value=30).map(busy),
    st.just(Failure(tv.NotFound("GRANT_NOT_FOUND", "no"), bare=False)),
)


@given(
    failures=st.lists(FAILURES, min_size=8, max_size=8),
    is_read=st.booleans(),
    timeout_s=st.floats(min_value=0.01, max_value=60),
    chance=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_any_course_ends_in_time(
    failures: list[Failure], is_read: bool, timeout_s: float, chance: float
) -> None:
    """Whatever fails how often: five attempts at most, inside the deadline, and writes stay put."""
    attempts = Attempts(is_read=is_read, now_s=0, timeout_s=timeout_s)
    now_s, reconnects, tries = 0.0, 0, 1
    for failure in failures:
        step = attempts.next_step(failure, now_s=now_s, chance=chance)
        if step is None:
            break
        tries += 1
        now_s += step.delay_s
        reconnects += step.new_connection
        assert step.delay_s >= (failure.error.retry_after_s or 0)
    assert tries <= 5
    assert now_s <= timeout_s
    assert reconnects <= (1 if is_read else 0)
