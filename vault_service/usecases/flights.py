"""Single flight: one task per key, however many wait for it.

The task belongs to the service: a caller that hangs up cancels only its own waiting. Waiters
learn that it ended and how, never its result: each goes its own way again. A flight that goes on
longer than anybody should wait can tell them so: all of them, or all but the one who began it.
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
class _Told:
    """A refusal, and the monotonic moment of which its delay counts."""

    error: VaultError
    since: float

    def at(self, now: float) -> VaultError:
        """For one caller, with what is left of the delay; past it, the first pause of recovery."""
        error = self.error.again()
        told_s = self.error.retry_after_s or 0.0
        error.retry_after_s = max(self.since + told_s - now, min(told_s, limits.IN_DOUBT_RETRY_S))
        return error


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[VaultError | None]
    all_told: asyncio.Future[None]
    joiners_told: asyncio.Future[None]
    told: _Told | None = None  # last


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
            flight = self._start(key, start)
            await self._wait(deadline, flight.task, flight.all_told)
        else:
            self.joined += 1
            await self._wait(deadline, flight.task, flight.all_told, flight.joiners_told)
            if flight.joiners_told.done() and flight.told is not None:
                # Mostly its end is near all the same, and that is what everybody came for.
                patience = flight.told.since + limits.DOUBT_PATIENCE_S
                await self._wait(min(deadline, patience), flight.task, flight.all_told)
        task = flight.task
        if not task.done():
            if flight.told is not None:
                raise flight.told.at(self._clock.monotonic())
            return False
        if task.cancelled():
            raise VaultError(
                Reason.REFRESH_IN_PROGRESS, "this process is stopping; try again", retry_after_s=1.0
            )
        error = task.result()
        if error is not None:
            raise error.again()
        return True

    def _start(self, key: Hashable, start: Callable[[], Awaitable[None]]) -> _Flight:
        if len(self._flights) >= limits.FLIGHTS_MAX:
            raise VaultError(
                Reason.OVERLOADED, "too many refreshes under way; try again", retry_after_s=1.0
            )
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(_settle(start))
        flight = _Flight(task, loop.create_future(), loop.create_future())
        self._flights[key] = flight
        task.add_done_callback(lambda _: self._flights.pop(key, None))
        self.started += 1
        return flight

    def holds(self, key: Hashable) -> bool:
        """Whether a flight of this key is under way."""
        return key in self._flights

    def tell(self, key: Hashable, error: VaultError) -> None:
        """Its end is far: who waits for this flight, and who comes later, gets the error at once,
        with what is left of its delay then. The flight goes on."""
        flight = self._flights.get(key)
        if flight is not None:
            self._set(flight, flight.all_told, error)

    def tell_joiners(self, key: Hashable, error: VaultError) -> None:
        """As ``tell``, a moment later, and who began it waits on to its own deadline."""
        flight = self._flights.get(key)
        if flight is not None:
            self._set(flight, flight.joiners_told, error)

    def _set(self, flight: _Flight, waited_for: asyncio.Future[None], error: VaultError) -> None:
        flight.told = _Told(error, self._clock.monotonic())
        if not waited_for.done():
            waited_for.set_result(None)

    async def _wait(self, deadline: float, *either: asyncio.Future[Any]) -> None:
        left_s = max(0.0, deadline - self._clock.monotonic())
        await asyncio.wait(either, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

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
