"""A process that stops for ever at one step of a refresh: SIGKILL, in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from tests.fakes.spool import FakeSpoolFolder
from tests.support.house import House
from vault_service.domain.grant import Grant

# In the order of a refresh: the port, its method, and whether the method had returned.
STEPS = {
    "before reserve": ("spool", "reserve", False),
    "reserved": ("spool", "reserve", True),
    "before begin": ("attempts", "begin", False),
    "begun": ("attempts", "begin", True),
    "marked": ("spool", "mark_sent", True),
    "before the request": ("endpoint", "refresh", False),
    "answered": ("endpoint", "refresh", True),
    "before store": ("spool", "store", False),
    "stored": ("spool", "store", True),
    "before commit": ("attempts", "commit", False),
    "committed": ("attempts", "commit", True),
    "before free": ("spool", "free", False),
    "freed": ("spool", "free", True),
}
DURABLE = list(STEPS).index("stored")  # from this step on, of the two ways the spool's was first


class Crash:
    """``house`` refreshes ``grant`` and is dead from ``step`` on; its disk stays in ``folder``."""

    def __init__(self, house: House, step: str) -> None:
        self.folder: FakeSpoolFolder = house.spool.folder
        self._house = house
        self._dead = asyncio.Event()
        port, self._method, self._returned = STEPS[step]
        self._port: Any = getattr(house, port)
        self._waits_for_spool = port == "attempts" and self._method == "commit"
        self._stored = asyncio.Event()

    async def refresh(self, grant: Grant) -> None:
        """Returns when it is dead."""
        with self._mortal():
            task = asyncio.create_task(self._house.refresh(self._house.call(budget_s=60), grant))
            waiting = asyncio.create_task(self._dead.wait())
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=5)
            assert self._dead.is_set(), f"{self._method} was never called"
            task.cancel()
            await self._house.flights.drain(0)
            await asyncio.gather(task, return_exceptions=True)

    @contextlib.contextmanager
    def _mortal(self) -> Iterator[None]:
        known = [(owner, dict(vars(owner))) for owner in self._owners()]
        real, store = getattr(self._port, self._method), self._house.spool.store
        commit = self._house.attempts.commit

        async def mortal(*arguments: Any, **named: Any) -> Any:
            if self._returned:
                await real(*arguments, **named)
            self._house.spool.crash()
            self._dead.set()
            await asyncio.Event().wait()

        async def storing(*arguments: Any) -> Any:
            entry = await store(*arguments)
            self._stored.set()
            return entry

        async def committing(*arguments: Any) -> Any:
            # Of the two ways to durability the other one has to wait.
            if self._waits_for_spool:
                await self._stored.wait()
                return await mortal(*arguments)
            if self._method == "store":
                await asyncio.Event().wait()
            return await commit(*arguments)

        patched: Any = self._house
        patched.spool.store, patched.attempts.commit = storing, committing
        if not self._waits_for_spool:
            setattr(self._port, self._method, mortal)
        try:
            yield
        finally:
            for owner, attributes in known:
                for name in {"store", "commit", self._method} & vars(owner).keys():
                    if name in attributes:
                        setattr(owner, name, attributes[name])
                    else:
                        delattr(owner, name)

    def _owners(self) -> list[object]:
        return [self._house.spool, self._house.attempts, self._port]


def restarted(house: House) -> House:
    """The same process again: new keys and flights, and the spool that it left on its disk."""
    return House(house, house.instance, house.spool.folder)
