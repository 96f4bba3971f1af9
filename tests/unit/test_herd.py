"""Ten thousand tokens that end in the same second, at a provider with a rate budget."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator

import pytest

from tests.support.house import House
from tests.support.simulation import SimulatedProvider, multiply, simulated
from tests.support.virtual_time import LoopClock, run_virtual
from vault_service.domain.errors import VaultError
from vault_service.domain.grant import Grant, Served
from vault_service.domain.priority import Priority
from vault_service.domain.provider import RefreshClass

PER_S, PER_MIN = 50, 500  # Cronofy's
REPLICAS = 2
WORKERS = 32  # of background work, in each replica
CALLERS = 20
PERMITS_MISSED_MAX = 6 * REPLICAS  # by a caller: replicas do not know of each other's callers


async def _work(house: House, due: Iterator[Grant]) -> None:
    """One worker of a scheduler: grant after grant, each until it is refreshed."""
    for grant in due:
        while True:
            try:
                await house.refresh(house.call(budget_s=60.0), grant, Priority.BACKGROUND)
                break
            except VaultError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(error.retry_after_s or 1.0)


async def _ask(provider: SimulatedProvider, house: House, grant: Grant, after_s: float) -> int:
    """How many others the provider is asked for while a caller who comes at this moment waits."""
    await asyncio.sleep(after_s)
    before = len(provider.times)
    token = await house.token(grant.name)
    assert token.served in (Served.REFRESHED, Served.FRESH)
    return len(provider.times) - before - 1


@pytest.mark.parametrize(
    "count", [500, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(1_800)])]
)
def test_a_herd_is_spread(count: int) -> None:
    """All are refreshed once, in the time that the budget takes and never above it in any second
    or minute, on two replicas; callers who come meanwhile wait for a few others, not for the
    herd."""

    async def main(clock: LoopClock) -> None:
        provider, houses, grant = await simulated(
            clock, REPLICAS, refresh_class=RefreshClass.N, rate_per_s=PER_S, rate_per_min=PER_MIN
        )
        herd = await multiply(houses[0], grant, count, left_s=0.0)
        asked = await multiply(houses[0], grant, CALLERS, left_s=0.0)
        start = clock.monotonic()
        due = iter(herd)
        workers = [_work(house, due) for house in houses for _ in range(WORKERS)]
        moments = random.Random(1)
        lasts_s = 60 * count / PER_MIN
        callers = [
            _ask(provider, house, one, moments.uniform(0, lasts_s))
            for house, one in zip(itertools.cycle(houses), asked, strict=False)
        ]
        working = asyncio.gather(*workers)
        missed = await asyncio.gather(*callers)
        await working
        rows = [await houses[0].row(one.name) for one in (*herd, *asked)]
        assert {row.generation for row in rows} == {2}
        assert len(provider.times) == count + CALLERS
        assert provider.most_within(1.0) <= PER_S
        assert provider.most_within(60.0) <= PER_MIN
        assert clock.monotonic() - start <= 60 * (count + CALLERS) / (0.8 * PER_MIN) + 1
        assert max(missed) <= PERMITS_MISSED_MAX
        asked_budget = sum(lane.budget_statements for h in houses for lane in h.outages.view())
        assert asked_budget <= 4 * (count + CALLERS)  # where it is scarce, most ask in vain once

    run_virtual(main)
