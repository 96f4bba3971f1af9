"""Refresh attempts without an outcome, as metrics count them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class DoubtCause(Enum):
    """Why nobody knows yet what became of a refresh."""

    NO_ANSWER = 1  # none that tells, or a refusal that is to be repeated
    PROVIDER_FAILS = 2  # likewise, and it is asked again when the provider answers somebody
    PROCESS_ENDED = 3  # in the middle of it; its spool may be awaited
    PROFILE = 4  # an answer is kept and cannot be read
    OPERATOR = 5  # only a person can say


@dataclass(frozen=True, slots=True)
class AttemptBacklog:
    """Over all tenants: attempts under way or in doubt, the age of the oldest, and how many of
    them are in doubt by cause."""

    unresolved: int = 0
    oldest_s: float = 0.0
    in_doubt: Mapping[DoubtCause, int] = field(default_factory=dict)
