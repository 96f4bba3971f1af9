"""Gathers what arrives together into batches: group commits and transit batches.

Nothing is in flight: the batch starts at once. A batch runs: what arrives meanwhile goes into
the next one. A fixed window would cost a lone caller the whole window for nothing; ``patience_s``
costs it a few turns of the loop, and makes batches large where the loop itself is what is busy.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from itertools import repeat
from typing import Final, Generic, TypeVar

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError

Q = TypeVar("Q")
R = TypeVar("R")

_QUIET_TURNS: Final = 4


class Gatherer(Generic[Q, R]):
    """Runs ``run_batch`` on at most ``batch_max`` items, ``in_flight_max`` batches at a time;
    ``on_batch`` is told the size of each.

    ``run_batch`` returns one answer per item, in order; an answer that is an Exception fails its
    own waiter. Where it raises instead, exactly the waiters of that batch get that error.
    Items keep their order. For one event loop; not thread-safe.
    """

    def __init__(
        self,
        run_batch: Callable[[Sequence[Q]], Awaitable[Sequence[R | Exception]]],
        *,
        batch_max: int,
        queue_max: int,
        in_flight_max: int = 1,
        patience_s: float = 0.0,
        on_batch: Callable[[int], object] | None = None,
    ) -> None:
        if min(batch_max, queue_max, in_flight_max) < 1:
            raise ValueError("batch_max, queue_max and in_flight_max are at least 1")
        self._run_batch = run_batch
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._in_flight_max = in_flight_max
        self._patience_s = patience_s
        self._on_batch = on_batch
        # One future per waiter: a shared one would be cancelled for all with the first of them.
        self._queue: OrderedDict[asyncio.Future[R], Q] = OrderedDict()
        self._runners: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._queue)

    async def submit(self, item: Q) -> R:
        """The item's answer.

        Raises what ``run_batch`` gave for it, or OVERLOADED when ``queue_max`` items wait or the
        gatherer is closed. A cancelled call takes its item back unless a batch has it already.
        """
        if self._closed:
            raise _overloaded("this process is shutting down; another replica may answer")
        if len(self._queue) >= self._queue_max:
            raise _overloaded("too many calls wait for the same work; slow down and try again")
        waiter: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue[waiter] = item
        self._start_runner()
        try:
            return await waiter
        finally:
            self._queue.pop(waiter, None)

    async def close(self) -> None:
        """Take nothing more, and return when all that waited has its answer."""
        self._closed = True
        while self._runners:
            await asyncio.wait(self._runners)

    def _start_runner(self) -> None:
        if len(self._runners) >= self._in_flight_max:
            return
        # An empty context: a batch belongs to many callers and carries no one's request id.
        task = asyncio.get_running_loop().create_task(self._run(), context=Context())
        self._runners.add(task)
        task.add_done_callback(self._runners.discard)

    async def _run(self) -> None:
        try:
            while self._queue:
                if self._patience_s:
                    await self._wait_for_others()
                    if not self._queue:
                        break
                size = min(self._batch_max, len(self._queue))
                await self._run_one([self._queue.popitem(last=False) for _ in range(size)])
        finally:
            # Here and not only when the task is reaped: an item that comes in between would
            # find no room for a runner and wait for ever.
            self._runners.discard(_this_task())

    async def _wait_for_others(self) -> None:
        """Let those come along who are almost here: as long as each few turns of the loop bring
        one, at most ``patience_s``. A lone caller waits for four empty turns, some 50 us."""
        loop = asyncio.get_running_loop()
        until, quiet = loop.time() + self._patience_s, 0
        while quiet < _QUIET_TURNS and len(self._queue) < self._batch_max and loop.time() < until:
            before = len(self._queue)
            await asyncio.sleep(0)
            quiet = 0 if len(self._queue) > before else quiet + 1

    async def _run_one(self, batch: Sequence[tuple[asyncio.Future[R], Q]]) -> None:
        waiters = [waiter for waiter, _ in batch]
        if self._on_batch is not None:
            self._on_batch(len(batch))
        try:
            answers = await self._run_batch([item for _, item in batch])
        except asyncio.CancelledError:
            lost = VaultError(Reason.INTERNAL, "the work was stopped half way")
            _settle(waiters, repeat(lost, len(batch)))
            if _this_task().cancelling():  # the loop ends: nobody will run what waits
                _settle(list(self._queue), repeat(lost, len(self._queue)))
                self._queue.clear()
                raise
        except Exception as error:
            _settle(waiters, repeat(error, len(batch)))
        else:
            _settle(waiters, _one_per_item(answers, len(batch)))


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None, "a runner is a task"
    return task


def _one_per_item(answers: Sequence[R | Exception], size: int) -> Sequence[R | Exception]:
    if len(answers) == size:
        return answers
    return [VaultError(Reason.INTERNAL, "a batch gave another number of answers than items")] * size


def _settle(waiters: Sequence[asyncio.Future[R]], answers: Iterable[R | Exception]) -> None:
    for waiter, answer in zip(waiters, answers, strict=True):
        if waiter.done():  # its caller was cancelled
            continue
        if isinstance(answer, Exception):
            waiter.set_exception(answer)
        else:
            waiter.set_result(answer)


def _overloaded(message: str) -> VaultError:
    return VaultError(Reason.OVERLOADED, message, retry_after_s=limits.RETRY_AFTER_S)
