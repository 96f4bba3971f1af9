"""Which grants failed lately, and whether others succeed meanwhile: is it an outage or theirs?

One grant says little: its account may be poisoned. A grant that fails while others succeed is at
fault itself, and its failures do not count for as long as others go on succeeding. Pure: the
monotonic clock comes as an argument. Memory is bounded whatever the number of grants.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final

from vault_service.domain import limits

_BUCKETS: Final = 10  # of one window


class FailureTally:
    """``partial``: it may be an outage although some succeed, by the share of those that fail.
    Without it, one success in the window says that all is well."""

    def __init__(self, window_s: float, *, partial: bool) -> None:
        self._window_s = window_s
        self._partial = partial
        self._window: deque[list[float]] = deque(maxlen=_BUCKETS)  # [start, successes, failing]
        self._failing: OrderedDict[Hashable, tuple[str, float]] = OrderedDict()
        self._at_fault: OrderedDict[Hashable, None] = OrderedDict()
        self._good: OrderedDict[Hashable, None] = OrderedDict()  # whose last answer was a success
        self._failures: deque[float] = deque(maxlen=limits.BREAKER_FAILURES_MIN)
        self._succeeded = float("-inf")

    def __contains__(self, who: Hashable) -> bool:
        """Whether it failed and nobody has succeeded since."""
        return who in self._failing

    def should_wait(self, who: Hashable) -> bool:
        """Whether others are better for a probe: a success of who has failed for long, or never
        succeeded, is not to be expected."""
        return who not in self._good if self._good else who in self._failing

    def is_at_fault(self, who: Hashable) -> bool:
        """Whether it failed and others have succeeded since, but not it."""
        return who in self._at_fault

    @property
    def few(self) -> bool:
        """Whether so few grants failed that it may be theirs."""
        return len(self._failing) < limits.BREAKER_GRANTS_MIN

    def succeeded(self, who: Hashable, now: float) -> None:
        """Whoever failed before is at fault itself, until it succeeds."""
        self._failing.pop(who, None)
        self._at_fault.pop(who, None)
        if who is not None:  # a consent is no grant yet
            self._good[who] = None
            self._good.move_to_end(who)
        if len(self._good) > limits.BREAKER_GRANTS_MAX:
            self._good.popitem(last=False)
        for other in self._failing:
            self._at_fault[other] = None
        while len(self._at_fault) > limits.BREAKER_AT_FAULT_MAX:
            self._at_fault.popitem(last=False)
        self._failing.clear()
        self._failures.clear()
        self._succeeded = now
        self._bucket(now)[1] += 1

    def failed(self, who: Hashable, how: str, now: float) -> None:
        """``how``: in which way, where ways are told apart."""
        self._good.pop(who, None)
        if who in self._at_fault:
            if now - self._succeeded <= limits.BREAKER_ALONE_WINDOW_S:
                return
            del self._at_fault[who]
        if who not in self._failing:
            self._bucket(now)[2] += 1
        self._failing[who] = (how, now)
        self._failing.move_to_end(who)
        if len(self._failing) > limits.BREAKER_GRANTS_MAX:
            self._failing.popitem(last=False)
        self._failures.append(now)

    def is_outage(self, how: str, now: float, *, readily: bool) -> bool:
        """Whether the last failure, in this way, is one too many. ``readily``: the answer itself
        blames more than the grant, so that a few grants are enough where nobody succeeds."""
        if self._partial and self._share_fails(now):
            return True
        succeeds = now - self._succeeded <= self._window_s
        alike = sum(
            way == how and now - moment <= self._window_s for way, moment in self._failing.values()
        )
        if not succeeds and alike >= limits.BREAKER_FAILURES_MIN:
            return True
        if not readily or len(self._failures) < limits.BREAKER_FAILURES_MIN:
            return False
        if not succeeds and alike >= limits.BREAKER_GRANTS_MIN:
            return now - self._failures[0] <= self._window_s
        alone = now - self._succeeded > limits.BREAKER_ALONE_WINDOW_S
        return alone and now - self._failures[0] <= limits.BREAKER_ALONE_WINDOW_S

    def begin_window(self) -> None:
        """What was counted decided: count anew. Who failed is still known."""
        self._window.clear()
        self._failures.clear()

    def clear(self) -> None:
        """What was wrong was changed."""
        self.begin_window()
        self._failing.clear()
        self._at_fault.clear()
        self._good.clear()
        self._succeeded = float("-inf")

    def _share_fails(self, now: float) -> bool:
        if len(self._failing) >= limits.BREAKER_RUN:
            return True
        recent = [one for one in self._window if one[0] > now - self._window_s]
        successes, failing = sum(one[1] for one in recent), sum(one[2] for one in recent)
        enough = failing >= limits.BREAKER_FAILURES_MIN
        return enough and failing >= limits.BREAKER_FAILURE_RATIO * (successes + failing)

    def _bucket(self, now: float) -> list[float]:
        width_s = self._window_s / _BUCKETS
        if not self._window or now >= self._window[-1][0] + width_s:
            self._window.append([now, 0, 0])
        return self._window[-1]
