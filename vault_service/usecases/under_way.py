"""Tasks of tenants that go on in the background, so that one that hangs holds up no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any


class UnderWay:
    """``places_max``: how many ``room`` leaves to who begins them."""

    def __init__(self, places_max: int) -> None:
        self._places_max = places_max
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._fault: BaseException | None = None

    @property
    def room(self) -> int:
        """How many more there may be."""
        return self._places_max - len(self._tasks)

    @property
    def held(self) -> Counter[str]:
        """How many each tenant has."""
        return Counter(self._tasks.values())

    def begin(self, tenant: str, work: Coroutine[Any, Any, None]) -> None:
        """Start it."""
        task = asyncio.create_task(work)
        self._tasks[task] = tenant
        task.add_done_callback(self._ended)

    async def wait(self, limit_s: float) -> None:
        """Until all have ended, ``limit_s`` at most: the others go on. Raises what one of those
        raised that have ended since the last look."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit_s)
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and task.exception() is not None:
            self._fault = task.exception()
