"""The tick: what is due is refreshed, callers before it, and nothing twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.fakes.budgets import FakeRateBudget
from tests.fakes.upkeep import FakeUpkeep
from tests.support.house import TENANT, House, refused
from tests.support.refreshing import until
from vault_service.domain import limits
from vault_service.domain.access import Call, Caller
from vault_service.domain.answers import AnswerClass
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.grant import Grant, GrantState
from vault_service.domain.provider import RefreshClass
from vault_service.domain.schedule import Scheduling
from vault_service.ports.budgets import Taken
from vault_service.usecases.refresh_ahead import RefreshAhead
from vault_service.worker.scheduler import Scheduler

DAY_S = 86_400


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    async def everything(*asked: Any) -> Taken:
        return Taken(asked[-1])

    # What is planned under a budget is asked here; tests/unit/test_rate_permits.py asks the budget.
    monkeypatch.setattr(FakeRateBudget, "take", everything)
    return House()


async def _grants(house: House, count: int, **profile: Any) -> list[Grant]:
    """In use, and at 90 % of their tokens' life; the provider's ledger starts empty."""
    await house.register(**profile)
    grants = []
    for number in range(count):
        house.endpoint.subject = f"sub-{number}"
        grants.append((await house.consent(f"u-{number}")).grant)
    for grant in grants:
        await house.token(grant.name)
    await house.used_grants.write()
    house.clock.advance(3_600 * 0.91)
    house.endpoint.ledger.clear()
    return grants


def _call(house: House) -> Call:
    return Call(Caller("", ""), "worker/Scheduler", "r-9", "", house.clock.monotonic() + 120)


async def _ended(ahead: RefreshAhead) -> None:
    async with asyncio.timeout(10):
        while ahead.running:
            await asyncio.sleep(0.005)


async def _tick(house: House, ahead: RefreshAhead | None = None) -> bool:
    ahead = ahead or house.refresh_ahead
    more = await ahead(_call(house))
    await _ended(ahead)
    return more


def _upkeep(house: House, grant: Grant) -> FakeUpkeep:
    row = house.stores.tables.upkeep[grant.grant_id]
    assert isinstance(row, FakeUpkeep)
    return row


async def test_in_use_is_refreshed_before_its_end(house: House) -> None:
    """The next caller finds a new token without waiting; the records name the scheduler."""
    (grant,) = await _grants(house, 1)
    assert not await _tick(house)
    assert len(house.endpoint.posted("refresh")) == 1
    token = await house.token(grant.name)
    assert (token.value.reveal(), token.refreshed) == (b"at-2", False)
    refreshed = house.records(AuditAction.GRANT_REFRESHED)[-1]
    assert (refreshed.caller, refreshed.rpc) == ("", "worker/Scheduler")
    assert house.refresh_ahead.counts.refreshed == 1
    assert not await _tick(house)
    assert len(house.endpoint.ledger) == 1


async def test_unused_expires(house: House) -> None:
    """A grant that nobody used lately is not refreshed, and leaves the index."""
    grant = await house.grant()
    house.clock.advance(3_600)
    await _tick(house)
    assert house.endpoint.posted("refresh") == []
    assert _upkeep(house, grant).due_time is None
    assert house.refresh_ahead.counts.taken == 1


async def test_use_brings_it_back(house: House) -> None:
    """A grant that left the index is refreshed ahead again once it is used."""
    grant = await house.grant()
    house.clock.advance(3_000)
    await _tick(house)
    house.clock.advance(2_000)
    await house.token(grant.name)
    await house.used_grants.write()
    await _tick(house)
    house.clock.advance(3_600 * 0.91)
    await _tick(house)
    assert len(house.endpoint.posted("refresh")) == 2
    assert not (await house.token(grant.name)).refreshed


async def test_keep_alive(house: House) -> None:
    """A grant that is never used is refreshed in time before its refresh token dies unused."""
    grant = await house.grant(max_idle_s=100 * DAY_S)
    for _ in range(3):
        house.clock.advance(70 * DAY_S)
        await _tick(house)
        count = len(house.endpoint.posted("refresh"))
        house.clock.advance(16 * DAY_S)
        await _tick(house)
        assert len(house.endpoint.posted("refresh")) == count + 1
    assert (await house.row(grant.name)).generation == 4
    assert house.refresh_ahead.counts.warned == 0


async def test_expiring_soon(house: House) -> None:
    """A keep-alive that fails until a tenth of the idle life is left is told once."""
    grant = await house.grant(max_idle_s=100 * DAY_S, refresh_class=RefreshClass.N)
    house.endpoint.fail(AnswerClass.NOT_SENT, 100)
    for _ in range(30):
        house.clock.advance(DAY_S)
        await _tick(house)
    assert house.records(AuditAction.GRANT_EXPIRING_SOON) == []
    for _ in range(65):
        house.clock.advance(DAY_S)
        await _tick(house)
    (record,) = house.records(AuditAction.GRANT_EXPIRING_SOON)
    assert record.resource == str(grant.name)
    row = await house.row(grant.name)
    dies = row.create_time + timedelta(days=100)
    assert record.detail["expire_time"] == dies.isoformat()
    assert record.record_time is not None
    assert timedelta(days=8) <= dies - record.record_time <= timedelta(days=10)


async def test_expiring_soon_without_refresh_token(house: House) -> None:
    """A grant without a refresh token is told of once, near the end of its access token."""
    grant = await house.grant()
    house.change_row(grant, refresh_envelope=None)
    house.clock.advance(3_600 * 0.91)
    for _ in range(3):
        await _tick(house)
        house.clock.advance(120)
    assert len(house.records(AuditAction.GRANT_EXPIRING_SOON)) == 1
    assert house.endpoint.posted("refresh") == []


async def test_budget(house: House) -> None:
    """Requests start no closer than half of the provider's budget, and the rest gets slots."""
    await _grants(house, 12, rate_per_s=5)
    await house.refresh_ahead(_call(house))
    assert house.refresh_ahead.running == 6
    assert house.refresh_ahead.counts.put_off == 6
    due = [row.due_time for row in house.stores.tables.upkeep.values() if row.planned]
    waits = sorted((moment - house.clock.now()).total_seconds() for moment in due if moment)
    assert waits == pytest.approx([2.4, 2.8, 3.2, 3.6, 4.0, 4.4])
    await _ended(house.refresh_ahead)
    house.clock.advance(5)
    await _tick(house)
    assert len(house.endpoint.posted("refresh")) == 12


async def test_left_to_callers(house: House) -> None:
    """What the budget cannot do before its token ends is not queued behind its end."""
    grants = await _grants(house, 9, rate_per_min=2)
    house.clock.advance(3_600 * 0.06)  # 108 s are left, a slot a minute
    await _tick(house)
    assert house.refresh_ahead.counts.left_to_callers == 7
    assert len(house.endpoint.posted("refresh")) == 1
    house.clock.advance(200)
    await _tick(house)
    assert len(house.endpoint.posted("refresh")) == 1
    assert (await house.token(grants[-1].name)).refreshed


async def test_left_to_callers_and_kept_alive(house: House) -> None:
    """What was left is not looked at before its token's end, and is kept alive after it."""
    grants = await _grants(house, 3, rate_per_min=1, max_idle_s=4_400)
    house.clock.advance(3_600 * 0.07)  # 72 s are left, a slot every 120 s
    await _tick(house)
    assert house.refresh_ahead.counts.left_to_callers == 2
    rows = [await house.row(grant.name) for grant in grants]
    left = [row for row in rows if row.generation == 1]
    for row in left:
        due_time = _upkeep(house, row).due_time
        assert due_time is not None
        assert row.access_expire_time is not None
        assert due_time >= row.access_expire_time
    house.clock.advance(250)
    await _tick(house)
    assert house.refresh_ahead.counts.left_to_callers == 2
    assert house.refresh_ahead.counts.refreshed == 2
    assert sum(_upkeep(house, row).planned for row in left) == 1


async def test_callers_before_background(house: House) -> None:
    """While callers' refreshes are under way the background keeps one place; then it goes on."""
    grants = await _grants(house, 9)
    ahead = house.scheduler(Scheduling(parallel=4))
    held = house.endpoint.hold()
    callers = [asyncio.create_task(house.token(grant.name, 3_000)) for grant in grants[:5]]
    await until(house, 5)
    await ahead(_call(house))
    await asyncio.sleep(0.2)
    assert ahead.running == 4
    assert len(house.endpoint.ledger) == 6
    held.set()
    await asyncio.gather(*callers)
    for _ in range(9):
        house.clock.advance(1)
        await _tick(house, ahead)
    assert len(house.endpoint.posted("refresh")) == 9
    assert {(await house.row(grant.name)).generation for grant in grants} == {2}


async def test_callers_that_come_later_go_first(house: House) -> None:
    """Background work that has its slot but has not begun waits for callers that came since."""
    grants = await _grants(house, 9, rate_per_s=2)
    ahead = house.scheduler(Scheduling(parallel=4))
    await ahead(_call(house))
    assert ahead.running == 3
    held = house.endpoint.hold()
    free = [grant for grant in grants if _upkeep(house, grant).planned]
    callers = [asyncio.create_task(house.token(grant.name, 3_000)) for grant in free]
    assert len(free) == 6
    await asyncio.sleep(1.3)
    assert len(house.endpoint.ledger) == 7
    held.set()
    await asyncio.gather(*callers)
    await _ended(ahead)
    assert len(house.endpoint.ledger) == 9


async def test_a_hanging_provider_stops_no_other(house: House) -> None:
    """One OAuthClient has a bounded share of the places."""
    await _grants(house, 10, rate_per_s=10_000)
    held = house.endpoint.hold()
    await house.refresh_ahead(_call(house))
    await asyncio.sleep(0.1)
    assert len(house.endpoint.ledger) == limits.SCHEDULER_CLIENT_PARALLEL_MAX
    assert len(house.endpoint.ledger) < Scheduling().parallel
    held.set()
    await _ended(house.refresh_ahead)
    assert len(house.endpoint.ledger) == 10


async def test_a_slot_that_was_missed(house: House) -> None:
    """A row whose turn comes too long after its slot is not begun: it gets another slot."""
    await _grants(house, 9, rate_per_s=10_000)
    held = house.endpoint.hold()
    await house.refresh_ahead(_call(house))
    await until(house, 8)
    house.clock.advance(limits.SCHEDULER_LATE_S + 0.1)
    held.set()
    await _ended(house.refresh_ahead)
    assert len(house.endpoint.ledger) == 8
    assert house.refresh_ahead.counts.put_off == 1
    await _tick(house)
    assert len(house.endpoint.ledger) == 9


async def test_two_replicas(house: House) -> None:
    """Two replicas that tick at once split what is due; nothing is done twice."""
    grants = await _grants(house, 20, rate_per_s=1_000)
    beside, small = House.beside(house), Scheduling(batch=5)
    replicas = [(house, house.scheduler(small)), (beside, beside.scheduler(small))]
    for _ in range(4):
        await asyncio.gather(*(_tick(each, ahead) for each, ahead in replicas))
        house.clock.advance(1)
    sent = [entry.refresh_token for entry in house.endpoint.posted("refresh")]
    assert len(sent) == len(set(sent)) == len(grants)
    assert min(ahead.counts.refreshed for _, ahead in replicas) > 0
    assert sum(ahead.counts.refreshed for _, ahead in replicas) == len(grants)


async def test_failures_wait_longer_each_time(house: House) -> None:
    """A grant whose refresh fails comes again after a pause that grows, and then succeeds."""
    (grant,) = await _grants(house, 1, refresh_class=RefreshClass.N)
    house.endpoint.fail(AnswerClass.NOT_SENT, 3)
    pauses = []
    for _ in range(3):
        await _tick(house)
        due_time = _upkeep(house, grant).due_time
        assert due_time is not None
        pauses.append((due_time - house.clock.now()).total_seconds())
        house.clock.advance(pauses[-1] + 1)
    assert pauses[0] < pauses[1] < pauses[2] < 60
    await _tick(house)
    assert (await house.row(grant.name)).generation == 2
    assert (house.refresh_ahead.counts.failed, house.refresh_ahead.counts.refreshed) == (3, 1)


async def test_condemned_leaves_the_index(house: House) -> None:
    """A grant that the provider refused for good is not tried again."""
    (grant,) = await _grants(house, 1, refresh_class=RefreshClass.N)
    house.endpoint.fail(AnswerClass.INVALID_GRANT)
    await _tick(house)
    assert (await house.row(grant.name)).state is GrantState.REAUTHORIZATION_REQUIRED
    house.clock.advance(DAY_S)
    await _tick(house)
    assert _upkeep(house, grant).due_time is None
    assert len(house.endpoint.posted("refresh")) == 1


async def test_suspended_waits(house: House) -> None:
    """Nothing of a suspended OAuthClient is refreshed; soon after its end it is."""
    (grant,) = await _grants(house, 1, max_idle_s=10_000)
    client = (await house.stores.oauth_clients.list(TENANT, 1, "")).items[0]
    await house.suspend.suspend(house.call(), client.name)
    house.clock.advance(6_000)
    await _tick(house)
    assert house.endpoint.posted("refresh") == []
    await house.suspend.resume(house.call(), client.name)
    house.clock.advance(limits.SUSPENDED_LOOK_S)
    await _tick(house)
    assert (await house.row(grant.name)).generation == 2


async def test_database_away(house: House) -> None:
    """A tick that cannot reach the database refuses, and the next one goes on."""
    await _grants(house, 1)
    house.stores.unreachable = True
    await refused(Reason.STORE_UNREACHABLE, house.refresh_ahead(_call(house)))
    house.stores.unreachable = False
    await _tick(house)
    assert len(house.endpoint.posted("refresh")) == 1


async def test_database_lost_in_the_middle(house: House) -> None:
    """A refresh whose outcome could not be put off is told by the next tick, not swallowed."""
    await _grants(house, 1)
    more = await house.refresh_ahead(_call(house))
    house.stores.unreachable = True
    await _ended(house.refresh_ahead)
    house.stores.unreachable = False
    assert not more
    await refused(Reason.STORE_UNREACHABLE, house.refresh_ahead(_call(house)))
    house.clock.advance(limits.SCHEDULER_LEASE_S + 1)
    await _tick(house)
    assert len(house.endpoint.posted("refresh")) == 1


async def test_stop(house: House) -> None:
    """After stop nothing begins; what had a slot is another replica's when the lease ends."""
    await _grants(house, 3, rate_per_s=4)
    await house.refresh_ahead(_call(house))
    assert house.refresh_ahead.running == 3
    await house.refresh_ahead.stop()
    assert house.refresh_ahead.running == 0
    assert not await _tick(house)
    sent = len(house.endpoint.ledger)
    assert sent <= 1
    house.clock.advance(limits.SCHEDULER_LEASE_S + 1)
    beside = House.beside(house)
    for _ in range(5):
        await _tick(beside, beside.refresh_ahead)
        house.clock.advance(1)
    assert len(house.endpoint.posted("refresh")) == 3


async def test_a_full_batch_says_that_there_is_more(house: House) -> None:
    """The worker ticks on while batches are full, and stops then."""
    await _grants(house, 5)
    ahead = house.scheduler(Scheduling(batch=2))
    await Scheduler(ahead, house.clock, house.entropy).step()
    await _ended(ahead)
    assert house.stores.schedule.takes == 3
    assert ahead.counts.taken == 5


async def test_nothing_is_taken_without_slots(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has given out all slots it may leaves what is due to others."""
    monkeypatch.setattr(limits, "SCHEDULER_SLOTS_MAX", 2)
    await _grants(house, 3, rate_per_s=10_000)
    ahead = house.refresh_ahead
    held = house.endpoint.hold()
    await ahead(_call(house))
    takes = house.stores.schedule.takes
    assert not await ahead(_call(house))
    assert house.stores.schedule.takes == takes
    held.set()
    await _ended(ahead)
