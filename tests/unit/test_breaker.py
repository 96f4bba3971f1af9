"""The circuit breaker, on a clock that the test moves."""

from __future__ import annotations

import itertools

from vault_service.domain import limits
from vault_service.domain.breaker import Admission, Breaker, BreakerState

START = 100.0


def a_breaker(chance: float = 1.0) -> Breaker:
    """``chance`` 1: the longest pauses."""
    return Breaker(lambda: chance)


GRANTS = itertools.count()


def admitted(breaker: Breaker, now: float, who: object = None) -> Admission:
    """Of a grant that nobody has seen yet, where none is named."""
    admission = breaker.admit(now, next(GRANTS) if who is None else who)
    assert admission is not None
    return admission


def fail(breaker: Breaker, now: float, times: int = 1, who: object = None) -> None:
    for _ in range(times):
        breaker.failed(admitted(breaker, now, who), now)


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


def test_what_fails_too_late_is_still_at_fault() -> None:
    """A request of before the breaker opened, which fails when it is open, decides nothing; but its
    grant is no probe before others, and at fault itself once others succeed."""
    breaker = a_breaker()
    slow = admitted(breaker, START, "slow")
    fail(breaker, START, limits.BREAKER_FAILURES_MIN)
    breaker.failed(slow, START + 0.5)
    assert breaker.opened == 1
    after = START + limits.BREAKER_OPEN_FIRST_S
    assert breaker.wait_s(after, "slow") == limits.BREAKER_FRESH_S
    assert not breaker.is_at_fault("slow")
    breaker.succeeded(admitted(breaker, after, "well"), after)
    assert breaker.is_at_fault("slow")
    assert not breaker.is_at_fault("well")
    breaker.succeeded(admitted(breaker, after, "slow"), after)
    assert not breaker.is_at_fault("slow")


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
    """Failures that came before the window do not count where somebody has succeeded lately."""
    breaker = a_breaker()
    breaker.succeeded(admitted(breaker, START), START)
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
    breaker.succeeded(admitted(breaker, START + 1, "good"), START + 1)
    fail(breaker, START + 2, 5)
    assert breaker.wait_s(START + 2) == 2
    breaker.succeeded(admitted(breaker, START + 4, "good"), START + 4)
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


def test_one_poisoned_account_opens_nothing() -> None:
    """However often one grant fails, it stays closed while another succeeds now and then."""
    breaker = a_breaker()
    for second in range(600):
        now = START + second
        if second % 30 == 0:
            breaker.succeeded(admitted(breaker, now, "healthy"), now)
        fail(breaker, now, 3, who="poisoned")
    assert breaker.opened == 0


def test_poisoned_accounts_that_are_many() -> None:
    """Of fifteen grants that always fail beside one that succeeds, each counts once: then it is at
    fault itself, and the healthy one is not held up any more."""
    breaker, refused = a_breaker(), 0
    breaker.succeeded(admitted(breaker, START - 30, "healthy"), START - 30)
    for second in range(600):
        now = START + second
        for number in range(15):
            admission = breaker.admit(now, f"poisoned-{number}")
            if admission is not None:
                breaker.failed(admission, now)
        if second % 3 == 0:
            healthy = breaker.admit(now, "healthy")
            if healthy is None:
                refused += 1
            else:
                breaker.succeeded(healthy, now)
    assert breaker.opened <= 3
    assert refused <= 2


def test_an_outage_with_one_grant_in_use() -> None:
    """Where nobody succeeds for a minute, five failures of one grant within it open it; another
    grant goes at once, and its success ends it."""
    breaker = a_breaker()
    breaker.succeeded(admitted(breaker, START, "other"), START)
    begin = START + limits.BREAKER_ALONE_WINDOW_S + 1
    fail(breaker, begin, 4, who="only")
    assert breaker.state(begin) is BreakerState.CLOSED
    fail(breaker, begin, who="only")
    assert breaker.state(begin) is BreakerState.OPEN
    assert breaker.admit(begin, "only") is None
    breaker.succeeded(admitted(breaker, begin, "other"), begin)
    assert breaker.state(begin) is BreakerState.CLOSED


def test_no_grant_goes_ahead_in_an_outage_of_many() -> None:
    """Where three grants failed, one that did not waits for the end of the pause as well."""
    breaker = opened()
    assert breaker.admit(START, "fresh") is None


def test_who_did_not_fail_sends_the_probe() -> None:
    """For five seconds after a pause the grants that failed leave the probe to others."""
    breaker = a_breaker()
    for name in "abcde":
        fail(breaker, START, who=name)
    assert breaker.admit(START + 1, "a") is None
    assert breaker.wait_s(START + 1, "a") == limits.BREAKER_FRESH_S
    assert admitted(breaker, START + 1, "fresh").probe
    breaker = a_breaker()
    for name in "abcde":
        fail(breaker, START, who=name)
    assert admitted(breaker, START + 1 + limits.BREAKER_FRESH_S, "a").probe


def a_clients_breaker() -> Breaker:
    return Breaker(lambda: 1.0, partial=False)


def say(breaker: Breaker, who: str, code: str, now: float, *, readily: bool = False) -> None:
    breaker.failed(admitted(breaker, now, who), now, code, readily=readily)


def test_one_success_says_that_a_registration_works() -> None:
    """Any number of grants may be told the same unlisted code: while another succeeds, it is
    theirs."""
    breaker = a_clients_breaker()
    breaker.succeeded(admitted(breaker, START, "healthy"), START)
    for number in range(50):
        say(breaker, f"dead-{number}", "invalid_token", START + 1)
    assert breaker.state(START + 1) is BreakerState.CLOSED


def test_several_grants_that_say_the_same() -> None:
    """Without a success, five grants with one code open it; five codes of five grants do not, nor
    does one grant that says it a hundred times."""
    breaker = a_clients_breaker()
    for number in range(5):
        say(breaker, f"g-{number}", f"code-{number}", START)
    for _ in range(100):
        say(breaker, "g-0", "same", START)
    for number in range(1, 4):
        say(breaker, f"g-{number}", "same", START)
    assert breaker.state(START) is BreakerState.CLOSED
    say(breaker, "g-4", "same", START)
    assert breaker.state(START) is BreakerState.OPEN


def test_an_answer_that_names_the_registration() -> None:
    """invalid_client opens it with three grants, and with one where nobody has succeeded for a
    minute, but with none while another succeeds."""
    three, one, healthy = a_clients_breaker(), a_clients_breaker(), a_clients_breaker()
    healthy.succeeded(admitted(healthy, START, "healthy"), START)
    for number in range(5):
        say(three, f"g-{number % 3}", "invalid_client", START, readily=True)
        say(one, "g", "invalid_client", START, readily=True)
        say(healthy, "g", "invalid_client", START + 30, readily=True)
    assert three.state(START) is BreakerState.OPEN
    assert one.state(START) is BreakerState.OPEN
    assert healthy.state(START + 30) is BreakerState.CLOSED
