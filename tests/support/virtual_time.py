"""An event loop whose time jumps: hours of waiting take as long as the work in between.

Where nothing is ready, ``loop.time()`` moves to the next timer instead of the process sleeping, so
a run with fakes is exact and the same every time. Threads and sockets do not go with it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tests.fakes.clock import FakeClock

T = TypeVar("T")


class LoopClock(FakeClock):
    """ports.Clock on the time of the running loop; ``advance`` is not for it."""

    def __init__(self, time: Callable[[], float]) -> None:
        super().__init__()
        self._time = time

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._time())

    def monotonic(self) -> float:
        return self._time()

    def advance(self, seconds: float) -> None:
        raise AssertionError("this clock moves with the loop")


def run_virtual(main: Callable[[LoopClock], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` to its end in virtual time. RuntimeError where everything waits for ever."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        loop = runner.get_loop()
        return runner.run(main(LoopClock(loop.time)))


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._moment = 0.0
        super().__init__(_Jumping(self._jump))

    def time(self) -> float:
        return self._moment

    def _jump(self, seconds: float) -> None:
        self._moment += seconds


class _Jumping(selectors.DefaultSelector):
    """Never sleeps: says how long it would have."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[Any]:
        ready: list[Any] = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen again")
        if not ready and timeout:
            self._jump(timeout)
        return ready
