"""Checks what callers of one grant were given, in real time: one register that only grows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Observation:
    """One answer that a caller got. All times are seconds of one clock.

    ``generation``: of the access token, as the server or its fingerprint tells it.
    """

    caller: str
    start_s: float  # before the call was sent
    end_s: float  # after its answer was read
    generation: int
    expire_s: float
    fingerprint: str = ""
    min_ttl_s: float = 0


@dataclass(frozen=True, slots=True)
class Violation:
    """What no order of the calls can explain."""

    rule: str  # "older_after_newer", "expired", "two_tokens_of_one_generation", "gap"
    observations: tuple[Observation, ...]


def check_history(
    observations: Iterable[Observation], *, every_generation_seen: bool = True
) -> list[Violation]:
    """The violations among the answers of one grant, none: [].

    - older_after_newer: a call that began after another had ended got an older token.
    - expired: the token's life, or ``min_ttl_s`` of it, was over before the call began.
    - two_tokens_of_one_generation: two refreshes made the same step.
    - gap: a generation between two observed ones was observed by nobody; only where the refreshes
      are all asked for by callers (``every_generation_seen``).
    """
    seen = sorted(observations, key=lambda each: each.start_s)
    found = _older_after_newer(seen)
    found += [
        Violation("expired", (each,))
        for each in seen
        if each.expire_s < each.start_s + each.min_ttl_s or each.expire_s <= each.start_s
    ]
    found += _two_tokens(seen)
    if every_generation_seen:
        found += _gaps(seen)
    return found


def _older_after_newer(by_start: Sequence[Observation]) -> list[Violation]:
    """Each start is compared with the newest generation that had been answered before it."""
    by_end = sorted(by_start, key=lambda each: each.end_s)
    newest: Observation | None = None
    ended = 0
    found = []
    for each in by_start:
        while ended < len(by_end) and by_end[ended].end_s < each.start_s:
            if newest is None or by_end[ended].generation > newest.generation:
                newest = by_end[ended]
            ended += 1
        if newest is not None and each.generation < newest.generation:
            found.append(Violation("older_after_newer", (newest, each)))
    return found


def _two_tokens(seen: Sequence[Observation]) -> list[Violation]:
    first: dict[int, Observation] = {}
    found = []
    for each in seen:
        known = first.setdefault(each.generation, each)
        if known.fingerprint != each.fingerprint:
            found.append(Violation("two_tokens_of_one_generation", (known, each)))
    return found


def _gaps(seen: Sequence[Observation]) -> list[Violation]:
    first: dict[int, Observation] = {}
    for each in seen:
        first.setdefault(each.generation, each)
    steps = sorted(first)
    return [
        Violation("gap", (first[before], first[after]))
        for before, after in itertools.pairwise(steps)
        if after != before + 1
    ]
