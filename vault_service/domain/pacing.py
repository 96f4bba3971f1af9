"""How refreshes in the background share one OAuthClient's rate budget: each has a slot of its own.

One plan for an OAuthClient over all replicas. Rows that find no slot now get a later one and come
due again then, so that a herd is looked at twice and not in every tick; what starts late, because
the process or the provider was away, still keeps the distance between two requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vault_service.domain import limits


@dataclass(frozen=True, slots=True)
class Plan:
    """The earliest moments that are not given away yet."""

    run_until: datetime  # to requests that were started
    planned_until: datetime  # to rows that will come due


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row that wants a slot. After ``latest`` it wants none."""

    planned: bool
    latest: datetime | None


@dataclass(frozen=True, slots=True)
class Slots:
    """Positions in what was wanted: ``run`` soon at a moment, ``later`` due at a moment, and
    ``left``, for which no slot comes in time."""

    run: dict[int, datetime]
    later: dict[int, datetime]
    left: list[int]
    plan: Plan


def share_out(
    now: datetime,
    plan: Plan,
    wanted: Sequence[Wanted],
    gap: timedelta,
    run_max: int,
) -> Slots:
    """Slots at least ``gap`` apart, also from those of earlier calls; at most ``run_max`` run,
    all within ``limits.SCHEDULER_HORIZON_S``."""
    horizon = now + timedelta(seconds=limits.SCHEDULER_HORIZON_S)
    run_next, plan_next = max(now, plan.run_until), max(now, plan.planned_until)
    slots = Slots({}, {}, [], plan)
    for position, one in enumerate(wanted):
        may_run = run_next <= horizon and len(slots.run) < run_max
        if one.planned and may_run:
            # Its slot has come: it goes before all that have none yet.
            slots.run[position] = run_next
            run_next += gap
            continue
        # One that missed its slot goes to the end: of a herd that cannot be done in time it does
        # not matter which are done, but each is to be looked at as seldom as can be.
        slot = max(run_next, plan_next)
        if one.latest is not None and slot > one.latest:
            slots.left.append(position)
        elif may_run and slot <= horizon:
            slots.run[position] = slot
            run_next = plan_next = slot + gap
        else:
            slots.later[position] = max(slot, horizon)
            plan_next = slots.later[position] + gap
    return Slots(slots.run, slots.later, slots.left, Plan(run_next, plan_next))


def gap_of(rate_per_s: int, rate_per_min: int, assumed_per_s: float) -> timedelta:
    """The distance of background requests: they have ``limits.BACKGROUND_SHARE`` of the provider's
    budget, and where none is known, the whole of what the operator assumes."""
    share = limits.BACKGROUND_SHARE
    gaps = [1.0 / (rate_per_s * share)] if rate_per_s else []
    gaps += [60.0 / (rate_per_min * share)] if rate_per_min else []
    return timedelta(seconds=max(gaps, default=1.0 / assumed_per_s))
