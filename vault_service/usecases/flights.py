"""Single flight: one task per key, however many wait for it.

The task belongs to the service: a caller that hangs up cancels only its own waiting. Waiters
learn that it ended and how, never its result: each goes its own way again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import Clock


class Flights:
    """The tasks under way in this process, at most ``limits.FLIGHTS_MAX``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[Hashable, asyncio.Task[VaultError | None]] = {}
        self.started = self.joined = 0

    def __len__(self) -> int:
        return len(self._tasks)

    async def join(
        self, key: Hashable, start: Callable[[], Awaitable[None]], deadline: float
    ) -> bool:
        """Join the flight of this key, or start one; True when it ended well before ``deadline``.

        Raises the flight's own refusal, and OVERLOADED when too many are under way.
        ``deadline`` is on the monotonic clock; False says that it passed first.
        """
        task = self._tasks.get(key)
        if task is None:
            if len(self._tasks) >= limits.FLIGHTS_MAX:
                raise VaultError(
                    Reason.OVERLOADED, "too many refreshes under way; try again", retry_after_s=1.0
                )
            task = asyncio.create_task(_settle(start))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
            self.started += 1
        else:
            self.joined += 1
        left_s = max(0.0, deadline - self._clock.monotonic())
        done, _ = await asyncio.wait({task}, timeout=left_s)
        if not done:
            return False
        if task.cancelled():
            raise VaultError(
                Reason.REFRESH_IN_PROGRESS, "this process is stopping; try again", retry_after_s=1.0
            )
        error = task.result()
        if error is not None:
            raise error.again()
        return True

    def holds(self, key: Hashable) -> bool:
        """Whether a flight of this key is under way."""
        return key in self._tasks

    async def drain(self, limit_s: float) -> int:
        """Wait for what is under way; returns how many had not ended (they are cancelled)."""
        if not self._tasks:
            return 0
        _, pending = await asyncio.wait(set(self._tasks.values()), timeout=limit_s)
        for task in pending:
            task.cancel()
        return len(pending)


async def _settle(start: Callable[[], Awaitable[None]]) -> VaultError | None:
    # A refusal is a result: as an exception of the task it would be one object in many tasks.
    try:
        await start()
    except VaultError as error:
        return error
    return None
