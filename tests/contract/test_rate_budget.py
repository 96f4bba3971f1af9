"""ports.RateBudget: one suite for the fake and for PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.conftest import Stores
from tests.support.samples import a_profile, a_record
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName
from vault_service.domain.rates import Rates

CLIENT = OAuthClientName("acme", "crm")
UNBOUNDED = Rates.of(a_profile())
TEN = Rates.of(a_profile(rate_per_s=10))  # two at once, nine more each second


async def test_without_a_budget_all_are_given(stores: Stores) -> None:
    """Where the profile names no rates, as many as are wanted are given."""
    taken = await stores.budget.take(CLIENT, UNBOUNDED, 64)
    assert (taken.permits, taken.wait_s, taken.held_s) == (64, 0, 0)


async def test_burst_and_then_time(stores: Stores) -> None:
    """A full bucket gives its size; an empty one says how long the next permit takes."""
    first = await stores.budget.take(CLIENT, TEN, 64)
    second = await stores.budget.take(CLIENT, TEN, 1)
    assert (first.permits, second.permits) == (2, 0)
    assert 0 < second.wait_s <= 1 / 9
    await stores.behind.advance(second.wait_s + 0.001)
    assert (await stores.budget.take(CLIENT, TEN, 1)).permits == 1


async def test_wanted_is_the_most(stores: Stores) -> None:
    """No more are given than are wanted, and what was not taken is there for the next."""
    rates = Rates.of(a_profile(rate_per_s=500))
    assert (await stores.budget.take(CLIENT, rates, 3)).permits == 3
    assert (await stores.budget.take(CLIENT, rates, 1_000)).permits >= 97


async def test_minute_counts_beside_the_second(stores: Stores) -> None:
    """Of both budgets the one with less left decides."""
    rates = Rates.of(a_profile(rate_per_s=100, rate_per_min=30))
    taken = await stores.budget.take(CLIENT, rates, 64)
    empty = await stores.budget.take(CLIENT, rates, 64)
    assert taken.permits == 6
    assert 1 < empty.wait_s < 3


async def test_many_at_once_share_one_budget(stores: Stores) -> None:
    """Many replicas that ask at one moment get the bucket's size together."""
    rates = Rates.of(a_profile(rate_per_min=100))
    taken = await asyncio.gather(*(stores.budget.take(CLIENT, rates, 3) for _ in range(16)))
    assert sum(one.permits for one in taken) == 20


async def test_no_rate_is_passed_in_any_window(stores: Stores) -> None:
    """However greedily it is asked, no second gives more than the provider allows."""
    loop = asyncio.get_running_loop()
    start, advanced = loop.time(), 0.0

    def passed() -> float:
        # The fake's clock stands still but for ``advance``; a real one moves at least as far.
        return max(loop.time() - start, advanced)

    given: list[tuple[float, float]] = []  # before and after the budget was asked
    for _ in range(60):
        before = passed()
        taken = await stores.budget.take(CLIENT, TEN, 64)
        given += [(before, passed())] * taken.permits
        await stores.behind.advance(0.03)
        advanced += 0.03
    assert len(given) >= 12
    for begin, _ in given:
        surely_within = [one for one in given if one[0] >= begin and one[1] < begin + 1.0]
        assert len(surely_within) <= 10


async def test_hold_back(stores: Stores) -> None:
    """A pause stops all, budget or not; a shorter one does not shorten it; then all goes on."""
    await stores.budget.hold_back(CLIENT, 0.6, a_record())
    await stores.budget.hold_back(CLIENT, 0.1, a_record())
    for rates in (UNBOUNDED, TEN):
        taken = await stores.budget.take(CLIENT, rates, 5)
        assert taken.permits == 0
        assert 0.3 < taken.held_s < 0.601
    await stores.behind.advance(0.7)
    assert (await stores.budget.take(CLIENT, UNBOUNDED, 5)).permits == 5


async def test_a_hold_is_on_record_when_it_begins(stores: Stores) -> None:
    """Once, whichever replica wrote it and however often it was tried; a pause after its end is
    another."""
    first, longer, again = a_record(), a_record(), a_record()
    await stores.budget.hold_back(CLIENT, 0.2, first)
    await stores.budget.hold_back(CLIENT, 0.3, longer)
    await stores.budget.hold_back(CLIENT, 0.3, first)
    await stores.behind.advance(0.4)
    await stores.budget.hold_back(CLIENT, 0.1, first)
    await stores.behind.advance(0.2)
    await stores.budget.hold_back(CLIENT, 60.0, again)
    written = [record.record_id for record in await stores.records()]
    assert [written.count(one.record_id) for one in (first, longer, again)] == [1, 0, 1]


async def test_a_hold_is_seen_and_lifted(stores: Stores) -> None:
    """A pause is listed while it lasts, and of its own tenant only; its end is on record, and then
    all are given again; where there is none, nothing is done or recorded."""
    other = OAuthClientName("globex", "crm")
    await stores.budget.hold_back(CLIENT, 60.0, a_record())
    await stores.budget.hold_back(other, 60.0, a_record("globex"))
    (hold,) = await stores.holds.holds("acme")
    assert hold.client == CLIENT
    assert 50 < hold.left_s <= 60
    assert 50 < await stores.budget.held_s(CLIENT) <= 60
    first, second = a_record(), a_record()
    assert await stores.holds.clear(CLIENT, first)
    assert not await stores.holds.clear(CLIENT, second)
    assert await stores.holds.holds("acme") == []
    assert await stores.budget.held_s(CLIENT) == 0
    assert (await stores.budget.take(CLIENT, UNBOUNDED, 5)).permits == 5
    assert (await stores.budget.take(other, UNBOUNDED, 5)).permits == 0
    ids = {record.record_id for record in await stores.records()}
    assert first.record_id in ids
    assert second.record_id not in ids


async def test_rates_that_were_lowered(stores: Stores) -> None:
    """A profile that was put anew counts at once, whatever was in the buckets."""
    await stores.budget.take(CLIENT, UNBOUNDED, 1)
    assert (await stores.budget.take(CLIENT, TEN, 64)).permits == 2


async def test_clients_do_not_share(stores: Stores) -> None:
    """One OAuthClient's budget and pause are no other's."""
    await stores.budget.take(CLIENT, TEN, 64)
    await stores.budget.hold_back(CLIENT, 60.0, a_record())
    other = OAuthClientName("globex", "crm")
    assert (await stores.budget.take(other, TEN, 64)).permits == 2


async def test_unknown_client(stores: Stores) -> None:
    """There is no budget for what is not registered."""
    for ask in (
        stores.budget.take(OAuthClientName("acme", "ghost"), TEN, 1),
        stores.budget.hold_back(OAuthClientName("acme", "ghost"), 1.0, a_record()),
    ):
        with pytest.raises(VaultError) as refused:
            await ask
        assert refused.value.reason is Reason.OAUTH_CLIENT_NOT_FOUND
