"""Which runs a campaign has: run n is the same one in every process and after every resumption.

Times are as they ship; whoever plays a run scales them. Only what a machine needs to do the work of
one refresh is in seconds of its own.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.campaigns.kill_matrix.moments import (
    BY_NAME,
    CLASSES,
    ENDINGS,
    GRACES_S,
    MOMENTS,
    POINTS,
    PROVIDER_BY_NAME,
    PROVIDERS,
)
from tests.support.authserver import Ending

RANDOM = "random"
_COLD = ("k3.connect", "k3.connected", RANDOM)
_SPAN_S = 0.09  # of the machine: a refresh takes less where it is idle; later is after its end
_OUTAGE_S = (10.0, 240.0)
# Beyond the grace: its end, and time enough for siblings to do something wrong.
_BEYOND = 1.3
_KEPT_ALONE = ("k7.stored", "k8.kept", "k9.open")  # the answer is in the spool and nowhere else
# Until its answer came: what a process does that was told 503.
_BEFORE_AN_ANSWER = ("k4.sent", "k4.waiting", "k5.first", "k5.whole", "k6.body", "k11.reply")
# After an answer that cannot be read nothing is written to the database before the spool has it.
_UNREAD = {
    "k9.alone_open": "k9.open",
    "k9.alone_commit_sent": "k9.commit_sent",
    "k10.alone": "k10.committed",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One run. ``moment`` is a name of ``moments`` or "random": then ``at_s`` after the start.

    ``outage``: the provider answers 503 for ``outage_s``, from "kill" on, from "before" the
    victim's request on, or it has "carried" that request out and says 503 all the same. ``group``:
    what the run is there for.
    """

    number: int
    group: str
    moment: str
    provider: str
    replicas: int
    spool_destroyed: bool
    restart_s: float  # how long the victim stays away
    asks: bool  # callers ask for a token while it recovers
    is_cold: bool  # its connection to the provider is a new one
    asks_after: float  # when they begin, and those of a live replica: a share of the lease
    ending: str = ""  # of the victim's answer
    outage: str = ""
    outage_s: float = 0.0
    at_s: float = 0.0  # of the machine
    again_at: float = 0.0  # the successor is killed too: a share of the lease, 0: it is not
    server_before_s: float = 0.0  # of random moments, of the machine
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

    @property
    def grace_s(self) -> int:
        """Of class G, as it ships."""
        return PROVIDER_BY_NAME[self.provider].grace_s

    @property
    def is_unread(self) -> bool:
        """Whether nobody can read the answers until the profile is mended."""
        return self.ending == Ending.WRAPPED.value


WARM_UP = Case(
    number=-1,
    group="plain",
    moment="k0.flight",
    provider="n",
    replicas=3,
    spool_destroyed=False,
    restart_s=0.0,
    asks=True,
    is_cold=True,
    asks_after=0.0,
)

# One round: each point × class × {1, 3} once; each point × class once more with an odd ending; and
# beside it so many of the others.
_CELLS = [(point, name, count) for point in POINTS for name in CLASSES for count in (1, 3)]
_ODD_CELLS = [(point, name) for point in POINTS for name in CLASSES]
_DESTROYED = 8
_RANDOMS = [(name, count) for name in CLASSES for count in (1, 3)]
_OUTAGES = [(name, count) for name in (*CLASSES, "G", "S") for count in (1, 3)]
_AWAY = len(GRACES_S) + 2  # a spool that comes back late, beside siblings: each grace, and class S
ROUND = (
    len(_CELLS) + len(_ODD_CELLS) + _DESTROYED + 2 * len(_RANDOMS) + len(_OUTAGES) + _AWAY
)  # fmt: skip
_MOMENTS = {point: [m.name for m in MOMENTS if m.point == point] for point in POINTS}
_PROVIDERS = {c: [p.name for p in PROVIDERS if p.refresh_class == c] for c in CLASSES}


@functools.lru_cache(maxsize=4)
def cases_of_round(number: int, seed: int) -> tuple[Case, ...]:
    """The runs of one round, shuffled."""
    random = Random(f"{seed}/{number}")
    chosen: list[dict[str, object]] = []
    for index, (point, refresh_class, replicas) in enumerate(_CELLS):
        of_point, of_class = _MOMENTS[point], _PROVIDERS[refresh_class]
        chosen.append(
            {
                "group": "plain",
                "moment": of_point[(number + index) % len(of_point)],
                "provider": of_class[(number // len(of_point)) % len(of_class)],
                "replicas": replicas,
            }
        )
    chosen += [_odd(number, index) for index in range(len(_ODD_CELLS))]
    chosen += [_destroyed(random) for _ in range(_DESTROYED)]
    chosen += [_random(random, *cell) for cell in _RANDOMS * 2]
    chosen += [_outage(random, *cell) for cell in _OUTAGES]
    chosen += [_away(random, index) for index in range(_AWAY)]
    random.shuffle(chosen)
    first = number * ROUND
    return tuple(_case(random, first + index, facts) for index, facts in enumerate(chosen))


def case(number: int, seed: int) -> Case:
    """Run ``number``, counted from 0."""
    return cases_of_round(number // ROUND, seed)[number % ROUND]


def _odd(number: int, index: int) -> dict[str, object]:
    """Over the rounds each ending meets each point, class and kind of provider."""
    point, refresh_class = _ODD_CELLS[index]
    of_point, of_class = _MOMENTS[point], _PROVIDERS[refresh_class]
    ending = ENDINGS[(number + index) % len(ENDINGS)]
    moment = of_point[(number // len(ENDINGS) + index) % len(of_point)]
    return {
        "group": "odd",
        "moment": _UNREAD.get(moment, moment) if ending is Ending.WRAPPED else moment,
        "provider": of_class[(number + index // len(CLASSES)) % len(of_class)],
        "replicas": (1, 3)[(number + index) % 2],
        "ending": ending.value,
    }


def _destroyed(random: Random) -> dict[str, object]:
    return {
        "group": "destroyed",
        "moment": random.choice(_MOMENTS[random.choice(POINTS)]),
        "provider": random.choice(_PROVIDERS[random.choice(CLASSES)]),
        "replicas": random.choice((1, 3)),
        "spool_destroyed": True,
    }


def _random(random: Random, refresh_class: str, replicas: int) -> dict[str, object]:
    return {
        "group": RANDOM,
        "moment": RANDOM,
        "provider": random.choice(_PROVIDERS[refresh_class]),
        "replicas": replicas,
        "at_s": random.uniform(0, _SPAN_S),
        "again_at": random.uniform(0, 1.5) if random.random() < 0.4 else 0.0,
        "server_before_s": random.uniform(0, 0.02),
        "server_after_s": random.uniform(0, 0.02),
        "rivals_first": replicas > 1 and random.random() < 0.5,
    }


def _outage(random: Random, refresh_class: str, replicas: int) -> dict[str, object]:
    outage = random.choice(("kill", "kill", "before", "carried"))
    everywhere = _MOMENTS[random.choice(POINTS)]
    least, most = map(math.log, _OUTAGE_S)
    return {
        "group": "outage",
        "moment": random.choice(everywhere if outage == "kill" else _BEFORE_AN_ANSWER),
        "provider": random.choice(_PROVIDERS[refresh_class]),
        "replicas": replicas,
        "outage": outage,
        "outage_s": math.exp(random.uniform(least, most)),
    }


def _away(random: Random, index: int) -> dict[str, object]:
    """Its spool has the only answer and stays away; siblings live. Class G: the provider is down
    until the grace is over, so that nobody can do anything inside it."""
    graceful = index < len(GRACES_S)
    away_s = GRACES_S[index] * _BEYOND if graceful else 0.0
    provider = f"g-{GRACES_S[index]}" if graceful else random.choice(_PROVIDERS["S"])
    return {
        "group": "away",
        "moment": random.choice(_KEPT_ALONE),
        "provider": provider,
        "replicas": 3,
        "outage": "kill" if graceful else "",
        "outage_s": away_s,
        "restart_s": away_s + random.uniform(5, 40),
    }


def _case(random: Random, number: int, facts: dict[str, Any]) -> Case:
    made: dict[str, Any] = {
        "spool_destroyed": False,
        "restart_s": random.uniform(0, 2.0),
        "asks": random.random() < 0.5,
        "is_cold": facts["moment"] in _COLD or random.random() < 0.3,
        "asks_after": random.uniform(0, 1.1) if random.random() < 0.2 else 0.9,
        **facts,
    }
    return Case(number=number, **made)
