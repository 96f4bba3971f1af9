"""Class G at the times that ship: inside its grace, at its end, and past it. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.support.crashes import Crash, restarted
from tests.support.house import PROVIDER, House, refused
from tests.support.simulation import Down, SimulatedProvider, multiply, simulated
from tests.support.virtual_time import LoopClock, run_virtual
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.attempt import AttemptState
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, GrantState, ReauthorizationCause
from vault_service.domain.provider import RefreshClass
from vault_service.domain.refresh_times import RefreshTimes

GRACES = [4, 5, 10, 30, 60, 600]


def graceful(grace_s: int) -> dict[str, Any]:
    """A profile of class G."""
    return {"refresh_class": RefreshClass.G, "grace_s": grace_s}


async def sweep(house: House, for_s: float) -> None:
    """What the worker of a process does for so long."""
    until = house.clock.monotonic() + for_s
    while house.clock.monotonic() < until:
        await house.engine.recover(house.call(budget_s=limits.ATTEMPT_SWEEP_S))
        await asyncio.sleep(limits.ATTEMPT_SWEEP_S)


async def _expired(clock: LoopClock, **profile: Any) -> tuple[House, Grant]:
    house = House(clock=clock)
    grant = await house.grant(**profile)
    await asyncio.sleep(3_600)
    house.endpoint.ledger.clear()
    return house, grant


async def _holds(house: House, grant: Grant) -> str:
    row = await house.row(grant.name)
    assert row.refresh_envelope is not None
    return (await house.envelopes.open(row.refresh_binding(), row.refresh_envelope)).reveal_text()


def _presented(house: House) -> int:
    return len(house.endpoint.posted("refresh"))


@pytest.mark.parametrize("grace_s", GRACES)
def test_recovery_begins_in_a_third_of_the_grace(grace_s: int) -> None:
    """A process that died with the answer in its hands leaves another one time to ask again."""

    async def main(clock: LoopClock) -> float:
        house, grant = await _expired(clock, **graceful(grace_s))
        sibling = House.beside(house)
        began = clock.monotonic()
        await Crash(house, "answered").refresh(grant)
        sweeping = asyncio.create_task(sweep(sibling, grace_s))
        while _presented(house) < 2:
            await asyncio.sleep(0.01)
        took_s = clock.monotonic() - began
        await sweeping
        assert (await house.row(grant.name)).generation == 2
        return took_s

    assert run_virtual(main) <= grace_s / 3 + 0.02


@pytest.mark.parametrize("grace_s", [4, 30, 60, 99, 100, 1_800])
def test_a_lease_is_a_part_of_the_grace(grace_s: int) -> None:
    """The lease of class G is at most a third of its grace, and no longer than any other's; its
    request ends inside it."""
    times = RefreshTimes().for_class(RefreshClass.G, grace_s)
    assert times.lease_s <= min(25.0, grace_s / 3)
    assert 0 < times.post_limit_s < times.lease_s
    assert times.answer_limit_s == times.post_limit_s


def test_all_times_scale_by_one_factor() -> None:
    """With every time and the grace smaller by one factor, all of a grant's times are."""
    scale = 0.2
    scaled = RefreshTimes(4.0, 1.0, 12.0, answer_limit_s=60.0, grace_lease_min_s=0.2)
    for grace_s in (3, 4, 30, 60, 600):
        shipped = RefreshTimes().for_class(RefreshClass.G, grace_s)
        small = scaled.for_class(RefreshClass.G, grace_s * scale)
        assert small.lease_s == pytest.approx(shipped.lease_s * scale)
        assert small.answer_limit_s == pytest.approx(shipped.answer_limit_s * scale)


def test_a_grace_too_short_is_refused() -> None:
    """``put_provider`` says that class G needs a grace in which a lost answer can be found out."""

    async def main(clock: LoopClock) -> VaultError:
        house = House(clock=clock)
        await house.register(**graceful(limits.GRACE_MIN_S))
        return await refused(
            Reason.FIELD_MALFORMED, house.register(**graceful(limits.GRACE_MIN_S - 1))
        )

    error = run_virtual(main)
    assert error.metadata == {"field": "grace_s"}
    assert "class S" in error.message


def test_a_grace_too_short_of_an_older_release_is_class_s() -> None:
    """A stored profile with such a grace is class S in everything: its attempt waits for the spool
    of the process that asked."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _expired(clock)
        stored = house.stores.tables.providers[PROVIDER]
        profile = replace(stored.profile, **graceful(2))
        house.stores.tables.providers[PROVIDER] = replace(stored, profile=profile)
        await Crash(house, "stored").refresh(grant)
        (attempt,) = house.stores.tables.attempts.values()
        assert attempt.refresh_class is RefreshClass.S
        await sweep(House.beside(house), 60)
        assert _presented(house) == 1
        await sweep(restarted(house), 1)
        assert await _holds(house, grant) == "rt-2"
        assert _presented(house) == 1

    run_virtual(main)


async def _outage(
    clock: LoopClock, how: Down, grace_s: int, count: int
) -> tuple[SimulatedProvider, Sequence[float]]:
    """Healthy again at 46 of 60 parts of the grace; when each grant got its tokens."""
    provider, (house, sibling), grant = await simulated(clock, 2, **graceful(grace_s))
    made = await multiply(house, grant, count, left_s=0.0)
    began = clock.monotonic()
    # The first request is in doubt, whatever comes then.
    provider.down = how if how is Down.HANGS else Down.ANSWERS_503
    calls = (house.refresh(house.call(budget_s=grace_s), one) for one in made)
    asking = asyncio.gather(*calls, return_exceptions=True)
    sweeps = [asyncio.create_task(sweep(one, grace_s)) for one in (house, sibling)]
    await asyncio.sleep(1.0)
    provider.down = how
    await asyncio.sleep(46 / 60 * grace_s - 1.0)
    provider.down = None
    moments = []
    for one in made:
        while (await house.row(one.name)).generation == 1 and clock.monotonic() < began + grace_s:
            await asyncio.sleep(0.05)
        moments.append(clock.monotonic() - began)
    await asyncio.gather(*sweeps)
    await asking
    generations = [(await house.row(one.name)).generation for one in made]
    assert generations == [2] * count
    return provider, moments


@pytest.mark.parametrize("how", list(Down))
@pytest.mark.parametrize(("grace_s", "count"), [(10, 1), (30, 1), (60, 1), (60, 16), (600, 1)])
def test_an_outage_inside_the_grace(how: Down, grace_s: int, count: int) -> None:
    """A provider that is well again at 46 of 60 s is asked before the grace ends, whatever pause it
    asked for and whether or not its breaker is open, and by few requests."""

    async def main(clock: LoopClock) -> None:
        provider, moments = await _outage(clock, how, grace_s, count)
        assert max(moments) < grace_s
        assert len(provider.times) <= count * 60

    run_virtual(main)


def test_past_its_grace_it_waits_for_the_spool() -> None:
    """The answer lies in the dead replica's spool, and the grace is over: no other process presents
    the predecessor, and the spool's return brings the tokens."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _expired(clock, **graceful(10))
        await Crash(house, "stored").refresh(grant)
        await asyncio.sleep(10)
        await sweep(House.beside(house), 300)
        assert _presented(house) == 1
        await sweep(restarted(house), 1)
        assert await _holds(house, grant) == "rt-2"
        assert (_presented(house), (await house.row(grant.name)).state) == (1, GrantState.ACTIVE)

    run_virtual(main)


def test_taken_over_inside_the_grace_and_not_ended_there() -> None:
    """A sibling that asked in vain inside the grace still waits past it for the spool of the
    process that asked before."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _expired(clock, **graceful(12))
        await Crash(house, "stored").refresh(grant)
        sibling = House.beside(house)
        house.endpoint.fail(AnswerClass.IN_DOUBT, 100)
        await sweep(sibling, 20)
        tried = _presented(house)
        assert tried > 2
        house.endpoint.answers.clear()
        await sweep(sibling, 200)
        assert _presented(house) == tried
        await sweep(restarted(house), 1)
        assert await _holds(house, grant) == "rt-2"
        assert _presented(house) == tried

    run_virtual(main)


def test_a_refusal_past_the_grace_tells_the_true_cause() -> None:
    """Where the spool is gone for good it is asked once more; refused and refused again, the
    successor is lost, and nobody says that the owner revoked it."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _expired(clock, **graceful(10))
        await Crash(house, "answered").refresh(grant)
        await asyncio.sleep(10)
        house.endpoint.fail(AnswerClass.INVALID_GRANT, 9, status=400, error="invalid_grant")
        await sweep(House.beside(house), limits.SPOOL_WAIT_S + limits.CONFIRM_AFTER_S + 60)
        row = await house.row(grant.name)
        assert row.cause is ReauthorizationCause.SUCCESSOR_LOST
        (attempt,) = house.stores.tables.attempts.values()
        assert attempt.state is AttemptState.RESOLVED_LOST

    run_virtual(main)
