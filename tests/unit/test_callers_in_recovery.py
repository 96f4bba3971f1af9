"""What callers get who come while recovery is at work on their grant."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.house import House, refused
from tests.support.refreshing import of_class
from tests.support.simulation import multiply
from tests.support.virtual_time import LoopClock, run_virtual
from tests.unit.test_callers_in_doubt import LEASE_S, _outcome, _with_token
from tests.unit.test_grace import sweep
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.provider import RefreshClass
from vault_service.domain.refresh_times import RefreshTimes


@pytest.mark.parametrize("refresh_class", [RefreshClass.S, RefreshClass.G])
@pytest.mark.parametrize("lives", [True, False])
def test_who_joins_recovery_is_told(refresh_class: RefreshClass, lives: bool) -> None:
    """While recovery presents the token again, every caller in its process and in others hears of
    the doubt in a moment: the token that lives, or when to ask again. In its process that is soon,
    since the answer is seen there first; in others it is when the lease of that request ends."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 3_600 if lives else 100, **of_class(refresh_class))
        if lives:
            token = await house.token(grant.name)
            await house.report(house.call(), grant.name, token.fingerprint)
        else:
            await asyncio.sleep(200)
        house.endpoint.fail(AnswerClass.IN_DOUBT)
        await _outcome(house, grant)
        gate = house.endpoint.hold()
        recovery = asyncio.create_task(sweep(house, 60))
        await house.endpoint.arrived.wait()
        (attempt,) = house.stores.tables.attempts.values()
        lease_s = RefreshTimes().for_attempt(attempt).lease_s
        began = clock.monotonic()
        for each in (house, House.beside(house)):
            told = await _told(each, grant)
            assert clock.monotonic() - began <= limits.DOUBT_PATIENCE_S
            told_s = min(lease_s, limits.IN_DOUBT_RETRY_S) if each is house else lease_s - 1.0
            assert told == ("STALE_PROVIDER_DOWN" if lives else pytest.approx(told_s, abs=0.6))
        await asyncio.sleep(1.0)
        if not lives:
            assert await _told(house, grant) == min(lease_s, limits.IN_DOUBT_RETRY_S)
        gate.set()
        await recovery
        assert (await house.row(grant.name)).generation == 2

    run_virtual(main)


def test_who_joins_a_recovery_that_is_answered_has_its_tokens() -> None:
    """Where the provider answers recovery as fast as providers do, all who came have the tokens."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 100)
        await asyncio.sleep(200)
        house.endpoint.fail(AnswerClass.IN_DOUBT)
        await _outcome(house, grant)
        gate = house.endpoint.hold()
        recovery = asyncio.create_task(sweep(house, 60))
        await house.endpoint.arrived.wait()
        joined = [asyncio.create_task(_outcome(house, grant)) for _ in range(3)]
        await asyncio.sleep(0.9)
        gate.set()
        assert await asyncio.gather(*joined) == ["REFRESHED"] * 3
        await recovery

    run_virtual(main)


def test_who_waited_for_recovery_before_it_asked_is_told() -> None:
    """Recovery that waits for a place at a slow provider lets nobody wait with it."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 100, refresh_parallel_max=1)
        await asyncio.sleep(200)
        house.endpoint.fail(AnswerClass.IN_DOUBT)
        await _outcome(house, grant)
        (another,) = await multiply(house, grant, 1, left_s=0.0)
        gate = house.endpoint.hold()
        first = asyncio.create_task(_outcome(house, another))
        await house.endpoint.arrived.wait()
        recovery = asyncio.create_task(sweep(house, 60))
        key = ("refresh", grant.tenant, grant.grant_id)
        while not house.flights.holds(key):
            await asyncio.sleep(0.25)
        began = clock.monotonic()
        await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
        assert clock.monotonic() - began <= limits.DOUBT_PATIENCE_S
        gate.set()
        await asyncio.gather(first, recovery)
        assert (await house.row(grant.name)).generation == 2

    run_virtual(main)


def test_who_began_the_retry_has_its_tokens() -> None:
    """A caller that finds an attempt whose time has come asks the provider, and waits for it."""

    async def main(clock: LoopClock) -> None:
        house, grant = await _with_token(clock, 100)
        await asyncio.sleep(200)
        house.endpoint.fail(AnswerClass.IN_DOUBT)
        await _outcome(house, grant)
        await asyncio.sleep(LEASE_S + 1)
        gate = house.endpoint.hold()
        first = asyncio.create_task(_outcome(house, grant))
        await house.endpoint.arrived.wait()
        assert await _outcome(house, grant) == "REFRESH_IN_DOUBT"
        gate.set()
        assert await first == "REFRESHED"

    run_virtual(main)


async def _told(house: House, grant: Grant) -> str | float:
    try:
        return (await house.token(grant.name)).served.name
    except VaultError as error:
        in_doubt = error.reason is Reason.REFRESH_IN_DOUBT
        return error.retry_after_s or 0.0 if in_doubt else error.reason.name
