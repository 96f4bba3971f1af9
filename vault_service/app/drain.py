"""The end: what is told first, what is waited for, and that a second signal breaks nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence
from typing import Final

from vault_service.domain import limits
from vault_service.rpc.server import Server
from vault_service.telemetry import get_logger
from vault_service.usecases.flights import Flights

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_log = get_logger("service")


class StopSignals:
    """SIGTERM and SIGINT: the first asks for the end, another one for no more notice."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Caught to the end of the block, so that no second signal ends a refresh half way."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._came)
        try:
            yield
        finally:
            for number in _SIGNALS:
                with contextlib.suppress(ValueError):
                    loop.remove_signal_handler(number)

    def _came(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()


async def stop(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel them and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def drain(
    server: Server,
    flights: Flights,
    sweeps: Sequence[asyncio.Task[None]],
    notice_s: float,
    signals: StopSignals,
) -> None:
    """NOT_SERVING, then ``notice_s`` in which load balancers notice and calls are still taken, then
    no new ones; calls and refreshes under way get ``limits.DRAIN_S`` each."""
    await server.announce_stop()
    _log.info("draining", delay_s=notice_s)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(signals.hurry.wait(), notice_s)
    # Before the flights are counted: a sweep that went on could begin one that nobody waits for.
    await stop(sweeps)
    await server.stop(limits.DRAIN_S)
    lost = await flights.drain(limits.DRAIN_S)
    _log.info("stopped", unfinished=lost)
