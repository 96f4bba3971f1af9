"""Places at a provider: bounded, in order, callers first."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.house import refused
from vault_service.domain.errors import Reason
from vault_service.domain.priority import Priority
from vault_service.usecases.bulkhead import Bulkhead

CALLER, RECOVERY, BACKGROUND = Priority


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Tasks that wait for a place; ``order`` has who got in, as they came in."""

    def __init__(self, bulkhead: Bulkhead) -> None:
        self.bulkhead = bulkhead
        self.order: list[str] = []
        self.tasks: dict[str, asyncio.Task[Priority | None]] = {}

    def come(self, name: str, priority: Priority = CALLER, wait_s: float = 5.0) -> None:
        async def enter() -> Priority | None:
            inside = await self.bulkhead.enter(name, priority, wait_s)
            if inside is not None:
                self.order.append(name)
            return inside

        self.tasks[name] = asyncio.create_task(enter())

    async def leave_all(self) -> list[str]:
        """One after the other leaves until nobody waits; who got in, in that order."""
        left = 0
        await settled()
        while left < len(self.order):
            inside = self.tasks[self.order[left]].result()
            assert inside is not None
            self.bulkhead.leave(inside)
            left += 1
            await settled()
        return self.order


async def test_places_are_bounded() -> None:
    """As many as there are places get in at once; the others wait until one leaves."""
    crowd = Crowd(Bulkhead(3))
    for name in "abcde":
        crowd.come(name)
    await settled()
    assert (crowd.order, crowd.bulkhead.inside, crowd.bulkhead.waiting) == (list("abc"), 3, 2)
    crowd.bulkhead.leave(CALLER)
    await settled()
    assert crowd.order == list("abcd")


async def test_callers_go_first() -> None:
    """Who has a caller waiting goes before recovery, recovery before what can wait; equals in the
    order in which they came."""
    crowd = Crowd(Bulkhead(1))
    crowd.come("first")
    await settled()
    for name, priority in (
        ("b1", BACKGROUND), ("r1", RECOVERY), ("c1", CALLER), ("b2", BACKGROUND), ("c2", CALLER),
    ):  # fmt: skip
        crowd.come(name, priority)
    assert await crowd.leave_all() == ["first", "c1", "c2", "r1", "b1", "b2"]
    assert (crowd.bulkhead.inside, crowd.bulkhead.waiting) == (0, 0)


async def test_half_of_the_places_are_the_callers() -> None:
    """Work that nobody waits for fills half of the places; a caller finds one at once."""
    crowd = Crowd(Bulkhead(4))
    for number in range(4):
        crowd.come(f"b{number}", BACKGROUND)
    crowd.come("r", RECOVERY)
    await settled()
    assert crowd.order == ["b0", "b1"]
    crowd.come("c1")
    crowd.come("c2")
    await settled()
    assert crowd.order == ["b0", "b1", "c1", "c2"]
    assert (await crowd.leave_all())[4:] == ["r", "b2", "b3"]


async def test_one_place_serves_all() -> None:
    """Where there is one place only, background work may have it."""
    bulkhead = Bulkhead(1)
    assert await bulkhead.enter("b", BACKGROUND, 0) is BACKGROUND


async def test_a_waiter_is_promoted() -> None:
    """When a caller comes to wait for what was queued as background, it is moved to the callers."""
    crowd = Crowd(Bulkhead(1))
    crowd.come("first")
    await settled()
    for name, priority in (("b1", BACKGROUND), ("b2", BACKGROUND), ("r", RECOVERY)):
        crowd.come(name, priority)
    await settled()
    crowd.bulkhead.promote("b2", CALLER)
    crowd.bulkhead.promote("b2", BACKGROUND)
    crowd.bulkhead.promote("nobody", CALLER)
    assert await crowd.leave_all() == ["first", "b2", "r", "b1"]
    assert crowd.tasks["b2"].result() is CALLER


async def test_each_has_a_deadline() -> None:
    """Who waited for as long as it would goes away without a place, and leaves no trace."""
    crowd = Crowd(Bulkhead(1))
    crowd.come("first")
    crowd.come("short", wait_s=0.02)
    crowd.come("long")
    assert await crowd.tasks["short"] is None
    assert await crowd.leave_all() == ["first", "long"]
    assert crowd.bulkhead.waiting == 0


async def test_without_waiting() -> None:
    """With no time to wait there is a place now or none, and nobody is overtaken."""
    bulkhead = Bulkhead(1)
    assert await bulkhead.enter("a", CALLER, 0) is CALLER
    assert await bulkhead.enter("b", CALLER, 0) is None
    assert bulkhead.waited == 0


async def test_who_hangs_up_frees_its_turn() -> None:
    """A waiter that is cancelled in the queue, or in the moment it was let in, blocks nobody."""
    crowd = Crowd(Bulkhead(1))
    for name in ("first", "queued", "let in", "last"):
        crowd.come(name)
    await settled()
    crowd.tasks["queued"].cancel()
    await settled()
    crowd.bulkhead.leave(CALLER)
    crowd.tasks["let in"].cancel()
    await settled()
    assert crowd.order == ["first", "last"]
    assert (crowd.bulkhead.inside, crowd.bulkhead.waiting) == (1, 0)


async def test_a_full_queue() -> None:
    """Who finds it full of equals is told so; the last of the less urgent makes room for a
    caller."""
    crowd = Crowd(Bulkhead(1, queue_max=2))
    crowd.come("first")
    await settled()
    crowd.come("b1", BACKGROUND)
    crowd.come("b2", BACKGROUND)
    await settled()
    error = await refused(Reason.OVERLOADED, crowd.bulkhead.enter("b3", BACKGROUND, 5))
    assert error.retry_after_s
    crowd.come("c1")
    await refused(Reason.OVERLOADED, crowd.tasks["b2"])
    assert crowd.bulkhead.waiting == 2
    assert await crowd.leave_all() == ["first", "c1", "b1"]
    assert crowd.bulkhead.refused == 2


@pytest.mark.parametrize("more", [2, 5])
async def test_more_places_by_a_new_profile(more: int) -> None:
    """Places that a profile adds are used as soon as somebody comes."""
    crowd = Crowd(Bulkhead(1))
    for name in "abc":
        crowd.come(name)
    await settled()
    crowd.bulkhead.parallel_max = more
    crowd.come("d")
    await settled()
    assert crowd.order == list("abcd")[:more]
