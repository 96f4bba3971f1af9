"""Callers that hang up after any number of steps of the loop."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tests.support.house import House
from tests.support.refreshing import expired

_STEPS_MAX = 60


async def _hang_up(task: asyncio.Task[object], steps: int) -> None:
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})


async def _play(patience: list[int]) -> None:
    house = House()
    grant = await expired(house)
    before = asyncio.all_tasks()
    callers = [asyncio.create_task(house.token(grant.name)) for _ in patience]
    await asyncio.gather(
        *(_hang_up(task, steps) for task, steps in zip(callers, patience, strict=True))
    )
    async with asyncio.timeout(5):
        while asyncio.all_tasks() != before:
            await asyncio.sleep(0)
    # One that reached the flight makes the refresh go on; whoever asks next finds its result.
    assert len(house.endpoint.ledger) <= 1
    token = await house.token(grant.name)
    assert token.value.reveal() == b"at-2"
    assert len(house.endpoint.ledger) == 1
    assert not any(house.spool.folder.entries.values())


@given(st.lists(st.integers(0, _STEPS_MAX), min_size=1, max_size=12))
def test_whoever_hangs_up_whenever_leaves_nothing(patience: list[int]) -> None:
    """There is one request, no task is left, and the next caller has its token."""
    asyncio.run(_play(patience))
