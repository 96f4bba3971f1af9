"""A circuit breaker: after many failures nobody is asked, then one at a time, then all again.

CLOSED → OPEN (too many failures in the window) → HALF_OPEN (its time is over: one probe) → CLOSED
(a probe succeeded) or OPEN again, for twice as long. Pure: the monotonic clock and chance come as
arguments, and nothing happens between calls. What counts as too many says ``FailureTally``: grants,
not requests.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vault_service.domain import limits
from vault_service.domain.failure_tally import FailureTally

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
    fresh_s: float = limits.BREAKER_FRESH_S


@dataclass(frozen=True, slots=True)
class Admission:
    """One request that was let through: which phase of the breaker it belongs to."""

    phase: int
    probe: bool
    who: Hashable = None  # the grant


class Breaker:
    """Counts what became of requests and says whether the next one may go.

    ``chance`` gives numbers in [0, 1): no two replicas come back at the same moment.
    """

    def __init__(
        self,
        chance: Callable[[], float],
        times: BreakerTimes | None = None,
        *,
        partial: bool = True,
    ) -> None:
        self._chance = chance
        self._times = times or BreakerTimes()
        self._tally = FailureTally(self._times.window_s, partial=partial)
        self._state = BreakerState.CLOSED
        self._phase = 0  # answers to requests of an earlier one say nothing of now
        self._until = 0.0  # OPEN: its end; HALF_OPEN: when the probe counts as failed, 0: none
        self._fresh_until = 0.0  # HALF_OPEN: until then grants that did not fail go first
        self._in_a_row = 0  # openings since it was last CLOSED for a whole window
        self._closed_since = float("-inf")
        self._counted = False  # OPEN: because of failures, and not because somebody asked for it
        self.opened = 0  # how often it has opened in all

    def state(self, now: float) -> BreakerState:
        """As of ``now``."""
        self._pass_time(now)
        return self._state

    def is_probed(self, now: float) -> bool:
        """Whether one request is under way that decides."""
        self._pass_time(now)
        return self._state is BreakerState.HALF_OPEN and self._until > 0

    def wait_s(self, now: float, who: Hashable = None) -> float:
        """How long to wait before a request for ``who`` may go; 0: it may now.

        Where few grants failed it may be theirs: one that did not fail need not wait for the end
        of the pause. After it those that succeeded lately go first, for ``fresh_s``.
        """
        self._pass_time(now)
        if self._state is BreakerState.CLOSED or self._goes_ahead(who):
            return 0.0
        after = self._until
        free = self._state is BreakerState.HALF_OPEN and not self._until
        if free and self._tally.should_wait(who):
            after = self._fresh_until
        return max(0.0, after - now)

    def admit(self, now: float, who: Hashable = None) -> Admission | None:
        """Let a request through, as the probe if there is to be one. None: not now."""
        if self.wait_s(now, who) > 0:
            return None
        probe = self._state is not BreakerState.CLOSED
        if probe:
            self._enter(BreakerState.HALF_OPEN)
            self._until = now + self._times.probe_s
        return Admission(self._phase, probe, who)

    def unasked(self, who: Hashable = None) -> Admission:
        """For a request that goes whatever the breaker says: its success tells all the same."""
        return Admission(self._phase, probe=False, who=who)

    def succeeded(self, admission: Admission, now: float) -> None:
        """It was answered. The answer to a probe that took too long counts still."""
        self._pass_time(now)
        timely = admission.phase == self._phase
        if self._state is BreakerState.CLOSED:
            if timely:
                self._tally.succeeded(admission.who, now)
        elif timely or admission.probe:
            self._closed_since = now
            self._enter(BreakerState.CLOSED)
            self._tally.succeeded(admission.who, now)

    def failed(
        self, admission: Admission, now: float, how: str = "", *, readily: bool = True
    ) -> None:
        """It was not. ``how`` and ``readily``: see ``FailureTally``."""
        self._pass_time(now)
        if admission.phase != self._phase:
            if self._state is not BreakerState.CLOSED:
                # Too late to decide anything, but it failed: it is no good probe, and where others
                # succeed next it is at fault itself.
                self._tally.failed(admission.who, how, now)
            return
        self._tally.failed(admission.who, how, now)
        probed = self._state is BreakerState.HALF_OPEN
        closed = self._state is BreakerState.CLOSED
        if probed or (closed and self._tally.is_outage(how, now, readily=readily)):
            self._open(now)

    def note_failed(self, who: Hashable, now: float) -> None:
        """It failed in a way that opens nothing: others go first after a pause."""
        self._tally.failed(who, "", now)

    def is_at_fault(self, who: Hashable) -> bool:
        """Whether its requests fail while those of others succeed."""
        return self._tally.is_at_fault(who)

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
        self._tally.clear()

    def _goes_ahead(self, who: Hashable) -> bool:
        failed_only = self._state is BreakerState.OPEN and self._counted
        return failed_only and self._tally.few and who not in self._tally

    def _pass_time(self, now: float) -> None:
        if self._state is BreakerState.HALF_OPEN and 0 < self._until <= now:
            self._open(self._until)
        if self._state is BreakerState.OPEN and self._until <= now:
            self._fresh_until = self._until + self._times.fresh_s
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
        self._counted = True

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._until = 0.0
        self._counted = False
        self._tally.begin_window()
        if state is not BreakerState.HALF_OPEN:
            self._phase += 1
