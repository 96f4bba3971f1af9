"""Whose fault it is: what one grant is told holds back no other, and consents hold back nobody."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.house import House, refused
from tests.support.refreshing import N, expired, grants, until
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, Served
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.sensitive import Sensitive
from vault_service.usecases.lanes import LaneView


@pytest.fixture
def house() -> House:
    return House()


def view(house: House) -> LaneView:
    (lane,) = house.outages.view()
    return lane


async def limited(house: House, *made: Grant, retry_after_s: float = 120.0) -> None:
    """The provider answers 429 for each of these."""
    house.endpoint.fail(AnswerClass.RATE_LIMITED, times=len(made), retry_after_s=retry_after_s)
    for grant in made:
        await refused(Reason.PROVIDER_RATE_LIMITED, house.token(grant.name))


async def test_one_users_429_is_that_users(house: House) -> None:
    """A Retry-After of a day for one grant holds back that grant, an hour at most, and no other."""
    first, second, *_ = await grants(house, 2, **N)
    await limited(house, first, retry_after_s=limits.RETRY_AFTER_MAX_S)
    for process in (house, House.beside(house)):
        error = await refused(Reason.PROVIDER_RATE_LIMITED, process.token(first.name))
        assert error.retry_after_s == pytest.approx(limits.RETRY_AFTER_MAX_S)
    assert (await house.token(second.name)).served is Served.REFRESHED
    assert (view(house).held_s, view(house).grants_held) == (0, 1)


async def test_the_429_of_two_grants_long_apart(house: House) -> None:
    """Two grants that are limited more than a minute apart say nothing of the OAuthClient."""
    first, second, third = await grants(house, 3, **N)
    await limited(house, first)
    house.clock.advance(limits.RATE_LIMITED_WINDOW_S + 1)
    await limited(house, second)
    assert (await house.token(third.name)).served is Served.REFRESHED


async def test_a_pause_that_the_provider_wants(house: House) -> None:
    """Retry-After over a second grant holds back the whole OAuthClient, in every process, for the
    smaller of the delays and at first for a minute."""
    first, second, third = await grants(house, 3, **N)
    await limited(house, first, retry_after_s=3_600.0)
    await limited(house, second, retry_after_s=120.0)
    for process in (house, House.beside(house)):
        error = await refused(Reason.PROVIDER_RATE_LIMITED, process.token(third.name))
        assert error.retry_after_s is not None
        assert 60 <= error.retry_after_s <= 65
    house.clock.advance(66)
    assert (await house.token(third.name)).served is Served.REFRESHED
    assert len(house.endpoint.ledger) == 3
    assert view(house).provider_opened == 0


async def test_one_goes_first_after_a_pause(house: House) -> None:
    """When the pause is over one request is sent and the others wait for its answer: told to pause
    again, the provider has not been sent a crowd, and the pause is longer."""
    made = await grants(house, 6, **N)
    await limited(house, made[5], made[0])
    house.clock.advance(67)
    held = house.endpoint.hold()
    house.endpoint.fail(AnswerClass.RATE_LIMITED, retry_after_s=120.0)
    first = asyncio.create_task(house.token(made[1].name))
    await until(house, 3)
    for grant in made[2:5]:
        error = await refused(Reason.PROVIDER_RATE_LIMITED, house.token(grant.name))
        assert error.retry_after_s == limits.RETRY_AFTER_S
    held.set()
    await refused(Reason.PROVIDER_RATE_LIMITED, first)
    error = await refused(Reason.PROVIDER_RATE_LIMITED, house.token(made[2].name))
    assert error.retry_after_s is not None
    assert 120 <= error.retry_after_s <= 125
    house.clock.advance(126)
    assert (await house.token(made[2].name)).served is Served.REFRESHED
    await asyncio.gather(*(house.token(grant.name) for grant in made[3:5]))
    assert len(house.endpoint.ledger) == 6


async def test_dead_users_do_not_stop_a_healthy_one(house: House) -> None:
    """Fifteen grants that get an unlisted refusal hold back themselves, for longer each time; a
    healthy one at the same OAuthClient is served throughout."""
    healthy, *dead = await grants(house, 16, **N)
    body = Sensitive(b'{"error": "invalid_token"}')
    unlisted = HttpAnswer(401, "application/json", body, None)
    served = []
    for _ in range(20):
        house.change_row(healthy, access_expire_time=house.clock.now())
        served.append((await house.token(healthy.name)).served)
        for grant in dead:
            house.endpoint.answers.append(unlisted)
            posts = len(house.endpoint.ledger)
            await refused(Reason.CLIENT_MISCONFIGURED, house.token(grant.name))
            if len(house.endpoint.ledger) == posts:
                house.endpoint.answers.clear()
        house.clock.advance(1.2)
    assert served == [Served.REFRESHED] * 20
    assert view(house).client_opened == 0
    assert len(house.endpoint.ledger) <= 20 + 15 * 6  # not 15 each time


async def test_hanging_users_leave_places(house: House) -> None:
    """Grants whose requests hang hold all places until others have succeeded meanwhile; from then
    on half of them at most, whoever waits for those grants, and a healthy one is sent at once."""
    healthy, *dead = await grants(house, 5, refresh_parallel_max=4, **N)
    house.endpoint.fail(AnswerClass.IN_DOUBT, times=len(dead))
    first = [asyncio.create_task(house.token(grant.name)) for grant in dead]
    await asyncio.gather(*first, return_exceptions=True)
    house.clock.advance(5)
    assert (await house.token(healthy.name)).served is Served.REFRESHED
    house.clock.advance(30)
    posts = len(house.endpoint.ledger)
    held = house.endpoint.hold()
    hanging = [asyncio.create_task(house.token(grant.name)) for grant in dead]
    await until(house, posts + 2)
    hanging.append(asyncio.create_task(house.token(dead[3].name)))  # it hurries nobody
    house.change_row(healthy, access_expire_time=house.clock.now())
    asked = asyncio.create_task(house.token(healthy.name))
    await until(house, posts + 3)
    assert view(house).inside == 3
    held.set()
    assert (await asked).served is Served.REFRESHED
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_two_limited_users_hold_nobody_for_ever(house: House) -> None:
    """Where a third grant succeeds right after the hold that two grants led to, their limits are
    their own: it is not held again because of them."""
    first, second, third = await grants(house, 3, **N)
    await limited(house, first, second, retry_after_s=2.0)
    await refused(Reason.PROVIDER_RATE_LIMITED, house.token(third.name))
    served: list[Served] = []
    for _ in range(10):
        house.clock.advance(2.5)
        house.change_row(third, access_expire_time=house.clock.now())
        if not served:
            # The hold is over, and those that led to it do not go first.
            for grant in (first, second):
                await refused(Reason.PROVIDER_RATE_LIMITED, house.token(grant.name))
            assert len(house.endpoint.ledger) == 2
        served.append((await house.token(third.name)).served)
        await limited(house, first, second, retry_after_s=2.0)
    assert served == [Served.REFRESHED] * 10
    house.clock.advance(2.5)
    assert (await house.token(first.name)).served is Served.REFRESHED


async def test_a_limited_user_is_told_when_it_may_go(house: House) -> None:
    """Where nobody else asks after a hold, those that led to it are told how long others go first,
    and the one that comes back then is served."""
    first, second = await grants(house, 2, **N)
    await limited(house, first, second, retry_after_s=2.0)
    house.clock.advance(2.5)
    error = await refused(Reason.PROVIDER_RATE_LIMITED, house.token(first.name))
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= limits.BREAKER_FRESH_S
    house.clock.advance(error.retry_after_s)
    assert (await house.token(first.name)).served is Served.REFRESHED


async def test_hanging_consents_leave_refreshes_alone(house: House) -> None:
    """While 289 exchanges of one OAuthClient hang, its own refreshes and those of another tenant
    are sent at once; of the exchanges eight are under way, and those beyond the queue are told."""
    grant = await expired(house, refresh_parallel_max=2, **N)
    (client,) = house.stores.tables.oauth_clients.values()
    (provider,) = house.stores.tables.providers.values()
    outages = house.outages
    hanging = [
        asyncio.create_task(outages.consent(client, provider, number)) for number in range(289)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    faults = [task.exception() for task in hanging if task.done()]
    told = [fault.reason for fault in faults if isinstance(fault, VaultError)]
    assert set(told) == {Reason.OVERLOADED}
    assert len(told) == 289 - limits.CONSENT_PARALLEL_MAX - limits.CONSENT_QUEUE_MAX
    assert outages.consents.inside == limits.CONSENT_PARALLEL_MAX
    assert (await house.token(grant.name)).served is Served.REFRESHED
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
