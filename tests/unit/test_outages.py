"""What a process does about a provider that is down, slow or full: before the lease, and said."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.support.house import CLIENT, PROVIDER, TENANT, House, refused
from tests.support.refreshing import N, down, expired, grants, until
from tests.support.samples import a_profile
from vault_service.domain import limits
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.breaker import BreakerState
from vault_service.domain.errors import Reason
from vault_service.domain.grant import GrantState, Served
from vault_service.domain.priority import Priority
from vault_service.domain.provider import RefreshClass
from vault_service.domain.sensitive import Sensitive
from vault_service.usecases.lanes import LaneView


@pytest.fixture
def house() -> House:
    return House()


def view(house: House) -> LaneView:
    (lane,) = house.outages.view()
    return lane


async def test_a_provider_that_is_down_is_not_asked(house: House) -> None:
    """With its breaker open a refresh is refused at once: no POST, no lease, no attempt, no slot;
    the refusal says when to come again."""
    *_, grant = await down(house)
    attempts = dict(house.stores.tables.attempts)
    error = await refused(Reason.PROVIDER_UNAVAILABLE, house.token(grant.name))
    assert error.retryable
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= limits.BREAKER_OPEN_MAX_S
    assert error.recorded == {"breaker": "OPEN"}
    assert house.endpoint.ledger == []
    assert house.stores.tables.attempts == attempts
    assert house.stores.tables.leases == {}
    assert not any(house.spool.folder.entries.values())
    assert (view(house).provider_state, view(house).client_state) == (
        BreakerState.OPEN,
        BreakerState.CLOSED,
    )


async def test_a_delay_that_is_nearly_over_is_worth_waiting_for(house: House) -> None:
    """A caller refused a billionth of a second before the pause ends is told to wait 0.05 s. Told
    to come at once, it asked ten thousand times in that moment."""
    *_, grant = await down(house)
    error = await refused(Reason.PROVIDER_UNAVAILABLE, house.token(grant.name))
    assert error.retry_after_s is not None
    house.clock.advance(error.retry_after_s - 1e-9)
    error = await refused(Reason.PROVIDER_UNAVAILABLE, house.token(grant.name))
    assert error.retry_after_s == limits.RETRY_AFTER_MIN_S


async def test_nothing_is_condemned_or_deleted(house: House) -> None:
    """An outage changes no grant, however often it is asked for."""
    made = await down(house)
    for _ in range(20):
        house.clock.advance(7)
        house.endpoint.fail(AnswerClass.NOT_SENT)
        for grant in made:
            await refused(Reason.PROVIDER_UNAVAILABLE, house.token(grant.name))
    rows = [await house.row(grant.name) for grant in made]
    assert {(row.state, row.generation) for row in rows} == {(GrantState.ACTIVE, 1)}
    assert [row.revision for row in rows] == [grant.revision for grant in made]


async def test_one_probe_and_then_all(house: House) -> None:
    """When the pause is over one request goes; while it is under way the others are refused, and
    after its success they go."""
    *_, first, second = await down(house)
    house.clock.advance(limits.BREAKER_OPEN_FIRST_S)
    held = house.endpoint.hold()
    probe = asyncio.create_task(house.token(second.name))
    await until(house, 1)
    error = await refused(Reason.PROVIDER_UNAVAILABLE, house.token(first.name))
    assert error.retry_after_s == limits.RETRY_AFTER_S
    held.set()
    assert (await probe).served is Served.REFRESHED
    house.clock.advance(limits.BACKOFF_FIRST_S)
    assert (await house.token(first.name)).served is Served.REFRESHED
    assert view(house).provider_state is BreakerState.CLOSED


@pytest.mark.parametrize("how", [AnswerClass.CLIENT_REFUSED, AnswerClass.REQUEST_REFUSED])
async def test_a_registration_that_is_refused(house: House, how: AnswerClass) -> None:
    """What is wrong with our registration opens the OAuthClient's breaker and not the provider's;
    its refusal is CLIENT_MISCONFIGURED."""
    *_, grant = await down(house, how)
    error = await refused(Reason.CLIENT_MISCONFIGURED, house.token(grant.name))
    assert error.recorded == {"breaker": "OPEN"}
    assert house.endpoint.ledger == []
    assert view(house).provider_state is BreakerState.CLOSED


@pytest.mark.parametrize("mended_by", ["credential", "client", "profile"])
async def test_a_change_counts_at_once(house: House, mended_by: str) -> None:
    """A credential that was added or replaced, or a profile that was put, ends the pause."""
    *_, grant = await down(house, AnswerClass.CLIENT_REFUSED)
    if mended_by == "credential":
        secret = Sensitive.from_text("the right one")
        await house.client_credentials.add(house.call(), CLIENT, secret)
    elif mended_by == "client":
        await house.register(**N)
    else:
        await house.providers.put(house.call(), PROVIDER, a_profile(**N))
    assert (await house.token(grant.name)).served is Served.REFRESHED


async def test_a_profile_put_anew_asks_a_provider_that_is_down(house: House) -> None:
    """An endpoint that was mended in the profile is tried at once."""
    *_, grant = await down(house)
    await house.providers.put(house.call(), PROVIDER, a_profile(**N))
    assert (await house.token(grant.name)).served is Served.REFRESHED


async def test_a_refused_grant_is_no_outage(house: House) -> None:
    """However many grants a provider refuses, it is up, and so is our registration."""
    made = await grants(house, 8, **N)
    house.endpoint.fail(AnswerClass.INVALID_GRANT, times=8)
    for grant in made:
        await refused(Reason.REAUTHORIZATION_REQUIRED, house.token(grant.name))
    assert not house.outages.is_down(made[0])


async def test_a_slow_provider_has_places(house: House) -> None:
    """No more requests than the profile says are under way; the others wait for theirs."""
    made = await grants(house, 5, refresh_parallel_max=2, **N)
    held = house.endpoint.hold()
    waiting = [asyncio.create_task(house.token(grant.name)) for grant in made]
    await until(house, 2)
    await asyncio.sleep(0.02)
    assert len(house.endpoint.ledger) == 2
    assert (view(house).inside, view(house).waiting[Priority.CALLER]) == (2, 3)
    assert len(house.stores.tables.leases) == 2
    held.set()
    await asyncio.gather(*waiting)
    assert (view(house).inside, len(house.endpoint.ledger)) == (0, 5)


async def test_waiting_costs_no_lease(house: House) -> None:
    """The time in the queue is not taken from the lease: a refresh that waited long is sent."""
    first, second = await grants(house, 2, refresh_parallel_max=1, **N)
    held = house.endpoint.hold()
    one = asyncio.create_task(house.token(first.name))
    await until(house, 1)
    other = asyncio.create_task(house.token(second.name, budget_s=120))
    await asyncio.sleep(0.01)
    house.clock.advance(limits.LEASE_MARGIN_S + 10)
    held.set()
    await asyncio.gather(one, other)
    assert len(house.endpoint.ledger) == 2


async def test_callers_overtake_background_work(house: House) -> None:
    """A grant that a caller comes to wait for goes first, also where the scheduler queued it."""
    made = await grants(house, 5, refresh_parallel_max=1, **N)
    rows = [await house.row(grant.name) for grant in made]
    held = house.endpoint.hold()
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(house.refresh(house.call(), rows[0]))]
    await until(house, 1)
    for row in rows[1:4]:
        ahead = house.refresh(house.call(), row, Priority.BACKGROUND)
        tasks.append(asyncio.create_task(ahead))
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(house.token(made[n].name)) for n in (4, 3)]
    await asyncio.sleep(0.01)
    held.set()
    await asyncio.gather(*tasks)
    order = [post.refresh_token for post in house.endpoint.posted("refresh")]
    assert order[0] == "rt-1"
    assert set(order[1:3]) == {"rt-4", "rt-5"}  # of which one was in the queue before
    assert order[3:] == ["rt-2", "rt-3"]


async def test_who_waits_for_a_lease_holds_no_place(house: House) -> None:
    """While another process refreshes a grant, its waiter here leaves its place to others."""
    first, second = await grants(house, 2, refresh_parallel_max=1, **N)
    other = House.beside(house)
    held = house.endpoint.hold()
    winner = asyncio.create_task(other.token(first.name))
    await until(house, 1)
    loser = asyncio.create_task(house.token(first.name))
    await asyncio.sleep(0.01)
    house.endpoint.gate = None
    assert (await house.token(second.name)).served is Served.REFRESHED
    held.set()
    await asyncio.gather(winner, loser)


async def test_failing_retries_are_few(house: House) -> None:
    """A provider that fails a third of all requests does not open its breaker, but what failed is
    tried again only as the budget for retries allows."""
    (grant, *others) = await grants(house, 3, **N)
    refusals = []
    for _ in range(30):
        for other in others:
            house.change_row(other, access_expire_time=house.clock.now())
            await house.token(other.name)
        house.endpoint.fail(AnswerClass.NOT_SENT)
        posts = len(house.endpoint.ledger)
        error = await refused(Reason.PROVIDER_UNAVAILABLE, house.token(grant.name))
        if len(house.endpoint.ledger) == posts:
            house.endpoint.answers.clear()
            refusals.append(error)
        house.stores.tables.upkeep.clear()  # without the grant's own pauses
    assert view(house).provider_opened == 0
    assert refusals
    assert all(error.recorded == {"retry_budget": "spent"} for error in refusals)
    assert view(house).retries_refused == len(refusals)


async def test_a_consent_is_never_held_back(house: House) -> None:
    """A code goes to a provider that is thought to be down; its success ends the outage."""
    *_, grant = await down(house)
    house.endpoint.subject = "sub-new"
    await house.consent("u-new")
    assert (await house.token(grant.name)).served is Served.REFRESHED


async def test_codes_do_not_open_a_breaker(house: House) -> None:
    """A caller with made-up codes cannot stop refreshes: what is refused over a code says nothing
    of our registration."""
    grant = await expired(house, **N)
    for number in range(10):
        started = await house.started(f"u-{number}")
        house.endpoint.fail(AnswerClass.REQUEST_REFUSED)
        callback = house.callback(started, owner=f"u-{number}")
        await refused(Reason.CLIENT_MISCONFIGURED, house.complete(house.call(), callback))
    assert (await house.token(grant.name)).served is Served.REFRESHED


async def test_recovery_waits_for_a_provider_that_is_down(house: House) -> None:
    """An attempt in doubt stays so while the breaker is open, without a request and without a
    lease, and is resolved when the provider is back."""
    made = await grants(house, 6, refresh_class=RefreshClass.S)
    house.endpoint.fail(AnswerClass.IN_DOUBT, times=5)
    for grant in made[:5]:
        await refused(Reason.REFRESH_IN_DOUBT, house.token(grant.name))
    house.clock.advance(limits.POST_LIMIT_S + limits.LEASE_MARGIN_S + 1)
    house.endpoint.fail(AnswerClass.NOT_SENT)
    posts = len(house.endpoint.ledger)
    await house.engine.recover(house.call())
    assert len(house.endpoint.ledger) == posts + 1  # the probe
    assert all(attempt.retries <= 1 for attempt in house.stores.tables.attempts.values())
    assert house.stores.tables.leases.keys() <= {made[0].grant_id}
    for _ in range(20):
        house.clock.advance(limits.IN_DOUBT_RETRY_S)
        await house.engine.recover(house.call())
    rows = [await house.row(grant.name) for grant in made[:5]]
    assert {(row.state, row.generation) for row in rows} == {(GrantState.ACTIVE, 2)}


async def test_kept_answers_need_no_provider(house: House) -> None:
    """An answer that the spool has is stored while the provider is down."""
    made = await grants(house, 6, refresh_class=RefreshClass.S)
    held = house.endpoint.hold()
    waiting = asyncio.create_task(house.token(made[5].name, budget_s=120))
    await until(house, 1)
    house.stores.unreachable = True
    held.set()
    await asyncio.sleep(0.01)
    house.clock.advance(limits.COMMIT_RETRY_S + 1)
    await refused(Reason.STORE_UNREACHABLE, waiting)
    house.stores.unreachable = False
    house.endpoint.fail(AnswerClass.NOT_SENT, times=5)
    for grant in made[:5]:
        await refused(Reason.PROVIDER_UNAVAILABLE, house.token(grant.name))
    posts = len(house.endpoint.ledger)
    await house.engine.recover(house.call())
    assert (await house.row(made[5].name)).generation == 2
    assert len(house.endpoint.ledger) == posts


async def test_what_is_known_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many OAuthClients the one that was asked longest ago is forgotten."""
    monkeypatch.setattr(limits, "OUTAGE_LANES_MAX", 3)
    await house.grant(**N)
    (known,) = house.stores.tables.oauth_clients.values()
    (provider,) = house.stores.tables.providers.values()
    for number in range(5):
        name = type(known.name)(TENANT, f"c-{number}")
        (await house.outages.consent(replace(known, name=name), provider, "k")).give_back()
    assert [lane.client.oauth_client for lane in house.outages.view()] == ["c-2", "c-3", "c-4"]


async def test_what_was_prepared_before_a_change(house: House) -> None:
    """A profile that was put resets every OAuthClient of its provider, each with its own next
    request; a refresh that was prepared before and comes late resets nothing."""
    *_, grant = await down(house, AnswerClass.CLIENT_REFUSED)
    (known,) = house.stores.tables.oauth_clients.values()
    (provider,) = house.stores.tables.providers.values()
    newer = replace(provider, revision=provider.revision + 1)
    other = replace(known, name=type(known.name)(TENANT, "other"))
    await house.outages.consent(other, newer, "k")
    assert house.outages.is_down(grant)
    await house.outages.consent(known, newer, "k")
    assert not house.outages.is_down(grant)
    for _ in range(limits.BREAKER_FAILURES_MIN):
        other_grant = replace(grant, grant_id=house.entropy.uuid7())
        permit = await house.outages.permit(known, newer, other_grant, Priority.CALLER)
        await permit.report(TokenEndpointError(AnswerClass.CLIENT_REFUSED))
    await house.outages.consent(known, provider, "k")
    assert house.outages.is_down(grant)
