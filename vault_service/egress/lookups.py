"""Look-ups of names in threads of their own, so that one silent name server stops nothing else.

A thread in getaddrinfo cannot be ended. So each name has one thread at most, whoever waits for it,
and a tenant may hold as many threads as it leaves free. Some are left for names that were resolved
before: a tenant whose new names are silent can still use its old ones. getaddrinfo keeps the
host's own order of sources (nsswitch.conf), which no resolver library has.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from vault_service.domain import limits
from vault_service.domain.on_behalf import TENANT

T = TypeVar("T")
Resolve = Callable[[str, int], Sequence[str]]
"""From (host, port) to numeric addresses, in the caller's thread; raises OSError."""

_SPARE: Final = limits.LOOKUPS_MAX // 4  # threads that only names resolved before may take


class Lookups:
    """A ``Lookup`` of egress.resolver. Raises OSError; 5 s is the longest that it takes."""

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or _getaddrinfo
        self._flights: dict[str, asyncio.Future[Sequence[str]]] = {}
        self._silent: OrderedDict[str, float] = OrderedDict()  # until when it is not asked again
        self._known: OrderedDict[str, None] = OrderedDict()
        self._of_tenants: Counter[str] = Counter()
        self.refused = 0  # for want of threads or of an answer a moment ago, in all

    @property
    def running(self) -> int:
        """Threads in use."""
        return len(self._flights)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Addresses of the name. One that is silent fails at once until its thread has ended."""
        now = asyncio.get_running_loop().time()
        flight = self._flights.get(host)
        # Its thread may hang for minutes: until it ends nobody waits for it again.
        silent = self._silent.get(host, 0.0) > now or (flight is not None and host in self._silent)
        if silent or (flight is None and not self._has_thread(host)):
            self.refused += 1
            raise OSError("the name cannot be looked up now: its name server does not answer")
        flight = flight or self._begin(host, port)
        try:
            async with asyncio.timeout(limits.LOOKUP_LIMIT_S):
                return await asyncio.shield(flight)
        except TimeoutError as error:
            _remember(self._silent, host, now + limits.LOOKUP_LIMIT_S + limits.LOOKUP_SILENT_S)
            raise OSError("the name server does not answer") from error

    def _has_thread(self, host: str) -> bool:
        free = limits.LOOKUPS_MAX - self.running
        if host not in self._known:
            free -= _SPARE
        return self._of_tenants[TENANT.get()] < free

    def _begin(self, host: str, port: int) -> asyncio.Future[Sequence[str]]:
        loop, tenant = asyncio.get_running_loop(), TENANT.get()
        flight: asyncio.Future[Sequence[str]] = loop.create_future()
        self._flights[host] = flight
        self._silent.pop(host, None)
        self._of_tenants[tenant] += 1

        def end(found: Sequence[str] | OSError) -> None:
            del self._flights[host]
            self._of_tenants[tenant] -= 1
            if not self._of_tenants[tenant]:
                del self._of_tenants[tenant]
            if flight.cancelled():
                return
            if isinstance(found, OSError):
                flight.set_exception(found)
                flight.exception()  # nobody may be waiting any more
                return
            self._silent.pop(host, None)
            _remember(self._known, host, None)
            flight.set_result(found)

        def run() -> None:
            found: Sequence[str] | OSError
            try:
                found = self._resolve(host, port)
            except OSError as error:
                found = error
            except Exception as error:  # a name that cannot even be encoded
                found = OSError(type(error).__name__)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(end, found)

        # A daemon: a silent name server does not hold up the end of the process.
        try:
            threading.Thread(target=run, name="lookup", daemon=True).start()
        except RuntimeError:  # the system has no thread left
            self.refused += 1
            end(OSError("no thread for a look-up"))
        return flight


def _remember(names: OrderedDict[str, T], host: str, what: T) -> None:
    names[host] = what
    names.move_to_end(host)
    if len(names) > limits.LOOKUP_NAMES_MAX:
        names.popitem(last=False)


def _getaddrinfo(host: str, port: int) -> Sequence[str]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in answers]
