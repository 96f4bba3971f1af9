"""Single flight: one task per key, however many wait for it.

The task belongs to the service: a caller that hangs up cancels only its own waiting. Waiters
learn that it ended and how, never its result: each goes its own way again. A flight that goes on
longer than anybody should wait can tell them so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import Clock


@dataclass(frozen=True, slots=True)
class _Flight:
    task: asyncio.Task[VaultError | None]
    told: asyncio.Future[VaultError]


class Flights:
    """The tasks under way in this process, at most ``limits.FLIGHTS_MAX``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._flights: dict[Hashable, _Flight] = {}
        self.started = self.joined = 0

    def __len__(self) -> int:
        return len(self._flights)

    async def join(
        self, key: Hashable, start: Callable[[], Awaitable[None]], deadline: float
    ) -> bool:
        """Join the flight of this key, or start one; True when it ended well before ``deadline``.

        Raises the flight's own refusal, what it was told meanwhile, and OVERLOADED when too many
        are under way. ``deadline`` is on the monotonic clock; False says that it passed first.
        """
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= limits.FLIGHTS_MAX:
                raise VaultError(
                    Reason.OVERLOADED, "too many refreshes under way; try again", retry_after_s=1.0
                )
            told: asyncio.Future[VaultError] = asyncio.get_running_loop().create_future()
            flight = _Flight(asyncio.create_task(_settle(start)), told)
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._flights.pop(key, None))
            self.started += 1
        else:
            self.joined += 1
        left_s = max(0.0, deadline - self._clock.monotonic())
        task, told = flight.task, flight.told
        either: set[asyncio.Future[Any]] = {task, told}
        await asyncio.wait(either, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            if told.done():
                raise told.result().again()
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
        return key in self._flights

    def tell(self, key: Hashable, error: VaultError) -> None:
        """Its end is far: who waits for this flight, and who comes later, gets the error at once.
        The flight goes on."""
        flight = self._flights.get(key)
        if flight is not None and not flight.told.done():
            flight.told.set_result(error)

    async def drain(self, limit_s: float) -> int:
        """Wait for what is under way; returns how many had not ended (they are cancelled)."""
        if not self._flights:
            return 0
        tasks = {flight.task for flight in self._flights.values()}
        _, pending = await asyncio.wait(tasks, timeout=limit_s)
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
