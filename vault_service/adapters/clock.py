"""The system's clocks and its random generator."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

_COUNTER_BITS: Final = 12
_COUNTER_MAX: Final = (1 << _COUNTER_BITS) - 1
# A new millisecond starts its counter in the lower half, so that it has room to count.
_COUNTER_SEED_MASK: Final = _COUNTER_MAX >> 1
_RAND_B_MASK: Final = (1 << 62) - 1
_TIME_MASK: Final = (1 << 48) - 1


class SystemClock:
    """ports.Clock on the operating system."""

    def now(self) -> datetime:
        """This moment, UTC, aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only go forward."""
        return time.monotonic()


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class SystemEntropy:
    """ports.Entropy on the kernel's generator (``os.urandom``). Thread-safe."""

    def __init__(self, unix_ms: Callable[[], int] = _unix_ms) -> None:
        self._unix_ms = unix_ms
        self._lock = threading.Lock()
        self._last_ms = -1
        self._counter = 0

    def token(self, size_bytes: int) -> bytes:
        """Random bytes; at least one."""
        if size_bytes < 1:
            raise ValueError("size_bytes is at least 1")
        return os.urandom(size_bytes)

    def uuid7(self) -> uuid.UUID:
        """A time-ordered id (RFC 9562 §5.7), greater than all before it in this process.

        48 bits of Unix milliseconds, version 7, a 12-bit counter with a random start in each
        millisecond (RFC 9562 §6.2, method 1), variant 10, 62 random bits. A full counter
        borrows from the next millisecond; a clock that goes back keeps the last one.
        """
        random = int.from_bytes(os.urandom(10), "big")
        unix_ms, counter = self._tick(random >> 64)
        value = (unix_ms & _TIME_MASK) << 80
        value |= 0x7 << 76
        value |= counter << 64
        value |= 0b10 << 62
        value |= random & _RAND_B_MASK
        return uuid.UUID(int=value)

    def _tick(self, seed: int) -> tuple[int, int]:
        with self._lock:
            unix_ms = self._unix_ms()
            if unix_ms > self._last_ms:
                self._last_ms, self._counter = unix_ms, seed & _COUNTER_SEED_MASK
            elif self._counter < _COUNTER_MAX:
                self._counter += 1
            else:
                self._last_ms, self._counter = self._last_ms + 1, seed & _COUNTER_SEED_MASK
            return self._last_ms, self._counter
