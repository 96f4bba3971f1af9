"""How rows of all tenants are shared out, as the real stores do it in SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def by_turns(found: Iterable[T], whose: Callable[[T], Hashable]) -> list[T]:
    """The first of each, then the second of each."""
    return [one for _, one in _turns(found, whose, {})]


def shared_out(
    found: Iterable[T], tenant_of: Callable[[T], str], room: int, held: Mapping[str, int]
) -> list[T]:
    """A tenant gets one more while it holds fewer than are free."""
    turns = _turns(found, tenant_of, held)
    return [one for place, (holds, one) in enumerate(turns) if holds < room - place]


def _turns(
    found: Iterable[T], whose: Callable[[T], Hashable], held: Mapping[str, int]
) -> list[tuple[int, T]]:
    holds: Counter[Hashable] = Counter(held)
    turns = []
    for one in found:
        turns.append((holds[whose(one)], one))
        holds[whose(one)] += 1
    return sorted(turns, key=lambda turn: turn[0])
