"""How many requests may be repetitions of ones that failed: a failing provider is not stormed.

Every request earns a tenth of a retry, a retry costs one, and one that succeeds gives it back: as
long as retries help they cost nothing. A trickle flows in whatever happens, so that a quiet
provider is asked again too. Pure: the monotonic clock comes as an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from vault_service.domain import limits


class RetryBudget:
    """Of one OAuthClient in one process. What failed lately is remembered by its key, the oldest
    forgotten first."""

    def __init__(self, now: float) -> None:
        self._level = limits.RETRIES_MAX
        self._filled = now
        self._failed: OrderedDict[Hashable, None] = OrderedDict()
        self.refused = 0

    def admit(self, key: Hashable, now: float) -> bool:
        """Whether a request for ``key`` may go; paid for when it may."""
        self._flow(now)
        if key not in self._failed:
            self._earn(limits.RETRY_SHARE)
            return True
        if self._level < 1:
            self.refused += 1
            return False
        self._level -= 1
        return True

    def give_back(self, key: Hashable) -> None:
        """It was not sent after all."""
        self._earn(1.0 if key in self._failed else -limits.RETRY_SHARE)

    def succeeded(self, key: Hashable) -> None:
        """It was answered."""
        if key in self._failed:
            del self._failed[key]
            self._earn(1.0)

    def failed(self, key: Hashable) -> None:
        """The provider failed it: the next one for this key is a retry."""
        self._failed[key] = None
        self._failed.move_to_end(key)
        if len(self._failed) > limits.RETRY_KEYS_MAX:
            self._failed.popitem(last=False)

    def wait_s(self) -> float:
        """How long until a retry can be paid for."""
        return max(0.0, 1 - self._level) / limits.RETRY_TRICKLE_PER_S

    def _flow(self, now: float) -> None:
        self._earn((now - self._filled) * limits.RETRY_TRICKLE_PER_S)
        self._filled = now

    def _earn(self, retries: float) -> None:
        self._level = min(limits.RETRIES_MAX, self._level + retries)
