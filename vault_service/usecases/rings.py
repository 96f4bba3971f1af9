"""Waiting for a bell that may miss a ring."""

from __future__ import annotations

import asyncio
import contextlib


async def wait_for_ring(event: asyncio.Event, limit_s: float) -> None:
    """Returns when it rings, or after ``limit_s``: who waits looks by itself then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()
