"""Which runs a campaign has: run n is the same one in every process and after every resumption."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from random import Random

from tests.campaigns.kill_matrix.moments import (
    BY_NAME,
    CLASSES,
    MOMENTS,
    POINTS,
    PROVIDER_BY_NAME,
    PROVIDERS,
)

RANDOM = "random"
_COLD = ("k3.connect", "k3.connected", RANDOM)
_SPAN_S = 0.09  # a refresh on an idle machine takes less; later is after its end
_AGAIN_SPAN_S = 2.2  # start, waiting for the lease, recovery


@dataclass(frozen=True, slots=True)
class Case:
    """One run. ``moment`` is a name of ``moments`` or "random": then ``at_s`` after the start."""

    number: int
    moment: str
    provider: str
    replicas: int
    spool_destroyed: bool
    restart_s: float  # how long the victim stays away
    asks: bool  # callers ask for a token while it recovers
    is_cold: bool  # its connection to the provider is a new one
    asks_after_s: float  # when they begin, and those of a live replica
    at_s: float = 0.0
    again_at_s: float = 0.0  # the successor is killed too, 0: it is not
    server_before_s: float = 0.0  # of random moments
    server_after_s: float = 0.0
    rivals_first: bool = False  # the live replicas are at work from the start on

    @property
    def point(self) -> str:
        """K0 to K12, or "random"."""
        return RANDOM if self.moment == RANDOM else BY_NAME[self.moment].point

    @property
    def refresh_class(self) -> str:
        """N, M, G or S."""
        return PROVIDER_BY_NAME[self.provider].refresh_class


# One round: each point × class × {1, 3} once, and beside it so many of the others.
_CELLS = [(point, name, count) for point in POINTS for name in CLASSES for count in (1, 3)]
_DESTROYED = 8
_RANDOMS = [(name, count) for name in CLASSES for count in (1, 3)]
ROUND = len(_CELLS) + _DESTROYED + len(_RANDOMS) * 2


@functools.lru_cache(maxsize=4)
def cases_of_round(number: int, seed: int) -> tuple[Case, ...]:
    """The runs of one round, shuffled."""
    random = Random(f"{seed}/{number}")
    moments = {point: [m.name for m in MOMENTS if m.point == point] for point in POINTS}
    providers = {c: [p.name for p in PROVIDERS if p.refresh_class == c] for c in CLASSES}
    chosen: list[dict[str, object]] = []
    for index, (point, refresh_class, replicas) in enumerate(_CELLS):
        of_point, of_class = moments[point], providers[refresh_class]
        chosen.append(
            {
                "moment": of_point[(number + index) % len(of_point)],
                "provider": of_class[(number // len(of_point)) % len(of_class)],
                "replicas": replicas,
                "spool_destroyed": False,
            }
        )
    chosen += [_destroyed(random, moments, providers) for _ in range(_DESTROYED)]
    chosen += [_random(random, providers, *cell) for cell in _RANDOMS * 2]
    random.shuffle(chosen)
    first = number * ROUND
    return tuple(_case(random, first + index, facts) for index, facts in enumerate(chosen))


def case(number: int, seed: int) -> Case:
    """Run ``number``, counted from 0."""
    return cases_of_round(number // ROUND, seed)[number % ROUND]


def _destroyed(
    random: Random, moments: dict[str, list[str]], providers: dict[str, list[str]]
) -> dict[str, object]:
    return {
        "moment": random.choice(moments[random.choice(POINTS)]),
        "provider": random.choice(providers[random.choice(CLASSES)]),
        "replicas": random.choice((1, 3)),
        "spool_destroyed": True,
    }


def _random(
    random: Random, providers: dict[str, list[str]], refresh_class: str, replicas: int
) -> dict[str, object]:
    return {
        "moment": RANDOM,
        "provider": random.choice(providers[refresh_class]),
        "replicas": replicas,
        "spool_destroyed": False,
        "at_s": random.uniform(0, _SPAN_S),
        "again_at_s": random.uniform(0, _AGAIN_SPAN_S) if random.random() < 0.4 else 0.0,
        "server_before_s": random.uniform(0, 0.02),
        "server_after_s": random.uniform(0, 0.02),
        "rivals_first": replicas > 1 and random.random() < 0.5,
    }


def _case(random: Random, number: int, facts: dict[str, object]) -> Case:
    made = {
        "restart_s": random.uniform(0, 0.4),
        "asks": random.random() < 0.5,
        "is_cold": facts["moment"] in _COLD or random.random() < 0.3,
        "asks_after_s": random.uniform(0, 1.6) if random.random() < 0.2 else 1.3,
        **facts,
    }
    return Case(number=number, **made)  # type: ignore[arg-type]
