"""Moments and slots of background refreshes."""

from __future__ import annotations

import itertools
import statistics
import uuid
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from vault_service.domain import limits
from vault_service.domain.pacing import Plan, Wanted, gap_of, share_out
from vault_service.domain.schedule import ahead_time, keep_alive_time

START = datetime(2026, 1, 1, tzinfo=UTC)
NEVER = datetime.min.replace(tzinfo=UTC)

lives = st.integers(0, limits.TOKEN_LIFE_MAX_S)
generations = st.integers(0, 2**62)


def _after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@given(lives, st.uuids(), generations)
def test_ahead_of_the_end(life_s: int, grant_id: uuid.UUID, generation: int) -> None:
    """Always between 70 and 90 % of the life, and the same in every replica."""
    end = _after(life_s)
    moment = ahead_time(end, life_s, grant_id, generation)
    assert moment == ahead_time(end, life_s, uuid.UUID(str(grant_id)), generation)
    slack = timedelta(microseconds=2)
    assert _after(life_s * 0.7) - slack <= moment <= _after(life_s * 0.9) + slack


@given(st.integers(1, limits.IDLE_MAX_S), st.uuids(), generations)
def test_alive_before_the_idle_end(max_idle_s: int, grant_id: uuid.UUID, generation: int) -> None:
    """Always between 75 and 85 % of the idle life."""
    moment = keep_alive_time(START, max_idle_s, grant_id, generation)
    slack = timedelta(microseconds=2)
    assert _after(max_idle_s * 0.75) - slack <= moment <= _after(max_idle_s * 0.85) + slack


@given(st.integers(1, 1_000_000))
@settings(max_examples=10)
def test_a_herd_is_spread_evenly(first: int) -> None:
    """Tokens of one second fill the fifth of their life without a heap in it, also where ids
    follow each other."""
    ids = [uuid.UUID(int=first + number) for number in range(2_000)]
    end = _after(3_600)
    left = [(end - ahead_time(end, 3_600, grant_id, 1)).total_seconds() for grant_id in ids]
    counts = [sum(360 + 72 * i <= one < 432 + 72 * i for one in left) for i in range(10)]
    assert min(counts) > 120
    assert max(counts) < 290
    assert 690 < statistics.median(left) < 750


wanted = st.builds(
    Wanted,
    planned=st.booleans(),
    latest=st.none() | st.floats(0, 120).map(_after),
)
ticks = st.lists(
    st.tuples(
        st.floats(0, 5),  # since the tick before
        st.lists(wanted, max_size=30),
        st.integers(0, 40),  # places
    ),
    max_size=12,
)


@given(ticks, st.floats(0.001, 3))
def test_slots(given_ticks: list[tuple[float, list[Wanted], int]], gap_s: float) -> None:
    """Over all ticks, no two requests start and no two new rows come due closer than the gap;
    every row has exactly one answer, within places, horizon and its own end."""
    plan, elapsed_s, gap = Plan(NEVER, NEVER), 0.0, timedelta(seconds=gap_s)
    started: list[datetime] = []
    for since_s, rows, places in given_ticks:
        elapsed_s += since_s
        now = _after(elapsed_s)
        horizon = now + timedelta(seconds=limits.SCHEDULER_HORIZON_S)
        slots = share_out(now, plan, rows, gap, places)
        assert sorted([*slots.run, *slots.later, *slots.left]) == list(range(len(rows)))
        assert len(slots.run) <= places
        assert all(now <= moment <= horizon for moment in slots.run.values())
        assert all(moment >= horizon for moment in slots.later.values())
        later = list(slots.later.values())
        assert all(b - a >= gap for a, b in itertools.pairwise(later))
        for position, at in (slots.run | slots.later).items():
            latest = rows[position].latest
            if latest is not None:
                assert at <= max(latest, horizon)
        started += slots.run.values()
        plan = slots.plan
    ordered = sorted(started)
    assert ordered == started
    assert all(b - a >= gap for a, b in itertools.pairwise(ordered))


@given(st.integers(0, limits.RATE_MAX), st.integers(0, limits.RATE_MAX), st.floats(0.1, 10_000))
def test_half_of_the_budget(per_s: int, per_min: int, assumed: float) -> None:
    """Background requests at this distance take no more than half of either budget."""
    gap = gap_of(per_s, per_min, assumed)
    # The microsecond that a timedelta rounds to.
    seconds = gap.total_seconds() + 1e-6
    if per_s:
        assert 1 / seconds <= per_s / 2
    if per_min:
        assert 60 / seconds <= per_min / 2
    if not per_s and not per_min:
        assert 1 / seconds <= assumed
    if per_s >= 8:
        # What comes late, as late as it may, is within the budget of every second too.
        assert (1 + limits.SCHEDULER_LATE_S) / seconds + 1 <= per_s


def test_a_herd_is_planned_once() -> None:
    """Ten thousand rows due at once get a slot each in one pass, and each comes due when it may
    run: nothing is planned a second time."""
    gap, plan, now = timedelta(seconds=0.02), Plan(NEVER, NEVER), START
    herd = [Wanted(False, None)] * 10_000
    slots = share_out(now, plan, herd, gap, 50)
    assert len(slots.run) == 50
    due = sorted(slots.later.values())
    plan, ran = slots.plan, len(slots.run)
    while due:
        now += timedelta(seconds=1)
        coming = [moment for moment in due if moment <= now]
        due = due[len(coming) :]
        slots = share_out(now, plan, [Wanted(True, None)] * len(coming), gap, 100)
        assert not slots.later
        plan, ran = slots.plan, ran + len(slots.run)
    assert ran == 10_000
    assert now - START <= timedelta(seconds=202)
