"""CompleteAuthorization: one code, one exchange, whatever happens around it."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.support.house import TENANT, House, refused
from tests.support.samples import a_record, new_id
from vault_service.domain import limits
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason
from vault_service.domain.sensitive import Sensitive


@pytest.fixture
async def house() -> House:
    house = House()
    await house.register()
    return house


async def test_replay(house: House) -> None:
    """The same completion gives the same answer for ten minutes, from any process, by one POST."""
    started = await house.started()
    first = await house.complete(house.call(), house.callback(started))
    house.clock.advance(limits.COMPLETION_REPLAY_S - 1)
    for process in (house, House.beside(house)):
        again = await process.complete(house.call(), house.callback(started))
        assert (again.grant.name, again.alias) == (first.grant.name, first.alias)
    house.clock.advance(2)
    await refused(
        Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), house.callback(started))
    )
    assert len(house.endpoint.ledger) == 1


async def test_another_code_for_a_used_state(house: House) -> None:
    """A completed state takes no second code."""
    started = await house.started()
    await house.complete(house.call(), house.callback(started))
    other = house.callback(started, code=Sensitive(b"code-2"))
    await refused(Reason.AUTHORIZATION_CODE_USED, house.complete(house.call(), other))
    assert len(house.endpoint.ledger) == 1


@pytest.mark.parametrize("processes", [1, 2])
async def test_concurrent_completions_join(house: House, processes: int) -> None:
    """However often and wherever a completion is tried at once, the code is exchanged once."""
    started = await house.started()
    houses = [house, House.beside(house)][:processes]
    held = house.endpoint.hold()
    tasks = [h.completing(started) for h in houses for _ in range(5)]
    await house.endpoint.arrived.wait()
    await asyncio.sleep(0.01)
    held.set()
    completed = await asyncio.gather(*tasks)
    assert len({each.grant.name for each in completed}) == 1
    assert len(house.endpoint.ledger) == 1
    assert len(house.records(AuditAction.AUTHORIZATION_COMPLETED)) == 1


async def test_concurrent_completion_with_another_code(house: House) -> None:
    """Of two codes brought for one state at once, one is exchanged and the other is refused."""
    started = await house.started()
    held = house.endpoint.hold()
    first = house.completing(started)
    await house.endpoint.arrived.wait()
    second = house.completing(started, code=Sensitive(b"code-2"))
    await asyncio.sleep(0)
    held.set()
    assert (await first).grant.generation == 1
    await refused(Reason.AUTHORIZATION_CODE_USED, second)
    assert [post.code for post in house.endpoint.ledger] == ["code-1"]


async def test_caller_hangs_up(house: House) -> None:
    """An exchange belongs to the service: a caller that left gets the grant by asking again."""
    started = await house.started()
    held = house.endpoint.hold()
    task = house.completing(started)
    await house.endpoint.arrived.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    held.set()
    completed = await house.complete(house.call(), house.callback(started))
    assert completed.grant.generation == 1
    assert len(house.endpoint.ledger) == 1


async def test_completion_deadline(house: House) -> None:
    """A caller whose time is up is asked to come again; the exchange goes on."""
    started = await house.started()
    held = house.endpoint.hold()
    call = house.call(budget_s=0.05)
    error = await refused(
        Reason.PROVIDER_UNAVAILABLE, house.complete(call, house.callback(started))
    )
    assert error.retryable
    held.set()
    assert (await house.complete(house.call(), house.callback(started))).grant.generation == 1
    assert len(house.endpoint.ledger) == 1


async def test_crash_after_the_claim(house: House) -> None:
    """A claim whose process died keeps callers waiting while it may end, then is CODE_USED."""
    started = await house.started()
    state_hash = hashlib.sha256(started.state.encode()).digest()
    code_hash = hashlib.sha256(b"code-1").digest()
    authorization = house.stores.tables.authorizations[state_hash]
    assert await house.stores.authorizations.claim(
        authorization, code_hash, new_id(), a_record(TENANT)
    )
    short = house.call(budget_s=0)
    house.clock.advance(1)
    await refused(Reason.PROVIDER_UNAVAILABLE, house.complete(short, house.callback(started)))
    waiting = house.completing(started)
    await asyncio.sleep(0.01)
    house.clock.advance(limits.POST_LIMIT_S + limits.LEASE_MARGIN_S)
    error = await refused(Reason.AUTHORIZATION_CODE_USED, waiting)
    assert "consent again" in error.message
    assert house.endpoint.ledger == []


async def test_keys_away_before_the_exchange(house: House) -> None:
    """Without keys the code is not spent."""
    started = await house.started()
    other = House.beside(house)
    other.wrapper.unreachable = True
    await refused(Reason.KEK_UNREACHABLE, other.complete(house.call(), house.callback(started)))
    assert house.endpoint.ledger == []
    other.wrapper.unreachable = False
    assert (await other.complete(house.call(), house.callback(started))).grant.generation == 1


@pytest.mark.parametrize("fault", ["unreachable", "audit_unavailable"])
async def test_store_away_after_the_exchange(house: House, fault: str) -> None:
    """A database that is away after the exchange is offered the grant until it takes it."""
    started = await house.started()
    held = house.endpoint.hold()
    task = house.completing(started)
    await house.endpoint.arrived.wait()
    setattr(house.stores, fault, True)
    held.set()
    await asyncio.sleep(0.08)
    assert not task.done()
    setattr(house.stores, fault, False)
    assert (await task).grant.generation == 1
    assert len(house.endpoint.ledger) == 1
