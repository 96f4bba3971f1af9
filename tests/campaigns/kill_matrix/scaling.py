"""All times of the engine, as they ship, multiplied by one factor.

A campaign of thousands of kills cannot wait for leases of 25 s. It keeps every ratio instead: what
ships is read from ``domain.limits``, and each constant here is multiplied before any module has
taken it over. Times of the machine itself, such as that of one write to the disk, stay as they are:
they are bounds on hardware that is no faster here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from vault_service.domain import limits

# Every time of a refresh, its recovery and its provider's outages.
SCALED: Final = (
    "POST_LIMIT_S", "LEASE_MARGIN_S", "GRACE_LEASE_MIN_S", "ANSWER_LIMIT_S", "LEASE_POLL_S",
    "HELD_LOOK_S", "COMMIT_RETRY_S", "RETRY_AFTER_S", "SPOOL_WAIT_S", "ATTEMPT_SWEEP_S",
    "IN_DOUBT_RETRY_S", "IN_DOUBT_RETRY_MAX_S", "GRACE_ROOM_MAX_S", "RELEASE_INTERVAL_S",
    "CONFIRM_AFTER_S", "BACKOFF_FIRST_S", "BACKOFF_MAX_S", "BREAKER_WINDOW_S",
    "BREAKER_OPEN_FIRST_S", "BREAKER_OPEN_MAX_S", "BREAKER_PROBE_S", "PERMIT_WAIT_S",
    "PERMIT_FULL_RETRY_S", "PERMIT_FULL_RETRY_MAX_S", "PERMIT_LIFE_S", "BUDGET_LOOK_S",
    "RATE_LIMITED_PAUSE_S", "RETRY_AFTER_MAX_S", "HTTP_CONNECT_LIMIT_S", "HTTP_TAIL_S",
    "HTTP_LATE_READ_S", "WAIT_RETRY_AFTER_S", "BREAKER_ALONE_WINDOW_S",
    "BREAKER_FRESH_S", "RATE_LIMITED_WINDOW_S", "RATE_HOLD_FIRST_S", "RATE_HOLD_FORGET_S",
    "DOUBT_PATIENCE_S", "RETRY_AFTER_MIN_S", "OUTAGE_TOLD_MAX_S",
)  # fmt: skip
RATES: Final = ("RETRY_TRICKLE_PER_S",)
# Of the same sections of limits.py, and why they stay.
UNSCALED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "SPOOL_LIMIT_S": "one write and its sync: of the disk, not of the engine",
        "SPOOL_START_LIMIT_S": "of the disk",
        "SPOOL_WAIT_MIN_S": "a bound of settings",
        "SPOOL_WAIT_MAX_S": "a bound of settings",
        "WAIT_UNTIL_TOLD_S": "for ever",
        "CONSENT_WAIT_S": "a campaign has no consents",
        "ATTEMPT_KEEP_S": "nothing is old enough in a campaign",
    }
)

_USERS: Final = ("vault_service.domain.refresh_times", "vault_service.usecases")
_shipped: dict[str, float] = {}
_factor = 1.0


def scale_engine(factor: float) -> None:
    """For this process and those that it forks; once, before any module of the engine is there.

    RuntimeError when it is too late: a module that has taken a constant over keeps it.
    """
    global _factor
    early = [name for name in sys.modules if name.startswith(_USERS)]
    if early or _shipped:
        raise RuntimeError(f"too late to scale the engine's times: {early[:3]}")
    for name in (*SCALED, *RATES):
        _shipped[name] = value = getattr(limits, name)
        setattr(limits, name, value / factor if name in RATES else value * factor)
    _factor = factor


def factor() -> float:
    """1 where nothing was scaled."""
    return _factor


def shipped(name: str) -> float:
    """A constant of ``limits`` as it ships."""
    value: float = _shipped.get(name, getattr(limits, name))
    return value


def scaled(shipped_s: float) -> float:
    """How long that is here."""
    return shipped_s * _factor
