"""How busy the event loop is: everything in this process waits for it."""

from __future__ import annotations

import asyncio
from typing import Final

from vault_service.telemetry.meters import LoopMeter

_INTERVAL_S: Final = 0.25


async def measure_loop_delay(meter: LoopMeter) -> None:
    """For ever: ask for a moment, and see how much later it comes."""
    loop = asyncio.get_running_loop()
    while True:
        wanted = loop.time() + _INTERVAL_S
        await asyncio.sleep(_INTERVAL_S)
        meter.late(max(0.0, loop.time() - wanted))
