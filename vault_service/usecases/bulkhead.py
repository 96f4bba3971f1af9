"""Places for requests of one OAuthClient: a provider that is slow holds no more than these.

Who finds none waits in a bounded queue, callers before recovery before background work, and first
come first served among equals. Each has a future and a deadline of its own. Work that no caller
waits for has at most half of the places, so that callers find one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.priority import Priority


@dataclass(slots=True, eq=False)
class _Waiter:
    key: Hashable
    priority: Priority
    turn: asyncio.Future[None]


class Bulkhead:
    """At most ``parallel_max`` inside, at most ``queue_max`` waiting."""

    def __init__(self, parallel_max: int, queue_max: int = limits.PERMIT_QUEUE_MAX) -> None:
        self.parallel_max = parallel_max
        self._queue_max = queue_max
        self._inside = dict.fromkeys(Priority, 0)
        self.full_retry_s = limits.PERMIT_FULL_RETRY_S  # what RetryInfo says when it is full
        self.waited = 0  # how many had to, in all
        self.refused = 0  # for want of room, in all
        self._queues: dict[Priority, OrderedDict[_Waiter, None]] = {
            priority: OrderedDict() for priority in Priority
        }
        self._by_key: dict[Hashable, _Waiter] = {}

    @property
    def inside(self) -> int:
        """How many are."""
        return sum(self._inside.values())

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return sum(len(queue) for queue in self._queues.values())

    def waiting_as(self, priority: Priority) -> int:
        """How many of them with this priority."""
        return len(self._queues[priority])

    async def enter(self, key: Hashable, priority: Priority, wait_s: float) -> Priority | None:
        """The priority that it is inside with: call ``leave`` with it then. None when ``wait_s``
        passed first. OVERLOADED when the queue is full of others that go first."""
        if self._may_enter(priority):
            self._inside[priority] += 1
            return priority
        if wait_s <= 0:
            return None
        waiter = self._queue_up(key, priority)
        try:
            await asyncio.wait({waiter.turn}, timeout=wait_s)
        except asyncio.CancelledError:
            if _was_let_in(waiter):
                self.leave(waiter.priority)
            raise
        finally:
            self._withdraw(waiter)
        if not waiter.turn.done():
            return None
        waiter.turn.result()  # raises where it had to make room
        return waiter.priority

    def leave(self, priority: Priority) -> None:
        """The place is free: the next one may go."""
        self._inside[priority] -= 1
        self._let_in()

    def promote(self, key: Hashable, priority: Priority) -> None:
        """What waits under this key is wanted by somebody more urgent."""
        waiter = self._by_key.get(key)
        if waiter is not None and priority < waiter.priority and not waiter.turn.done():
            del self._queues[waiter.priority][waiter]
            waiter.priority = priority
            self._queues[priority][waiter] = None
            self._let_in()

    def _may_enter(self, priority: Priority) -> bool:
        ahead = any(self._queues[other] for other in Priority if other <= priority)
        return self._has_place(priority) and not ahead

    def _has_place(self, priority: Priority) -> bool:
        inside = self.inside
        if priority is Priority.CALLER:
            return inside < self.parallel_max
        unasked = inside - self._inside[Priority.CALLER]
        return inside < self.parallel_max and unasked < max(1, self.parallel_max // 2)

    def _queue_up(self, key: Hashable, priority: Priority) -> _Waiter:
        if self.waiting >= self._queue_max:
            self._make_room(priority)
        self.waited += 1
        waiter = _Waiter(key, priority, asyncio.get_running_loop().create_future())
        self._queues[priority][waiter] = None
        self._by_key[key] = waiter
        self._let_in()  # the profile may have more places by now
        return waiter

    def _make_room(self, priority: Priority) -> None:
        """Send the last of the least urgent away; OVERLOADED where none is less urgent."""
        self.refused += 1
        for least in reversed(Priority):
            if least <= priority:
                raise self._full()
            if self._queues[least]:
                waiter, _ = self._queues[least].popitem(last=True)
                waiter.turn.set_exception(self._full())
                return

    def _full(self) -> VaultError:
        return VaultError(
            Reason.OVERLOADED,
            "too many refreshes wait for this provider; try again after the delay",
            retry_after_s=self.full_retry_s,
        )

    def _let_in(self) -> None:
        for priority, queue in self._queues.items():
            while queue and self._has_place(priority):
                waiter, _ = queue.popitem(last=False)
                self._inside[priority] += 1
                waiter.turn.set_result(None)

    def _withdraw(self, waiter: _Waiter) -> None:
        self._queues[waiter.priority].pop(waiter, None)
        if self._by_key.get(waiter.key) is waiter:
            del self._by_key[waiter.key]


def _was_let_in(waiter: _Waiter) -> bool:
    # Asking for the exception also keeps the loop from reporting one that nobody awaited.
    return waiter.turn.done() and waiter.turn.exception() is None
