"""The breaker under any sequence of requests, answers and waits."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from vault_service.domain import limits
from vault_service.domain.breaker import Admission, Breaker, BreakerState

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "succeed", "fail", "nothing", "unasked", "wait"]),
        st.floats(0, 20, allow_nan=False),
    ),
    max_size=80,
)
BACK_WITHIN_S = 30.0


@dataclass
class Run:
    """A breaker, its clock, and what is under way."""

    seed: int
    now: float = 0.0
    under_way: list[Admission] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.breaker = Breaker(random.Random(self.seed).random)
        self.grants = itertools.count()

    def step(self, what: str, number: float) -> None:
        if what == "wait":
            self.now += number
        elif what == "ask":
            admission = self.breaker.admit(self.now, int(number))
            if admission is not None:
                self.under_way.append(admission)
        elif what == "unasked":
            self.under_way.append(self.breaker.unasked())
        elif self.under_way:
            admission = self.under_way.pop(int(number) % len(self.under_way))
            if what == "succeed":
                self.breaker.succeeded(admission, self.now)
            elif what == "fail":
                self.breaker.failed(admission, self.now)
            else:
                self.breaker.unknown(admission)


@settings(deadline=None)
@given(STEPS, st.integers(0, 99))
def test_waits_are_bounded_and_true(steps: list[tuple[str, float]], seed: int) -> None:
    """Whatever happened, the wait is at most the longest pause, and who waits it out may go."""
    run = Run(seed)
    for step in steps:
        run.step(*step)
        wait_s = run.breaker.wait_s(run.now)
        assert 0 <= wait_s <= limits.BREAKER_OPEN_MAX_S
        if run.breaker.state(run.now) is BreakerState.CLOSED:
            assert wait_s == 0
    run.now += limits.BREAKER_PROBE_S + limits.BREAKER_OPEN_MAX_S
    assert run.breaker.admit(run.now) is not None


@settings(deadline=None)
@given(STEPS, st.integers(0, 99))
def test_half_open_lets_one_through(steps: list[tuple[str, float]], seed: int) -> None:
    """Of two requests at one moment in HALF_OPEN the second never goes."""
    run = Run(seed)
    for step in steps:
        run.step(*step)
        if run.breaker.state(run.now) is BreakerState.HALF_OPEN:
            run.breaker.admit(run.now)
            assert run.breaker.admit(run.now) is None


@settings(deadline=None)
@given(STEPS, st.integers(0, 99), st.floats(0.05, 1.0))
def test_a_provider_that_is_back_is_used(
    steps: list[tuple[str, float]], seed: int, every_s: float
) -> None:
    """After any history, where a request is tried every moment and each is answered, it is closed
    within half a minute."""
    run = Run(seed)
    for step in steps:
        run.step(*step)
    back = run.now
    while run.breaker.state(run.now) is not BreakerState.CLOSED:
        admission = run.breaker.admit(run.now)
        if admission is not None:
            run.breaker.succeeded(admission, run.now)
        run.now += every_s
        assert run.now - back <= BACK_WITHIN_S


@settings(deadline=None)
@given(st.integers(0, 999), st.floats(0.2, 2.0))
def test_a_provider_that_is_down_is_hardly_asked(seed: int, every_s: float) -> None:
    """In ten minutes of failures the requests that go are a handful and one each pause."""
    run = Run(seed)
    asked = 0
    while run.now < 600:
        admission = run.breaker.admit(run.now, next(run.grants))
        if admission is not None:
            asked += 1
            run.breaker.failed(admission, run.now)
        run.now += every_s
    shortest_s = 0.75 * limits.BREAKER_OPEN_MAX_S
    assert asked <= limits.BREAKER_FAILURES_MIN + 5 + 600 / shortest_s


@settings(deadline=None)
@given(st.lists(st.floats(0, 5), max_size=200), st.integers(0, 99))
def test_success_never_opens_it(waits: list[float], seed: int) -> None:
    """Where nothing fails it stays closed."""
    run = Run(seed)
    for wait_s in waits:
        run.now += wait_s
        admission = run.breaker.admit(run.now)
        assert admission is not None
        run.breaker.succeeded(admission, run.now)
    assert run.breaker.opened == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=200),
    st.integers(0, 99),
)
def test_one_grant_never_opens_it_while_another_succeeds(
    steps: list[tuple[bool, float]], seed: int
) -> None:
    """One grant that always fails opens nothing where another succeeds within any minute."""
    run = Run(seed)
    for again, wait_s in steps:
        run.now += wait_s
        healthy = run.breaker.admit(run.now, "healthy")
        assert healthy is not None
        run.breaker.succeeded(healthy, run.now)
        for _ in range(6 if again else 1):
            poisoned = run.breaker.admit(run.now, "poisoned")
            assert poisoned is not None
            run.breaker.failed(poisoned, run.now)
    assert run.breaker.opened == 0


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, 99))
def test_a_total_outage_opens_it_with_any_number_of_grants(grants: int, seed: int) -> None:
    """Where all fail, it opens within a minute and a half of the first failure, with one grant or
    a few."""
    run = Run(seed)
    while run.breaker.opened == 0:
        for who in range(grants):
            admission = run.breaker.admit(run.now, who)
            if admission is not None:
                run.breaker.failed(admission, run.now)
        run.now += 10
        assert run.now < 90
