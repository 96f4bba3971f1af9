"""Gatherer: batches form while one runs, and each waiter has its own fate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from vault_service.domain.errors import Reason, VaultError
from vault_service.gather import Gatherer


class Batches:
    """A run_batch that doubles numbers, remembers its batches, and can be held back."""

    def __init__(self, *, held: bool = False) -> None:
        self.seen: list[list[int]] = []
        self.running = 0
        self.running_max = 0
        self.may_finish = asyncio.Event()
        if not held:
            self.may_finish.set()

    async def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.seen.append(list(items))
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            await self.may_finish.wait()
        finally:
            self.running -= 1
        if -666 in items:
            raise ValueError("this batch fails")
        return [KeyError(item) if item < 0 else item * 2 for item in items]


def gatherer(
    batches: Batches, *, size: int = 160, queue: int = 1000, n: int = 1
) -> Gatherer[int, int]:
    return Gatherer(batches, batch_max=size, queue_max=queue, in_flight_max=n)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lone_item_runs_at_once() -> None:
    """A lone item is a batch of one and waits for no window."""
    batches = Batches()
    assert await asyncio.wait_for(gatherer(batches).submit(21), 0.5) == 42
    assert batches.seen == [[21]]


async def test_patience_gathers_those_who_are_almost_there() -> None:
    """With patience, items that come one turn of the loop after the other share a batch; without,
    the first goes alone."""
    for patience_s, first in ((0.5, [0, 1, 2, 3]), (0.0, [0])):
        batches = Batches(held=True)
        subject = Gatherer(batches, batch_max=160, queue_max=100, patience_s=patience_s)
        asked = []
        for item in range(4):
            asked.append(asyncio.create_task(subject.submit(item)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert batches.seen == [first]
        batches.may_finish.set()
        assert await asyncio.gather(*asked) == [0, 2, 4, 6]


async def test_patience_ends() -> None:
    """A stream of items that never stops holds no batch back for longer than the patience, and
    one that is full goes at once."""
    batches = Batches()
    subject = Gatherer(batches, batch_max=3, queue_max=100, patience_s=60.0)
    assert await asyncio.gather(*(subject.submit(item) for item in range(6)))
    assert [len(batch) for batch in batches.seen] == [3, 3]
    hurried = Gatherer(batches, batch_max=160, queue_max=1000, patience_s=0.001)
    lone = asyncio.create_task(hurried.submit(1))
    others: list[asyncio.Task[int]] = []
    while not lone.done():
        others.append(asyncio.create_task(hurried.submit(len(others))))
        await asyncio.sleep(0.0005)
        assert len(others) < 100
    await asyncio.gather(lone, *others)


async def test_cancelled_while_patience_lasts() -> None:
    """A waiter that goes away before its batch starts leaves no batch behind."""
    batches = Batches()
    subject = Gatherer(batches, batch_max=3, queue_max=100, patience_s=60.0)
    lone = asyncio.create_task(subject.submit(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    lone.cancel()
    await asyncio.wait({lone})
    await subject.close()
    assert batches.seen == []


async def test_what_arrives_while_a_batch_runs_is_gathered() -> None:
    """Items that arrive while a batch runs form the next batch, in order."""
    batches = Batches(held=True)
    subject = gatherer(batches)
    first = asyncio.create_task(subject.submit(0))
    await settle()
    rest = [asyncio.create_task(subject.submit(i)) for i in range(1, 50)]
    await settle()
    assert batches.seen == [[0]]
    batches.may_finish.set()
    assert await asyncio.gather(first, *rest) == [i * 2 for i in range(50)]
    assert batches.seen == [[0], list(range(1, 50))]


async def test_batches_are_bounded_and_run_side_by_side() -> None:
    """No batch is over batch_max, and no more than in_flight_max run together."""
    batches = Batches(held=True)
    subject = gatherer(batches, size=10, n=3)
    tasks = [asyncio.create_task(subject.submit(i)) for i in range(95)]
    await settle()
    assert batches.running == 3
    batches.may_finish.set()
    assert await asyncio.gather(*tasks) == [i * 2 for i in range(95)]
    assert max(map(len, batches.seen)) == 10
    assert batches.running_max == 3


async def test_an_exception_among_the_answers_fails_only_its_waiter() -> None:
    """An answer that is an Exception is raised at its own waiter only."""
    subject = gatherer(Batches())
    answers = await asyncio.gather(*(subject.submit(i) for i in (1, -2, 3)), return_exceptions=True)
    assert answers[0] == 2
    assert isinstance(answers[1], KeyError)
    assert answers[2] == 6


async def test_a_failing_batch_fails_exactly_its_waiters() -> None:
    """A run_batch that raises fails its batch with that error; the next batch runs."""
    batches = Batches(held=True)
    subject = gatherer(batches, size=2)
    tasks = [asyncio.create_task(subject.submit(i)) for i in (1, -666, 3, 4)]
    batches.may_finish.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(a) for a in answers[:2]] == ["this batch fails"] * 2
    assert answers[2:] == [6, 8]


async def test_a_wrong_number_of_answers_fails_the_batch() -> None:
    """A run_batch that answers for too few items is refused, never paired up wrongly."""

    async def run(items: Sequence[int]) -> Sequence[int | Exception]:
        return list(items)[:-1]

    subject: Gatherer[int, int] = Gatherer(run, batch_max=10, queue_max=10)
    with pytest.raises(VaultError) as caught:
        await subject.submit(1)
    assert caught.value.reason is Reason.INTERNAL


async def test_a_cancelled_waiter_takes_back_its_item_and_no_other() -> None:
    """A call cancelled before its batch started drops its item and cancels nobody else."""
    batches = Batches(held=True)
    subject = gatherer(batches)
    first = asyncio.create_task(subject.submit(0))
    await settle()
    kept, dropped = asyncio.create_task(subject.submit(1)), asyncio.create_task(subject.submit(2))
    await settle()
    dropped.cancel()
    await settle()
    batches.may_finish.set()
    assert list(await asyncio.gather(first, kept)) == [0, 2]
    assert batches.seen == [[0], [1]]
    assert dropped.cancelled()


async def test_cancelling_a_waiter_in_flight_leaves_its_batch_running() -> None:
    """A call cancelled while its batch runs does not stop the batch."""
    batches = Batches(held=True)
    subject = gatherer(batches)
    tasks = [asyncio.create_task(subject.submit(i)) for i in range(3)]
    await settle()
    tasks[0].cancel()
    await settle()
    batches.may_finish.set()
    assert await asyncio.gather(*tasks[1:]) == [2, 4]
    assert batches.seen == [[0, 1, 2]]


async def test_a_full_queue_refuses_and_frees_with_cancelled_items() -> None:
    """The item over queue_max gets OVERLOADED with a retry time; a cancelled item frees a place."""
    batches = Batches(held=True)
    subject = gatherer(batches, queue=2)
    running = asyncio.create_task(subject.submit(0))
    await settle()
    waiting = [asyncio.create_task(subject.submit(i)) for i in (1, 2)]
    await settle()
    with pytest.raises(VaultError) as caught:
        await subject.submit(3)
    assert caught.value.reason is Reason.OVERLOADED
    assert caught.value.retry_after_s == 1.0
    waiting[0].cancel()
    await settle()
    late = asyncio.create_task(subject.submit(4))
    batches.may_finish.set()
    assert list(await asyncio.gather(running, waiting[1], late)) == [0, 4, 8]


async def test_close_answers_what_waits_and_refuses_what_comes() -> None:
    """Closing finishes running and waiting items and refuses new ones as OVERLOADED."""
    batches = Batches(held=True)
    subject = gatherer(batches, size=1)
    tasks = [asyncio.create_task(subject.submit(i)) for i in range(3)]
    await settle()
    closing = asyncio.create_task(subject.close())
    await settle()
    with pytest.raises(VaultError) as caught:
        await subject.submit(9)
    assert caught.value.reason is Reason.OVERLOADED
    assert not closing.done()
    batches.may_finish.set()
    await asyncio.wait_for(closing, 1)
    assert await asyncio.gather(*tasks) == [0, 2, 4]


async def test_a_batch_cancelled_from_inside_fails_its_waiters_only() -> None:
    """A CancelledError out of run_batch becomes an error, never a cancelled caller."""
    calls = 0

    async def run(items: Sequence[int]) -> Sequence[int | Exception]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        return list(items)

    subject: Gatherer[int, int] = Gatherer(run, batch_max=1, queue_max=10)
    answers = await asyncio.gather(subject.submit(1), subject.submit(2), return_exceptions=True)
    assert isinstance(answers[0], VaultError)
    assert answers[0].reason is Reason.INTERNAL
    assert answers[1] == 2


async def test_a_batch_carries_no_callers_context() -> None:
    """A context variable of the first caller is not seen by the batch it shares with others."""
    request_id: ContextVar[str] = ContextVar("request_id", default="none")
    seen: list[str] = []

    async def run(items: Sequence[int]) -> Sequence[int | Exception]:
        seen.append(request_id.get())
        return list(items)

    request_id.set("of the first caller")
    subject: Gatherer[int, int] = Gatherer(run, batch_max=1, queue_max=10)
    await subject.submit(1)
    assert seen == ["none"]


async def test_an_item_right_behind_the_last_answer_is_not_stranded() -> None:
    """A waiter that submits again as soon as it is answered always gets an answer."""
    subject = gatherer(Batches())

    async def chain() -> int:
        value = 1
        for _ in range(200):
            value = await subject.submit(value) % 1000
        return value

    await asyncio.wait_for(asyncio.gather(*(chain() for _ in range(5))), 5)


async def test_sizes_and_waiting_can_be_watched() -> None:
    """Each batch tells its size; what no batch has taken is counted as waiting."""
    batches, sizes = Batches(held=True), list[int]()
    subject: Gatherer[int, int] = Gatherer(
        batches, batch_max=2, queue_max=10, on_batch=sizes.append
    )
    calls = [asyncio.create_task(subject.submit(number)) for number in range(5)]
    await settle()
    assert subject.waiting == 3
    batches.may_finish.set()
    await asyncio.gather(*calls)
    assert (sizes, subject.waiting) == ([2, 2, 1], 0)
