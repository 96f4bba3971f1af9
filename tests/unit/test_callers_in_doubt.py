"""What callers of a grant in doubt get, and when: at once, and the truth."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.fakes.token_endpoint import an_answer
from tests.support.house import House, refused
from tests.support.refreshing import of_class
from tests.support.simulation import Down, multiply, simulated
from tests.support.virtual_time import LoopClock, run_virtual
from tests.unit.test_grace import sweep
from vault_service.domain import limits
from vault_service.domain.access import reply_reserve_s
from vault_service.domain.answers import AnswerClass
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, Served
from vault_service.domain.provider import RefreshClass

LEASE_S = limits.POST_LIMIT_S + limits.LEASE_MARGIN_S


async def _with_token(clock: LoopClock, life_s: int, **profile: Any) -> tuple[House, Grant]:
    house = House(clock=clock)
    house.endpoint.answers.append(an_answer("at-1", "rt-1", life_s=life_s))
    grant = await house.grant(**profile)
    house.endpoint.ledger.clear()
    return house, grant


@pytest.mark.parametrize("refresh_class", [RefreshClass.S, RefreshClass.G])
def test_a_rejected_token_that_lives_on(refresh_class: RefreshClass) -> None:
    """An API refused the token and the provider is at 503: every caller gets the token that lives,
    at once, in this process and in others."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 3_600, **of_class(refresh_class))
        token = await house.token(grant.name)
        await house.report(house.call(), grant.name, token.fingerprint)
        house.endpoint.fail(AnswerClass.IN_DOUBT, 50)
        began = clock.monotonic()
        for each in [house, house, House.beside(house), *[house] * 5]:
            served = (await each.token(grant.name)).served
            assert served is Served.STALE_PROVIDER_DOWN
        assert clock.monotonic() - began < 0.2

    run_virtual(main)


def test_a_token_that_has_ended() -> None:
    """Callers are told at once that the refresh is in doubt, and when it is tried again."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 100)
        await asyncio.sleep(200)
        house.endpoint.fail(AnswerClass.IN_DOUBT)
        began = clock.monotonic()
        for each in (house, house, House.beside(house)):
            error = await refused(Reason.REFRESH_IN_DOUBT, each.token(grant.name))
            left_s = began + LEASE_S - clock.monotonic()
            assert error.retry_after_s == pytest.approx(left_s)
            await asyncio.sleep(6)
        await sweep(house, 10)
        assert (await house.token(grant.name)).served is Served.FRESH

    run_virtual(main)


PROVIDER_ASKS_S = 600.0


@pytest.mark.parametrize(
    ("profile", "asks_s", "longest_s"),
    [
        (of_class(RefreshClass.S), 40.0, limits.IN_DOUBT_RETRY_MAX_S),
        (of_class(RefreshClass.S), PROVIDER_ASKS_S, PROVIDER_ASKS_S),
        ({"refresh_class": RefreshClass.G, "grace_s": 3_000}, 30.0, limits.IN_DOUBT_RETRY_MAX_S),
        ({"refresh_class": RefreshClass.G, "grace_s": 60}, PROVIDER_ASKS_S, PROVIDER_ASKS_S),
    ],
)
def test_the_true_delay(profile: dict[str, Any], asks_s: float | None, longest_s: float) -> None:
    """Every caller is told when the provider is asked next, however far that is. The delay is not
    shorter, so nobody asks in vain, and it does not pass the end of a grace."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 100, **profile)
        sibling, told = House.beside(house), 0.0
        await asyncio.sleep(200)
        for _ in range(12):
            house.endpoint.fail(AnswerClass.IN_DOUBT, retry_after_s=asks_s)
            error = await refused(Reason.REFRESH_IN_DOUBT, house.refresh(house.call(), grant))
            assert error.retry_after_s is not None
            (attempt,) = house.stores.tables.attempts.values()
            lease_end = house.stores.tables.leases.get(grant.grant_id, (0, clock.now()))[1]
            due_s = (max(attempt.next_try_time, lease_end) - clock.now()).total_seconds()
            assert error.retry_after_s == pytest.approx(max(due_s, limits.RETRY_AFTER_S), abs=0.01)
            other = await refused(Reason.REFRESH_IN_DOUBT, sibling.token(grant.name))
            assert other.retry_after_s == pytest.approx(error.retry_after_s, abs=0.01)
            told = max(told, error.retry_after_s)
            await asyncio.sleep(error.retry_after_s + 0.01)
        assert told <= longest_s
        assert told > 20

    run_virtual(main)


def test_the_delay_while_a_provider_is_down() -> None:
    """Where the provider's first success ends the doubt nobody is told of minutes, however long the
    pause has grown: the token may be there long before it is over."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 100)
        sibling, pause_s = House.beside(house), 0.0
        await asyncio.sleep(200)
        house.endpoint.fail(AnswerClass.IN_DOUBT)
        await refused(Reason.REFRESH_IN_DOUBT, house.refresh(house.call(), grant))
        for _ in range(6):
            await asyncio.sleep(max(pause_s, LEASE_S))
            house.endpoint.fail(AnswerClass.IN_DOUBT)
            await house.engine.recover(house.call())
            (attempt,) = house.stores.tables.attempts.values()
            pause_s = (attempt.next_try_time - clock.now()).total_seconds()
            await asyncio.sleep(LEASE_S)
            for each in (house, sibling):
                error = await refused(Reason.REFRESH_IN_DOUBT, each.token(grant.name))
                assert error.retry_after_s is not None
                assert error.retry_after_s <= limits.OUTAGE_TOLD_MAX_S
        assert pause_s > 2 * limits.OUTAGE_TOLD_MAX_S

    run_virtual(main)


def test_the_delay_of_what_waits_for_a_person() -> None:
    """The caller that sent the request and callers that come later are told the same minute."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 100)
        await asyncio.sleep(200)
        house.endpoint.fail(AnswerClass.UNREADABLE_SUCCESS)
        for each in (house, house, House.beside(house)):
            error = await refused(Reason.REFRESH_IN_DOUBT, each.token(grant.name))
            assert error.retry_after_s == limits.WAIT_RETRY_AFTER_S

    run_virtual(main)


def test_who_waits_for_another_process_is_told() -> None:
    """The refresh of another process is waited for without polling: who waits has its tokens the
    moment they are there, and is told the moment that it is in doubt."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 100)
        sibling = House.beside(house)
        for doubtful in (False, True):
            await asyncio.sleep(200 if not doubtful else 4_000)
            if doubtful:
                house.endpoint.fail(AnswerClass.IN_DOUBT)
            gate = house.endpoint.hold()
            first = asyncio.create_task(_outcome(house, grant))
            await house.endpoint.arrived.wait()
            second = asyncio.create_task(_outcome(sibling, grant))
            await asyncio.sleep(5.3)
            gate.set()
            house.endpoint.gate = None
            moment = clock.monotonic()
            told = {await first, await second}
            assert clock.monotonic() == moment
            assert told == {"REFRESH_IN_DOUBT" if doubtful else "REFRESHED"}

    run_virtual(main)


async def _outcome(house: House, grant: Grant) -> str:
    try:
        return (await house.token(grant.name)).served.name
    except VaultError as error:
        return error.reason.name


def test_deleted_while_it_was_waited_for() -> None:
    """A caller that waited in vain is told what became of the grant meanwhile."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 100)
        sibling = House.beside(house)
        await asyncio.sleep(200)
        gate = house.endpoint.hold()
        waiting = [asyncio.create_task(_outcome(each, grant)) for each in (house, sibling)]
        await house.endpoint.arrived.wait()
        await asyncio.sleep(1)
        await sibling.delete(sibling.call(), grant.name)
        told = set(await asyncio.gather(*waiting))
        assert told <= {"GRANT_REVOKED", "GRANT_NOT_FOUND"}
        gate.set()

    run_virtual(main)


def test_the_reserve_is_a_share_of_what_the_caller_gave() -> None:
    """A twentieth, so that the reason arrives before the deadline: 20 ms at least, a second at
    most."""
    reserves = [reply_reserve_s(budget_s) for budget_s in (0.1, 2, 6, 120)]
    assert reserves == pytest.approx([0.02, 0.1, 0.3, 1.0])


def test_a_slow_refresh_is_told_in_time() -> None:
    """A caller with 6 s hears 0.3 s before its end that the refresh is under way."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 100)
        await asyncio.sleep(200)
        gate = house.endpoint.hold()
        began = clock.monotonic()
        call = house.call(budget_s=6.0)
        await refused(
            Reason.REFRESH_IN_PROGRESS, house.get_access_token(call, grant.name, None, frozenset())
        )
        assert clock.monotonic() - began == pytest.approx(5.7)
        gate.set()
        await asyncio.sleep(1)

    run_virtual(main)


def test_the_first_success_releases_what_is_in_doubt() -> None:
    """After an outage of four minutes, in which pauses have grown to minutes, the provider's first
    success to anybody has the doubtful grants of all replicas asked for, a few at a time."""

    async def main(clock: LoopClock) -> None:
        provider, (house, sibling), grant = await simulated(clock, 2)
        made = await multiply(house, grant, 30, left_s=0.0)
        (another,) = await multiply(house, grant, 1, left_s=0.0)
        provider.down = Down.ANSWERS_503
        calls = (house.refresh(house.call(), each) for each in made)
        sweeps = [asyncio.create_task(sweep(each, 500)) for each in (house, sibling)]
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(240)
        attempts = house.stores.tables.attempts
        for attempt_id, attempt in attempts.items():
            grown = clock.now() + timedelta(seconds=limits.IN_DOUBT_RETRY_MAX_S)
            attempts[attempt_id] = replace(attempt, next_try_time=grown)
        doubtful = [attempt.grant for attempt in attempts.values()]
        assert len(doubtful) > 10
        provider.down, well = None, clock.monotonic()
        while (await house.row(another.name)).generation == 1:
            call = sibling.refresh(sibling.call(), another)
            await asyncio.gather(call, return_exceptions=True)
            await asyncio.sleep(1)
        for name in doubtful:
            while (await house.row(name)).generation == 1:
                await asyncio.sleep(0.25)
        # A lease of what was tried a moment before runs out first, and a breaker has its probe.
        assert clock.monotonic() - well < LEASE_S + limits.BREAKER_OPEN_MAX_S + 5
        assert provider.most_within(1.0) <= 2 * limits.RELEASE_BATCH_MAX
        for task in sweeps:
            task.cancel()

    run_virtual(main)
