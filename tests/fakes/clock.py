"""Time and randomness that a test decides."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta


class FakeClock:
    """ports.Clock that stands still until ``advance``; both clocks move together."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        return 1_000.0 + self._elapsed_s

    def advance(self, seconds: float) -> None:
        self._elapsed_s += seconds


class FakeEntropy:
    """ports.Entropy that repeats from run to run; ``stuck`` makes every draw that one byte."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._ids = 0
        self.stuck: int | None = None

    def token(self, size_bytes: int) -> bytes:
        if self.stuck is not None:
            return bytes([self.stuck]) * size_bytes
        return self._random.randbytes(size_bytes)

    def uuid7(self) -> uuid.UUID:
        self._ids += 1
        value = self._ids << 80 | 0x7 << 76 | 0b10 << 62 | self._random.getrandbits(62)
        return uuid.UUID(int=value)
