"""The budget for repetitions of what failed."""

from __future__ import annotations

from vault_service.domain import limits
from vault_service.domain.retry_budget import RetryBudget


def spent() -> RetryBudget:
    """A budget in which grant "a" failed and no retry is left."""
    budget = RetryBudget(0.0)
    budget.failed("a")
    for _ in range(int(limits.RETRIES_MAX)):
        assert budget.admit("a", 0.0)
    assert not budget.admit("a", 0.0)
    return budget


def test_first_requests_are_free() -> None:
    """What did not fail lately goes however little is left, and earns a tenth of a retry."""
    budget = spent()
    assert all(budget.admit(f"b{n}", 0.0) for n in range(11))
    assert budget.admit("a", 0.0)
    assert not budget.admit("a", 0.0)


def test_retries_are_a_tenth_and_a_trickle() -> None:
    """Over a while of failures retries are at most what was saved up, one a second, and a tenth
    of the requests."""
    budget = RetryBudget(0.0)
    budget.failed("a")
    retries = 0
    for tenth in range(6_000):
        now = tenth / 10
        assert budget.admit(f"first-{tenth}", now)
        retries += budget.admit("a", now)
    bound = limits.RETRIES_MAX + 600 * limits.RETRY_TRICKLE_PER_S + 6_000 * limits.RETRY_SHARE
    assert bound - 2 <= retries <= bound


def test_a_retry_that_helps_costs_nothing() -> None:
    """As long as retries succeed there is no bound on them."""
    budget = RetryBudget(0.0)
    for number in range(200):
        budget.failed(number)
        assert budget.admit(number, 0.0)
        budget.succeeded(number)


def test_waiting_time_is_true() -> None:
    """Who is refused and waits as long as it says may go."""
    budget = spent()
    assert budget.admit("a", budget.wait_s())


def test_not_sent_costs_nothing() -> None:
    """A retry that was not sent after all is given back, and a first request earns nothing."""
    budget = spent()
    budget.admit("b", 0.0)
    budget.give_back("b")
    assert 0.99 < budget.wait_s() < 1.01
    budget.give_back("a")
    assert budget.admit("a", 0.0)


def test_memory_is_bounded() -> None:
    """Only the grants that failed last are known; the oldest count as first requests again."""
    budget = spent()
    for number in range(limits.RETRY_KEYS_MAX):
        budget.failed(number)
    assert budget.admit("a", 0.0)
