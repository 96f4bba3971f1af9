"""One step again and again, until stopped; a step that fails is logged and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from vault_service.domain.errors import VaultError
from vault_service.telemetry import get_logger

_log = get_logger("worker")


async def every(name: str, interval_s: float, step: Callable[[], Awaitable[object]]) -> None:
    """Run ``step`` for ever, ``interval_s`` between the end of one and the start of the next."""
    while True:
        try:
            await step()
        except VaultError as error:
            _log.warning("step_failed", step=name, reason=error.reason.name)
        except Exception as fault:
            _log.error("step_fault", step=name, fault=type(fault).__name__)
        await asyncio.sleep(interval_s)
