"""The order of the end."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, cast

from tests.fakes.clock import FakeClock
from vault_service.app.drain import StopSignals, drain
from vault_service.rpc.server import Server
from vault_service.usecases.flights import Flights

LATE = 1_000.0 + 60  # of FakeClock's monotonic start


class _Steps:
    """Notes what happens; a server as far as the drain knows one."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def announce_stop(self) -> None:
        self.seen.append("announced")

    async def stop(self, grace_s: float) -> None:
        self.seen.append("server stopped")

    async def sweep(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.seen.append("sweep stopped")

    async def flight(self) -> None:
        while "server stopped" not in self.seen:
            await asyncio.sleep(0)
        self.seen.append("flight ended")


def _drain(steps: _Steps, flights: Flights, notice_s: float, signals: StopSignals) -> Any:
    sweep = asyncio.create_task(steps.sweep())
    return drain(cast(Server, steps), flights, [sweep], notice_s, signals)


async def test_order() -> None:
    """Announced first; after the notice no sweep begins anything, then no call comes in, and last
    what is under way ends."""
    steps, flights = _Steps(), Flights(FakeClock())
    waiter = asyncio.create_task(flights.join("k", steps.flight, LATE))
    await asyncio.sleep(0)
    await _drain(steps, flights, 0.01, StopSignals())
    assert steps.seen == ["announced", "sweep stopped", "server stopped", "flight ended"]
    assert await waiter


async def test_signals() -> None:
    """The first signal asks for the end; whatever comes after it ends the notice, and neither
    reaches the process otherwise."""
    signals, steps = StopSignals(), _Steps()
    with signals.caught():
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await signals.stop.wait()
        assert not signals.hurry.is_set()
        ending = asyncio.create_task(_drain(steps, Flights(FakeClock()), 60, signals))
        await asyncio.sleep(0.01)
        assert steps.seen == ["announced"]
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(5):
            await ending
    assert steps.seen == ["announced", "sweep stopped", "server stopped"]
