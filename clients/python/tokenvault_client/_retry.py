"""When a failed attempt is made again. Two rules and nothing else:

- what carries google.rpc.RetryInfo, after that delay: the service says that nothing happened;
- for reads, one bare UNAVAILABLE, on a new connection.

Clock and randomness are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenvault_client._limits import (
    ATTEMPTS_MAX,
    BUDGET_MIN_S,
    JITTER_SHARE,
    PAUSE_MIN_S,
    RECONNECT_PAUSE_S,
)
from tokenvault_client._status import Failure


@dataclass(frozen=True, slots=True)
class Step:
    """Wait, then try again, where ``new_connection`` says so on another connection."""

    delay_s: float
    new_connection: bool


class Attempts:
    """The attempts of one call inside one deadline, which is a moment of the monotonic clock."""

    def __init__(self, *, is_read: bool, now_s: float, timeout_s: float) -> None:
        self._is_read = is_read
        self._deadline_s = now_s + timeout_s
        self._failed = 0
        self._reconnected = False

    def remaining_s(self, now_s: float) -> float:
        """Time that the next attempt has; never negative."""
        return max(0.0, self._deadline_s - now_s)

    def next_step(self, failure: Failure, *, now_s: float, chance: float) -> Step | None:
        """What to do after a failed attempt; None where its error is to be raised.

        ``chance`` is a random number in [0, 1).
        """
        self._failed += 1
        step = self._wanted(failure, chance)
        if step is None or self._failed >= ATTEMPTS_MAX:
            return None
        if step.delay_s + BUDGET_MIN_S > self.remaining_s(now_s):
            return None
        self._reconnected = self._reconnected or step.new_connection
        return step

    def _wanted(self, failure: Failure, chance: float) -> Step | None:
        delay_s = failure.error.retry_after_s
        if delay_s is not None:
            return Step(max(PAUSE_MIN_S, delay_s) * (1 + JITTER_SHARE * chance), False)
        if failure.bare and self._is_read and not self._reconnected:
            return Step(RECONNECT_PAUSE_S * (1 + chance), True)
        return None
