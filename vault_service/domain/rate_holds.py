"""Whose a 429 is: one grant's, or the OAuthClient's, and for how long it is held then.

Many providers limit each user beside each client, and nothing in the answer says which limit was
met. One grant's 429 is its own; a second grant's within a minute speaks of the OAuthClient. Then
the smaller of the delays counts: the longer one may be that user's. Where another grant's request
succeeds right after such a hold, the limits were those grants' own after all. For ten minutes their
next 429s say nothing of the OAuthClient, or two busy users would hold back all others again and
again. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from vault_service.domain import limits


class RateHolds:
    """Of one OAuthClient in one process."""

    def __init__(self) -> None:
        self._limited: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        # Limited while others are not, and when that was shown.
        self._own: OrderedDict[Hashable, float] = OrderedDict()
        self._held_until = float("-inf")
        self._in_a_row = 0
        self.of_grants = 0  # answers that held back one grant only, in all

    def limited(
        self, who: Hashable, asked_s: float | None, now: float, *, first_after_hold: bool
    ) -> float | None:
        """How long the OAuthClient is held because of this answer. None: it is the grant's own.

        ``first_after_hold``: the one request that went first after a hold; what it is told holds
        on, for longer each time.
        """
        if now - self._own.get(who, float("-inf")) <= limits.RATE_HOLD_FORGET_S:
            self.of_grants += 1
            return None
        delay_s = limits.RATE_LIMITED_PAUSE_S if asked_s is None else asked_s
        self._limited[who] = (now, delay_s)
        self._limited.move_to_end(who)
        if len(self._limited) > limits.RATE_LIMITED_GRANTS_MAX:
            self._limited.popitem(last=False)
        if now < self._held_until:
            return None
        oldest = now - limits.RATE_LIMITED_WINDOW_S
        recent = [asked for moment, asked in self._limited.values() if moment >= oldest]
        if len(recent) < 2 and not first_after_hold:
            self.of_grants += 1
            return None
        return self._hold(min(recent), now)

    def answered(self, who: Hashable, now: float, *, first_after_hold: bool) -> None:
        """It was not limited. Where it went first after a hold and did not lead to it, those that
        did have limits of their own, each until it is answered too, or RATE_HOLD_FORGET_S later."""
        self._own.pop(who, None)
        if not first_after_hold:
            return
        if self._limited.pop(who, None) is not None:
            return  # whichever limit it met, it is free again: that says nothing of the others
        for one in self._limited:
            self._own[one] = now
            self._own.move_to_end(one)
        self._limited.clear()
        while len(self._own) > limits.RATE_LIMITED_GRANTS_MAX:
            self._own.popitem(last=False)

    def lifted(self) -> None:
        """An operator ended the hold: what led to it is forgotten."""
        self._limited.clear()
        self._own.clear()
        self._held_until = float("-inf")
        self._in_a_row = 0

    def _hold(self, asked_s: float, now: float) -> float:
        if now - self._held_until > limits.RATE_HOLD_FORGET_S:
            self._in_a_row = 0
        longest_s = limits.RATE_HOLD_FIRST_S * 2.0**self._in_a_row
        self._in_a_row = min(self._in_a_row + 1, 16)
        hold_s = min(asked_s, longest_s, limits.RETRY_AFTER_MAX_S)
        self._held_until = now + hold_s
        return hold_s
