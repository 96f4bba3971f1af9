"""A bounded cache of values that must be asked for again: the rules of the DEK cache.

Until three quarters of its soft life a value is served. In the last quarter the first use also
starts a load in the background, so what is in use never makes a caller wait. Past the soft life
callers wait for that load: what it says is the answer, except that *transit is unreachable* lets
the cached value stand in, to the end of its hard life. Any other failure that waiting does not
mend evicts the value at once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context
from dataclasses import dataclass
from typing import Final, Generic, TypeGuard, TypeVar

from vault_service.domain import limits
from vault_service.domain.errors import KekDenied, Reason, VaultError
from vault_service.ports import Clock, Entropy

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_QUIET_SHARE: Final = 0.75
_JITTER_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Lives:
    """How long and how much is cached; raises ValueError for bounds that contradict."""

    soft_s: float = limits.DEK_SOFT_LIFE_S
    hard_s: float = limits.DEK_HARD_LIFE_S
    max_entries: int = limits.DEK_CACHE_MAX

    def __post_init__(self) -> None:
        longest_soft_s = self.soft_s * (1 + limits.DEK_JITTER)
        if not 0 < longest_soft_s <= self.hard_s <= limits.DEK_HARD_LIFE_MAX_S:
            raise ValueError(
                f"0 < soft life * {1 + limits.DEK_JITTER} <= hard life "
                f"<= {limits.DEK_HARD_LIFE_MAX_S:.0f} s"
            )
        if not 1 <= self.max_entries <= limits.DEK_CACHE_MAX:
            raise ValueError(f"1 to {limits.DEK_CACHE_MAX} cached entries")


@dataclass(slots=True)
class CacheCounts:
    """What a cache did since the process started."""

    hits: int = 0
    misses: int = 0  # the caller waited for a load
    evictions: int = 0  # pushed out by newer ones while still good
    stale: int = 0  # served past its soft life, because transit was unreachable


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    reload_from: float  # all three on Clock.monotonic
    soft_until: float
    hard_until: float


class LoadingCache(Generic[K, V]):
    """``load`` gives the value of a key or raises; one load per key at a time, in a context that
    ``background`` makes.

    For one event loop; not thread-safe.
    """

    def __init__(
        self,
        load: Callable[[K], Awaitable[V]],
        lives: Lives,
        entropy: Entropy,
        clock: Clock,
        background: Callable[[], Context] = Context,
    ) -> None:
        self.counts = CacheCounts()
        self._load = load
        self._background = background
        self._lives = lives
        self._entropy = entropy
        self._clock = clock
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._loads: dict[K, asyncio.Task[V]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def loading(self) -> int:
        """Loads under way."""
        return len(self._loads)

    async def get(self, key: K) -> V:
        """The value; raises what ``load`` raised, OVERLOADED, or KEK_UNREACHABLE once closed.

        A cancelled caller cancels neither the load nor anybody else who waits for it.
        """
        now = self._clock.monotonic()
        entry = self._entries.get(key)
        if entry is None or now >= entry.hard_until:
            self.drop(key)
            self.counts.misses += 1
            return await self._join(key)
        self._entries.move_to_end(key)
        if now < entry.soft_until:
            self.counts.hits += 1
            if now >= entry.reload_from:
                self._reload(key)
            return entry.value
        self.counts.misses += 1
        try:
            return await self._join(key)
        except Exception as error:
            stands = self._entries.get(key) is entry and not self._past_hard_life(entry)
            if not (stands and _unreachable(error)):
                del entry  # else the traceback would keep an evicted value alive
                raise
            self.counts.stale += 1
            return entry.value

    def drop(self, key: K) -> None:
        """Let go of a value; whoever uses it now goes on."""
        self._entries.pop(key, None)

    def sweep(self) -> None:
        """Let go of every value past its hard life."""
        for key in [key for key, entry in self._entries.items() if self._past_hard_life(entry)]:
            self.drop(key)

    async def close(self) -> None:
        """Stop the loads and let go of every value; nothing is served afterwards."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        loads = list(self._loads.values())
        for task in loads:
            task.cancel()
        if loads:
            await asyncio.wait(loads)
        self._entries.clear()

    def _past_hard_life(self, entry: _Entry[V]) -> bool:
        return self._clock.monotonic() >= entry.hard_until

    async def _join(self, key: K) -> V:
        task = self._loads.get(key)
        if task is None:
            if self._closed:
                raise _closing()
            if len(self._loads) >= limits.DEK_LOADS_MAX:
                raise VaultError(
                    Reason.OVERLOADED,
                    "too many DEKs are being loaded; slow down and try again",
                    retry_after_s=limits.RETRY_AFTER_S,
                )
            task = self._start(key)
        # Not ``await task``: that would hand this caller's cancellation on to everybody.
        await asyncio.wait({task})
        if task.cancelled():
            raise _closing()
        try:
            return task.result()
        finally:
            del task  # task, its error, and the error's traceback would hold each other alive

    def _reload(self, key: K) -> None:
        if key not in self._loads and len(self._loads) < limits.DEK_LOADS_MAX:
            self._start(key)

    def _start(self, key: K) -> asyncio.Task[V]:
        # Not this caller's context: a load belongs to many and carries no one's request id.
        task = asyncio.get_running_loop().create_task(self._run(key), context=self._background())
        self._loads[key] = task
        task.add_done_callback(lambda done: self._finish(key, done))
        return task

    async def _run(self, key: K) -> V:
        try:
            value = await self._load(key)
        except Exception as error:
            self._judge(key, error)
            raise
        self._put(key, value)
        return value

    def _finish(self, key: K, task: asyncio.Task[V]) -> None:
        del self._loads[key]
        if not task.cancelled():
            # Seen: a load in the background has no waiter, and its failure is in the entry.
            task.exception()

    def _judge(self, key: K, error: Exception) -> None:
        entry = self._entries.get(key)
        if entry is None:
            return
        if not _may_pass(error):
            self.drop(key)
            return
        recheck_s = limits.DEK_RECHECK_S * self._jitter()
        now = self._clock.monotonic()
        entry.reload_from = now + recheck_s / 2
        if _unreachable(error):
            # Else each call in an outage would wait for its own time-out.
            entry.soft_until = max(entry.soft_until, min(now + recheck_s, entry.hard_until))

    def _put(self, key: K, value: V) -> None:
        if self._closed:
            return
        now = self._clock.monotonic()
        soft_s = self._lives.soft_s * self._jitter()
        self._entries[key] = _Entry(
            value, now + soft_s * _QUIET_SHARE, now + soft_s, now + self._lives.hard_s
        )
        self._entries.move_to_end(key)
        while len(self._entries) > self._lives.max_entries:
            self._entries.popitem(last=False)
            self.counts.evictions += 1
        self._arm_sweeper()

    def _arm_sweeper(self) -> None:
        if self._sweeper is None:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(limits.DEK_SWEEP_S, self._sweep_on_time)

    def _sweep_on_time(self) -> None:
        self._sweeper = None
        self.sweep()
        if self._entries:
            self._arm_sweeper()

    def _jitter(self) -> float:
        drawn = int.from_bytes(self._entropy.token(_JITTER_BYTES), "big")
        return 1 + limits.DEK_JITTER * (2 * drawn / (1 << 8 * _JITTER_BYTES) - 1)


def _may_pass(error: Exception) -> TypeGuard[VaultError]:
    if isinstance(error, KekDenied) or not isinstance(error, VaultError):
        return False
    return error.retryable


def _unreachable(error: Exception) -> bool:
    return _may_pass(error) and error.reason is Reason.KEK_UNREACHABLE


def _closing() -> VaultError:
    return VaultError(
        Reason.KEK_UNREACHABLE,
        "this process is shutting down; another replica may answer",
        retry_after_s=limits.RETRY_AFTER_S,
    )
