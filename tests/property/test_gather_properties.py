"""Gatherer under random arrivals, failures and cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum

from hypothesis import given, settings
from hypothesis import strategies as st

from vault_service.gather import Gatherer


class Act(Enum):
    """What happens to one submitted item."""

    KEEP = 1
    CANCEL_AT_ONCE = 2
    CANCEL_LATER = 3
    FAILS = 4
    FAILS_ITS_BATCH = 5


Plan = list[tuple[Act, int]]  # what happens, and how often the loop turns before the next


class Recorder:
    """Remembers every batch; answers with the item itself."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.batches: list[list[int]] = []
        self.running = 0
        self.running_max = 0

    async def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        for _ in range(3):
            await asyncio.sleep(0)
        self.running -= 1
        if any(self.plan[item][0] is Act.FAILS_ITS_BATCH for item in items):
            raise ValueError("batch")
        return [KeyError(i) if self.plan[i][0] is Act.FAILS else i for i in items]


async def play(plan: Plan, recorder: Recorder, batch_max: int, n: int) -> list[int | BaseException]:
    gatherer: Gatherer[int, int] = Gatherer(
        recorder, batch_max=batch_max, queue_max=1000, in_flight_max=n
    )
    tasks = []
    for item, (act, turns) in enumerate(plan):
        task = asyncio.create_task(gatherer.submit(item))
        tasks.append(task)
        if act is Act.CANCEL_AT_ONCE:
            task.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        if act is Act.CANCEL_LATER:
            task.cancel()
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    await gatherer.close()
    return answers


plans = st.lists(st.tuples(st.sampled_from(Act), st.integers(0, 6)), max_size=60)


@given(plan=plans, batch_max=st.integers(1, 8), in_flight_max=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_every_waiter_gets_exactly_its_own_fate(
    plan: Plan, batch_max: int, in_flight_max: int
) -> None:
    """Whatever arrives, fails or is cancelled: own answer or own batch's error, order, bounds."""
    recorder = Recorder(plan)
    answers = asyncio.run(play(plan, recorder, batch_max, in_flight_max))
    ran = [item for batch in recorder.batches for item in batch]
    assert ran == sorted(set(ran)), "each item runs once at most, in the order of arrival"
    assert all(1 <= len(batch) <= batch_max for batch in recorder.batches)
    assert recorder.running_max <= in_flight_max
    batch_of = {item: batch for batch in recorder.batches for item in batch}
    for item, ((act, _), answer) in enumerate(zip(plan, answers, strict=True)):
        if isinstance(answer, asyncio.CancelledError):
            assert act in (Act.CANCEL_AT_ONCE, Act.CANCEL_LATER)
        elif isinstance(answer, ValueError):
            assert any(plan[i][0] is Act.FAILS_ITS_BATCH for i in batch_of[item])
        elif isinstance(answer, KeyError):
            assert act is Act.FAILS
            assert answer.args == (item,)
        else:
            assert answer == item
