"""Whether the service can serve: each dependency asked every two seconds.

What is unreachable or sealed makes it NOT_SERVING with the reason in the log, and it goes on
trying.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from vault_service.domain.errors import VaultError
from vault_service.telemetry import get_logger

INTERVAL_S: Final = 2.0
NOT_ASKED: Final = "NOT_ASKED"
_PROBE_LIMIT_S: Final = 3.0
_log = get_logger("readiness")

Probe = Callable[[], Awaitable[None]]


class Readiness:
    """Publishes a dictionary of dependency → up whenever it was asked."""

    def __init__(
        self,
        probes: Mapping[str, Probe],
        publish: Callable[[dict[str, bool]], Awaitable[None]],
    ) -> None:
        self._probes = probes
        self._publish = publish
        self._last: dict[str, str] = {}
        self._codes: dict[str, str] = dict.fromkeys(probes, NOT_ASKED)

    def codes(self) -> dict[str, str]:
        """Dependency → "" when it is up, else a code: the name of a Reason or of an exception's
        type, TIMEOUT, or NOT_ASKED before the first answer. For the eyes of anybody."""
        return dict(self._codes)

    async def step(self) -> None:
        """Ask each dependency once, side by side."""
        names = list(self._probes)
        answers = await asyncio.gather(*(self._ask(name) for name in names))
        reasons = [text for _, text in answers]
        for name, (code, reason) in zip(names, answers, strict=True):
            self._codes[name] = code
            if self._last.get(name) != reason:
                if reason:
                    _log.warning("dependency_down", dependency=name, reason=reason)
                else:
                    _log.info("dependency_up", dependency=name)
                self._last[name] = reason
        await self._publish({name: not reason for name, reason in zip(names, reasons, strict=True)})

    async def _ask(self, name: str) -> tuple[str, str]:
        """Code and text of why it is down, ("", "") when it is up."""
        try:
            async with asyncio.timeout(_PROBE_LIMIT_S):
                await self._probes[name]()
        except VaultError as error:
            return error.reason.name, f"{error.reason.name}: {error.message}"
        except TimeoutError:
            return "TIMEOUT", f"no answer in {_PROBE_LIMIT_S:g} s"
        except Exception as fault:
            # What a probe raises beside these is ours and says what is missing (migrations).
            return type(fault).__name__, f"{type(fault).__name__}: {fault}"
        return "", ""
