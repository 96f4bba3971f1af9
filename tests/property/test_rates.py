"""Two token buckets never give more than the provider allows, wherever its windows begin."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.budgets import FakeRateBudget
from tests.fakes.clock import FakeClock
from tests.fakes.stores import FakeStores
from tests.support.samples import a_profile, an_oauth_client
from vault_service.domain.rates import Bucket, Rates

WANTS = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 64)), min_size=1, max_size=150)
EPSILON_S = 1e-6  # of binary fractions


@settings(deadline=None)
@given(WANTS, st.integers(1, 60), st.integers(0, 200))
async def test_no_window_has_more(wants: list[tuple[float, int]], per_s: int, per_min: int) -> None:
    """Whenever and however much is wanted, each second and each minute stays within its number."""
    clock = FakeClock()
    stores = FakeStores(clock, ["acme"])
    client = an_oauth_client()
    stores.tables.oauth_clients[client.name] = client
    budget = FakeRateBudget(stores.tables)
    rates = Rates.of(a_profile(rate_per_s=per_s, rate_per_min=per_min))
    given_at: list[float] = []
    for wait_s, wanted in wants:
        clock.advance(wait_s)
        taken = await budget.take(client.name, rates, wanted)
        assert 0 <= taken.permits <= wanted
        assert (taken.permits > 0) != (taken.wait_s > 0)
        given_at += [clock.monotonic()] * taken.permits
    for window_s, allowed in ((1.0, per_s), (60.0, per_min or len(given_at))):
        for begin in set(given_at):
            end = begin + window_s - EPSILON_S
            assert sum(begin <= moment < end for moment in given_at) <= allowed


@given(st.integers(1, 10_000), st.sampled_from([1.0, 60.0]))
def test_most_of_a_budget_can_be_used(requests: int, window_s: float) -> None:
    """What stays unused for the sake of bursts is at most a fifth."""
    bucket = Bucket.of(requests, window_s)
    assert bucket.size >= 1
    assert bucket.per_s * window_s >= 0.8 * requests
