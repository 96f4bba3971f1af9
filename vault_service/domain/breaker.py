"""A circuit breaker: after many failures nobody is asked, then one at a time, then all again.

CLOSED → OPEN (too many failures in the window) → HALF_OPEN (its time is over: one probe) → CLOSED
(a probe succeeded) or OPEN again, for twice as long. Pure: the monotonic clock and chance come as
arguments, and nothing happens between calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vault_service.domain import limits

_BUCKETS: Final = 10  # of one window
_OPENINGS_MAX: Final = 16  # more doublings than any longest pause has


class BreakerState(Enum):
    """What it does with a request; the numbers are what metrics show."""

    CLOSED = 0  # lets all through
    OPEN = 1  # lets none through
    HALF_OPEN = 2  # lets one through at a time


@dataclass(frozen=True, slots=True)
class BreakerTimes:
    """All in seconds. A server that is back is asked at the latest ``open_max_s`` after the last
    probe failed, and a probe without an answer counts as failed after ``probe_s``."""

    window_s: float = limits.BREAKER_WINDOW_S
    open_first_s: float = limits.BREAKER_OPEN_FIRST_S
    open_max_s: float = limits.BREAKER_OPEN_MAX_S
    probe_s: float = limits.BREAKER_PROBE_S


@dataclass(frozen=True, slots=True)
class Admission:
    """One request that was let through: which phase of the breaker it belongs to."""

    phase: int
    probe: bool


class Breaker:
    """Counts what became of requests and says whether the next one may go.

    ``chance`` gives numbers in [0, 1): no two replicas come back at the same moment.
    """

    def __init__(self, chance: Callable[[], float], times: BreakerTimes | None = None) -> None:
        self._chance = chance
        self._times = times or BreakerTimes()
        self._state = BreakerState.CLOSED
        self._phase = 0  # answers to requests of an earlier one say nothing of now
        self._window: deque[list[float]] = deque(maxlen=_BUCKETS)  # [start, answers, failures]
        self._run = 0  # failures in a row
        self._until = 0.0  # OPEN: its end; HALF_OPEN: when the probe counts as failed, 0: none
        self._in_a_row = 0  # openings since it was last CLOSED for a whole window
        self._closed_since = float("-inf")
        self.opened = 0  # how often it has opened in all

    def state(self, now: float) -> BreakerState:
        """As of ``now``."""
        self._pass_time(now)
        return self._state

    def wait_s(self, now: float) -> float:
        """How long to wait before a request may go; 0: it may now."""
        self._pass_time(now)
        if self._state is BreakerState.CLOSED:
            return 0.0
        return max(0.0, self._until - now)

    def admit(self, now: float) -> Admission | None:
        """Let a request through, as the probe if there is to be one. None: not now."""
        if self.wait_s(now) > 0:
            return None
        probe = self._state is BreakerState.HALF_OPEN
        if probe:
            self._until = now + self._times.probe_s
        return Admission(self._phase, probe)

    def unasked(self) -> Admission:
        """For a request that goes whatever the breaker says: its answer tells all the same."""
        return Admission(self._phase, probe=False)

    def succeeded(self, admission: Admission, now: float) -> None:
        """It was answered. The answer to a probe that took too long counts still."""
        self._pass_time(now)
        timely = admission.phase == self._phase
        if self._state is BreakerState.CLOSED:
            if timely:
                self._count(now, 0)
        elif timely or admission.probe:
            self._closed_since = now
            self._enter(BreakerState.CLOSED)

    def failed(self, admission: Admission, now: float) -> None:
        """It was not."""
        self._pass_time(now)
        if admission.phase != self._phase:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._open(now)
        elif self._state is BreakerState.CLOSED:
            self._count(now, 1)
            answers, failures = self._in_window(now)
            enough = failures >= limits.BREAKER_FAILURES_MIN
            too_many = enough and failures >= limits.BREAKER_FAILURE_RATIO * answers
            if too_many or self._run >= limits.BREAKER_RUN:
                self._open(now)

    def unknown(self, admission: Admission) -> None:
        """It came to no answer that says anything: the next one may be the probe."""
        probing = self._state is BreakerState.HALF_OPEN and admission.phase == self._phase
        if probing and admission.probe:
            self._until = 0.0

    def open_until(self, moment: float) -> None:
        """Whoever is asked wants nothing before: then one goes first. A later end stands."""
        later = self._state is BreakerState.OPEN and self._until >= moment
        if not later:
            self._enter(BreakerState.OPEN)
            self._until = moment

    def reset(self) -> None:
        """What was wrong was changed: all may go, and what is under way says nothing."""
        self._in_a_row = 0
        self._enter(BreakerState.CLOSED)

    def _pass_time(self, now: float) -> None:
        if self._state is BreakerState.HALF_OPEN and 0 < self._until <= now:
            self._open(self._until)
        if self._state is BreakerState.OPEN and self._until <= now:
            self._enter(BreakerState.HALF_OPEN)

    def _open(self, now: float) -> None:
        was_closed = self._state is BreakerState.CLOSED
        if was_closed and now - self._closed_since > self._times.window_s:
            self._in_a_row = 0
        doubled = self._times.open_first_s * 2.0**self._in_a_row
        pause_s = min(doubled, self._times.open_max_s) * (0.75 + 0.25 * self._chance())
        self._in_a_row = min(self._in_a_row + 1, _OPENINGS_MAX)
        self.opened += 1
        self._enter(BreakerState.OPEN)
        self._until = now + pause_s

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._until = 0.0
        self._window.clear()
        self._run = 0
        if state is not BreakerState.HALF_OPEN:
            self._phase += 1

    def _count(self, now: float, failures: int) -> None:
        width_s = self._times.window_s / _BUCKETS
        if not self._window or now >= self._window[-1][0] + width_s:
            self._window.append([now, 0, 0])
        self._window[-1][1] += 1
        self._window[-1][2] += failures
        self._run = self._run + failures if failures else 0

    def _in_window(self, now: float) -> tuple[float, float]:
        recent = [one for one in self._window if one[0] > now - self._times.window_s]
        return sum(one[1] for one in recent), sum(one[2] for one in recent)
