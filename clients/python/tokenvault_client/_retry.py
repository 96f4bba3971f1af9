"""When a failed attempt is made again. Two rules and nothing else:

- what carries google.rpc.RetryInfo, after that delay: the service says that nothing happened;
- for reads, one bare UNAVAILABLE, on a new connection.

A stream is opened again by rules of its own (``Resumes``): it is there to last. Clock and
randomness are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc

from tokenvault_client._limits import (
    ATTEMPTS_MAX,
    BUDGET_MIN_S,
    JITTER_SHARE,
    PAUSE_MIN_S,
    RECONNECT_PAUSE_S,
    REFUSALS_MAX,
    RESUME_FIRST_S,
    RESUME_MAX_S,
)
from tokenvault_client._status import Failure
from tokenvault_client.enums import TransportProblem
from tokenvault_client.errors import TransportRefused


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


_PASSING: Final = frozenset(
    {
        TransportProblem.UNSPECIFIED,
        TransportProblem.NOTHING_LISTENING,
        TransportProblem.UNREACHABLE,
        TransportProblem.NAME_NOT_RESOLVED,
    }
)
"""What a restart, or a network that comes back, mends without anybody's doing."""

_BROKEN: Final = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED})
"""How a stream ends whose connection grew too old, where the service gave no reason."""


class Resumes:
    """When a stream is opened again. Until its first message came it is tried like a call, so
    that what is wrong from the start is raised; after that a pause that doubles, for ever.
    """

    def __init__(self) -> None:
        self._begun = False
        self._failed = 0

    def heard(self) -> None:
        """A message came: all is well again."""
        self._begun = True
        self._failed = 0

    def next_step(self, failure: Failure, *, chance: float) -> Step | None:
        """What to do after the stream ended; None where its error is to be raised.

        ``chance`` is a random number in [0, 1).
        """
        self._failed += 1
        told_s = failure.error.retry_after_s
        if told_s is None and not self._is_broken(failure):
            return None
        if not self._begun and (self._failed >= ATTEMPTS_MAX or told_s is None):
            return None
        grown_s = min(RESUME_FIRST_S * 2.0 ** (self._failed - 1), RESUME_MAX_S)
        # The service's own word counts the first time; after that it is a lower bound.
        pause_s = told_s if told_s and self._failed == 1 else max(told_s or 0.0, grown_s)
        return Step(max(PAUSE_MIN_S, pause_s) * (1 + JITTER_SHARE * chance), told_s is None)

    def _is_broken(self, failure: Failure) -> bool:
        """Whether it was the way to the service, and not the service's word."""
        error = failure.error
        if isinstance(error, TransportRefused) and error.problem not in _PASSING:
            return self._failed < REFUSALS_MAX
        return failure.bare or (not error.reason and error.code in _BROKEN)
