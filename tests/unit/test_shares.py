"""Places that tenants share: nobody takes all, and what is free is used."""

from __future__ import annotations

import asyncio

from tests.support.house import refused
from vault_service.domain import limits
from vault_service.domain.errors import Reason
from vault_service.domain.on_behalf import TENANT
from vault_service.domain.priority import Priority
from vault_service.usecases.shares import Shares

Entering = asyncio.Task[bool]


async def crowd(shares: Shares, tenant: str, count: int) -> list[Entering]:
    """So many requests of one tenant, which hang once they are in."""
    tasks = [asyncio.create_task(shares.enter(tenant, 60.0)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def hang_up(*tasks: Entering) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_289_hanging_requests_of_one_tenant() -> None:
    """They take half of the places; another tenant's next 64 requests enter without waiting, and
    so does a third tenant's."""
    shares = Shares(limits.REFRESH_PLACES_MAX)
    waiting = await crowd(shares, "a", 289)
    assert shares.inside == limits.REFRESH_PLACES_MAX // 2
    for _ in range(48):
        assert await shares.enter("b", 0.0)
    assert await shares.enter("c", 0.0)
    await hang_up(*waiting)


async def test_who_comes_is_never_first_in_line_for_nothing() -> None:
    """However many tenants hang one after the other, there is a place for the next."""
    shares = Shares(64)
    crowds = [await crowd(shares, f"t-{number}", 100) for number in range(6)]
    assert await shares.enter("newcomer", 0.0)
    for waiting in crowds:
        await hang_up(*waiting)


async def test_a_place_that_is_left() -> None:
    """It goes to the tenant that holds least, and of one tenant to the most urgent."""
    shares, order = Shares(1_000, each_max=1), []

    async def come(name: str, priority: Priority) -> None:
        assert await shares.enter("a", 60.0, priority)
        order.append(name)
        shares.leave("a")

    assert await shares.enter("a", 0.0)
    tasks = [
        asyncio.create_task(come("ahead", Priority.BACKGROUND)),
        asyncio.create_task(come("recovery", Priority.RECOVERY)),
        asyncio.create_task(come("caller", Priority.CALLER)),
    ]
    await asyncio.sleep(0)
    shares.leave("a")
    await asyncio.gather(*tasks)
    assert order == ["caller", "recovery", "ahead"]


async def test_bounds() -> None:
    """A key has a bound of its own and a bounded queue; without time to wait there is a place now
    or none."""
    shares = Shares(1_000, each_max=2, queue_max=3)
    waiting = await crowd(shares, "a", 5)
    await refused(Reason.OVERLOADED, shares.enter("a", 60.0))
    assert not await shares.enter("a", 0.0)
    assert await shares.enter("b", 0.0)
    assert (shares.inside, shares.waiting, shares.refused) == (3, 3, 1)
    await hang_up(*waiting)
    assert shares.waiting == 0


async def test_who_hangs_up_in_the_moment_it_was_let_in() -> None:
    """Its place is free again."""
    shares = Shares(10, each_max=1)
    assert await shares.enter("a", 0.0)
    (waiting,) = await crowd(shares, "a", 1)
    shares.leave("a")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert shares.inside == 0


async def test_a_place_while_it_lasts() -> None:
    """The tenant is known to what is done inside, and its place is left at the end."""
    shares = Shares(2)
    async with shares.place("acme", 0.0):
        assert (TENANT.get(), shares.inside) == ("acme", 1)
        await refused(Reason.OVERLOADED, shares.place("acme", 0.0).__aenter__())
    assert (TENANT.get(), shares.inside) == ("", 0)
