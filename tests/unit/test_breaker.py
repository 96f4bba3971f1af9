"""The circuit breaker, on a clock that the test moves."""

from __future__ import annotations

from vault_service.domain import limits
from vault_service.domain.breaker import Admission, Breaker, BreakerState

START = 100.0


def a_breaker(chance: float = 1.0) -> Breaker:
    """``chance`` 1: the longest pauses."""
    return Breaker(lambda: chance)


def admitted(breaker: Breaker, now: float) -> Admission:
    admission = breaker.admit(now)
    assert admission is not None
    return admission


def fail(breaker: Breaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(admitted(breaker, now), now)


def opened(chance: float = 1.0) -> Breaker:
    breaker = a_breaker(chance)
    fail(breaker, START, limits.BREAKER_FAILURES_MIN)
    assert breaker.state(START) is BreakerState.OPEN
    return breaker


def test_opens_at_the_fifth_failure() -> None:
    """Four failures are bad luck, the fifth in one window opens it for a second."""
    breaker = a_breaker()
    fail(breaker, START, 4)
    assert breaker.state(START) is BreakerState.CLOSED
    fail(breaker, START)
    assert breaker.state(START) is BreakerState.OPEN
    assert breaker.wait_s(START) == limits.BREAKER_OPEN_FIRST_S
    assert breaker.admit(START + 0.5) is None
    assert breaker.opened == 1


def test_a_few_among_many_do_not_open_it() -> None:
    """Failures below half of all answers leave it closed."""
    breaker = a_breaker()
    for _ in range(9):
        breaker.succeeded(admitted(breaker, START), START)
    fail(breaker, START, 8)
    assert breaker.state(START) is BreakerState.CLOSED
    fail(breaker, START)
    assert breaker.state(START) is BreakerState.OPEN


def test_a_busy_provider_that_goes_down() -> None:
    """However many succeeded a moment ago, ten failures in a row open it; one success between
    them begins the row anew."""
    breaker = a_breaker()
    for _ in range(1_000):
        breaker.succeeded(admitted(breaker, START), START)
    fail(breaker, START, limits.BREAKER_RUN - 1)
    breaker.succeeded(admitted(breaker, START), START)
    fail(breaker, START, limits.BREAKER_RUN - 1)
    assert breaker.state(START) is BreakerState.CLOSED
    fail(breaker, START)
    assert breaker.state(START) is BreakerState.OPEN


def test_old_failures_are_forgotten() -> None:
    """Failures that came before the window do not count."""
    breaker = a_breaker()
    fail(breaker, START, 4)
    fail(breaker, START + limits.BREAKER_WINDOW_S + 0.1, 4)
    assert breaker.state(START + limits.BREAKER_WINDOW_S + 0.1) is BreakerState.CLOSED


def test_one_probe_at_a_time() -> None:
    """When its time is over one request goes, and none beside it."""
    breaker = opened()
    assert breaker.state(START + 1) is BreakerState.HALF_OPEN
    assert admitted(breaker, START + 1).probe
    assert breaker.admit(START + 1) is None


def test_a_probe_that_succeeds_closes_it() -> None:
    """After one answer all may go."""
    breaker = opened()
    breaker.succeeded(admitted(breaker, START + 1), START + 1.5)
    assert breaker.state(START + 1.5) is BreakerState.CLOSED
    assert not admitted(breaker, START + 1.5).probe


def test_pauses_double_up_to_a_bound() -> None:
    """Each probe that fails doubles the pause, to fifteen seconds at most."""
    breaker, now, pauses = opened(), START, []
    for _ in range(7):
        pauses.append(breaker.wait_s(now))
        now += pauses[-1]
        fail(breaker, now)
    assert pauses == [1, 2, 4, 8, 15, 15, 15]


def test_jitter_shortens_pauses() -> None:
    """Chance takes up to a quarter off, so that replicas do not come back together."""
    assert opened(0.0).wait_s(START) == 0.75
    assert opened(0.5).wait_s(START) == 0.875


def test_a_probe_without_an_answer_counts_as_failed() -> None:
    """A probe that hangs holds the next one up for five seconds and a pause, not for its own
    limit."""
    breaker = opened()
    admitted(breaker, START + 1)
    end = START + 1 + limits.BREAKER_PROBE_S
    assert breaker.state(end - 0.1) is BreakerState.HALF_OPEN
    assert breaker.state(end) is BreakerState.OPEN
    assert breaker.wait_s(end) == 2
    assert breaker.state(end + 2) is BreakerState.HALF_OPEN


def test_a_late_answer_to_a_probe_closes_it() -> None:
    """A provider that answers slowly is up all the same."""
    breaker = opened()
    probe = admitted(breaker, START + 1)
    assert breaker.state(START + 7) is BreakerState.OPEN
    breaker.succeeded(probe, START + 7)
    assert breaker.state(START + 7) is BreakerState.CLOSED


def test_what_was_sent_before_it_opened_says_nothing() -> None:
    """Answers to requests of an earlier phase neither close it nor open it again."""
    breaker = a_breaker()
    early = [admitted(breaker, START) for _ in range(10)]
    fail(breaker, START, 5)
    breaker.succeeded(early[0], START)
    assert breaker.state(START) is BreakerState.OPEN
    breaker.succeeded(admitted(breaker, START + 1), START + 1)
    for late in early[1:]:
        breaker.failed(late, START + 2)
    assert breaker.state(START + 2) is BreakerState.CLOSED


def test_a_probe_that_was_not_sent_makes_room() -> None:
    """A probe that came to nothing lets the next request be the probe."""
    breaker = opened()
    breaker.unknown(admitted(breaker, START + 1))
    assert admitted(breaker, START + 1).probe


def test_unasked_requests_tell_too() -> None:
    """A request that goes whatever the breaker says closes it when it is answered, and takes
    nobody's turn when it is not."""
    breaker = opened()
    unasked = breaker.unasked()
    probe = admitted(breaker, START + 1)
    breaker.unknown(unasked)
    assert breaker.admit(START + 1) is None
    breaker.unknown(probe)
    breaker.succeeded(breaker.unasked(), START + 1)
    assert breaker.state(START + 1) is BreakerState.CLOSED


def test_reset() -> None:
    """A reset lets all go at once, and the next opening is a first one."""
    breaker = opened()
    fail(breaker, START + 1)
    breaker.reset()
    assert breaker.admit(START + 1) is not None
    fail(breaker, START + 1, 5)
    assert breaker.wait_s(START + 1) == 1


def test_a_relapse_doubles_on() -> None:
    """One that opens again right after it closed goes on doubling; a quiet window forgets."""
    breaker = opened()
    breaker.succeeded(admitted(breaker, START + 1), START + 1)
    fail(breaker, START + 2, 5)
    assert breaker.wait_s(START + 2) == 2
    breaker.succeeded(admitted(breaker, START + 4), START + 4)
    later = START + 5 + limits.BREAKER_WINDOW_S
    fail(breaker, later, 5)
    assert breaker.wait_s(later) == 1


def test_a_pause_that_was_asked_for() -> None:
    """It can be opened until a moment that only a later one moves; then one request goes first."""
    breaker = a_breaker()
    early = admitted(breaker, START)
    breaker.open_until(START + 60)
    breaker.open_until(START + 10)
    assert breaker.wait_s(START) == 60
    breaker.succeeded(early, START + 1)
    assert breaker.wait_s(START + 1) == 59
    assert admitted(breaker, START + 60).probe
    assert breaker.admit(START + 60) is None
