"""How many requests a provider allows to one OAuthClient, as two token buckets.

A bucket of ``size`` that fills with ``per_s`` lets at most size + per_s × window − 1 through in
any half-open window (for one that begins full: ``size`` at once, and the drops that fall into it
before its end). Both are chosen so that this is the provider's number, wherever its windows begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vault_service.domain import limits
from vault_service.domain.provider import ProviderProfile

_BURST_SHARE: Final = 5  # a fifth at once, the rest evenly


@dataclass(frozen=True, slots=True)
class Bucket:
    """``size`` permits at most at one time, ``per_s`` new ones each second."""

    size: float
    per_s: float

    @classmethod
    def of(cls, requests: int, window_s: float) -> Bucket:
        """At most so many requests in any window; 0: as many as anybody wants."""
        if requests == 0:
            return cls(_UNBOUNDED, _UNBOUNDED)
        size = max(1, requests // _BURST_SHARE)
        return cls(size, (requests - size + 1) / window_s)


@dataclass(frozen=True, slots=True)
class Rates:
    """Both budgets of a profile."""

    second: Bucket
    minute: Bucket
    bounded: bool  # whether there is a budget at all

    @classmethod
    def of(cls, profile: ProviderProfile) -> Rates:
        """As the provider documents them."""
        return cls(
            Bucket.of(profile.rate_per_s, 1.0),
            Bucket.of(profile.rate_per_min, 60.0),
            bool(profile.rate_per_s or profile.rate_per_min),
        )


_UNBOUNDED: Final = float(limits.RATE_MAX) * 1_000
