"""ports.AttemptStore: one suite for the fake and for PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.conftest import Stores
from tests.support.attempts import SPOOL, begin
from tests.support.samples import a_grant, a_record, new_id, put_grant, some_tokens
from vault_service.domain.attempt import (
    AttemptState,
    Begun,
    Busy,
    Deferred,
    RefreshAttempt,
    Unresolved,
)
from vault_service.domain.audit import AuditAction
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, ReauthorizationCause
from vault_service.domain.provider import RefreshClass
from vault_service.ports import Ending, NewAttempt

NEW = NewAttempt(new_id(), RefreshClass.S, 0, SPOOL)
DOUBT = Ending(AttemptState.IN_DOUBT, "REFRESH_IN_DOUBT")
REJECTED = Ending(AttemptState.REJECTED, "PROVIDER_UNAVAILABLE")
LOST = (ReauthorizationCause.SUCCESSOR_LOST, AttemptState.RESOLVED_LOST)


async def _put(stores: Stores, tenant: str = "acme", label: str = "mail") -> Grant:
    return await put_grant(stores.authorizations, stores.grants, a_grant(tenant), label)


async def _read(stores: Stores, grant: Grant) -> Grant:
    stored = await stores.grants.get(grant.name)
    assert stored is not None
    return stored


async def _attempt(stores: Stores, attempt: RefreshAttempt) -> RefreshAttempt:
    found = await stores.attempts.find(attempt.tenant, attempt.attempt_id)
    assert found is not None
    return found


async def _commit(stores: Stores, begun: Begun, grant: Grant, **tokens: Any) -> bool:
    return await stores.attempts.commit(
        begun.lease, begun.attempt, grant, some_tokens(**tokens), AttemptState.COMMITTED, a_record()
    )


async def test_begin_writes_intent_before_anything_is_sent(stores: Stores) -> None:
    """A beginning has its lease, its row in INTENT and its record; the grant's row is as it was."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant, refresh_class=RefreshClass.G)
    attempt = await _attempt(stores, begun.attempt)
    assert (attempt.state, attempt.retries) == (AttemptState.INTENT, 0)
    assert (attempt.base_generation, attempt.spool_id) == (grant.generation, SPOOL)
    assert (attempt.refresh_class, attempt.grace_s) == (RefreshClass.G, 30)
    assert attempt.create_time == begun.lease.acquire_time
    assert await stores.attempts.holder(grant)
    assert replace(await _read(stores, grant), read_time=grant.read_time) == grant


async def test_one_begins_at_a_time(stores: Stores) -> None:
    """Of many who begin at one moment one gets the lease, the others learn that it is held."""
    grant = await _put(stores)
    begun = await asyncio.gather(
        *(
            stores.attempts.begin(
                grant, replace(NEW, attempt_id=new_id()), 25.0, [SPOOL], a_record()
            )
            for _ in range(16)
        )
    )
    assert sum(isinstance(one, Begun) for one in begun) == 1
    assert begun.count(Busy.HELD) == 15


async def test_begin_at_another_generation_or_state(stores: Stores) -> None:
    """A row that has moved on begins nothing and leaves no lease behind."""
    grant = await _put(stores)
    older = replace(grant, generation=grant.generation - 1)
    assert await stores.attempts.begin(older, NEW, 25.0, [SPOOL], a_record()) is Busy.MOVED
    await stores.grants.revoke(grant, False, a_record())
    assert await stores.attempts.begin(grant, NEW, 25.0, [SPOOL], a_record()) is Busy.MOVED
    assert not await stores.attempts.holder(grant)


async def test_begin_for_no_grant(stores: Stores) -> None:
    """A grant that is not there, or not in this tenant, begins nothing."""
    with pytest.raises(VaultError) as refused:
        await stores.attempts.begin(a_grant(), NEW, 25.0, [SPOOL], a_record())
    assert refused.value.reason is Reason.GRANT_NOT_FOUND


async def test_a_lease_that_ran_out_leaves_the_attempt_to_be_resolved(stores: Stores) -> None:
    """While an attempt is unresolved no other begins; who may resolve it gets its lease, with a
    greater fence."""
    grant = await _put(stores)
    first = await begin(stores.attempts, grant, 0.2)
    await stores.behind.advance(0.4)
    second = await stores.attempts.begin(grant, NEW, 25.0, [SPOOL], a_record())
    assert isinstance(second, Unresolved)
    assert second.attempt.attempt_id == first.attempt.attempt_id
    assert second.lease.fence > first.lease.fence
    assert await stores.attempts.holder(grant)


async def test_class_s_waits_for_the_process_that_has_its_spool(stores: Stores) -> None:
    """An attempt of class S whose spool another process holds defers the next one; any other class
    may be resolved by anybody."""
    single, grace = await _put(stores, label="a"), await _put(stores, label="b")
    await begin(stores.attempts, single, 0.1)
    await begin(stores.attempts, grace, 0.1, RefreshClass.G)
    await stores.behind.advance(0.3)
    elsewhere = [new_id()]
    waits = await stores.attempts.begin(single, NEW, 25.0, elsewhere, a_record())
    assert isinstance(waits, Deferred)
    assert waits.reason == Reason.REFRESH_IN_DOUBT.name
    assert waits.until > waits.read_time
    assert not await stores.attempts.holder(single)
    due = await stores.attempts.unresolved(elsewhere, 10)
    assert [attempt.grant_id for attempt in due] == [grace.grant_id]
    held = await stores.attempts.unresolved([SPOOL, *elsewhere], 10)
    assert {attempt.grant_id for attempt in held} == {single.grant_id, grace.grant_id}


async def test_an_abandoned_spool_is_waited_for_no_more(stores: Stores) -> None:
    """Once an operator has given its spool up, anybody may resolve an attempt of class S."""
    grant = await _put(stores)
    # A spool of its own: what one test gives up is given up for all tests of a database.
    spool = new_id()
    begun = await begin(stores.attempts, grant, 0.1, spools=(spool,))
    await stores.behind.advance(0.3)
    assert await stores.attempts.unresolved([], 10) == []
    await stores.behind.abandon_spool(spool)
    (due,) = await stores.attempts.unresolved([], 10)
    assert due.awaited == ()
    assert await stores.attempts.take_over(due, 25.0, []) is not None
    assert due.attempt_id == begun.attempt.attempt_id


async def test_unresolved_waits_for_lease_and_time(stores: Stores) -> None:
    """An attempt is due when its lease has ended and its time has come, the oldest first, over all
    tenants, and at most so many."""
    for tenant in ("acme", "globex"):
        await begin(stores.attempts, await _put(stores, tenant), 0.1)
    await begin(stores.attempts, await _put(stores, label="leased"), 25.0)
    await stores.behind.advance(0.3)
    due = await stores.attempts.unresolved([SPOOL], 10)
    assert [attempt.tenant for attempt in due] == ["acme", "globex"]
    assert len(await stores.attempts.unresolved([SPOOL], 1)) == 1


async def test_tenants_take_turns(stores: Stores) -> None:
    """A tenant with many attempts that are due does not keep another one's from being looked at."""
    for number in range(3):
        await begin(stores.attempts, await _put(stores, label=f"many-{number}"), 0.05)
    await begin(stores.attempts, await _put(stores, "globex"), 0.05)
    await stores.behind.advance(0.3)
    due = await stores.attempts.unresolved([SPOOL], 2)
    assert [attempt.tenant for attempt in due] == ["acme", "globex"]


async def test_what_is_put_off_is_left_alone(stores: Stores) -> None:
    """Recovery that lacks something of ours ends its lease and looks again after the pause."""
    begun = await begin(stores.attempts, await _put(stores), 0.05)
    await stores.behind.advance(0.3)
    taken = await stores.attempts.take_over(begun.attempt, 25.0, [SPOOL])
    assert taken is not None
    await stores.attempts.put_off(*taken, 0.4)
    assert await stores.attempts.unresolved([SPOOL], 10) == []
    await stores.behind.advance(0.6)
    assert len(await stores.attempts.unresolved([SPOOL], 10)) == 1


async def test_take_over_is_exclusive(stores: Stores) -> None:
    """Of many who take over one attempt at one moment one gets it; a resolved one nobody gets."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant, 0.1)
    await stores.behind.advance(0.3)
    taken = await asyncio.gather(
        *(stores.attempts.take_over(begun.attempt, 25.0, [SPOOL]) for _ in range(8))
    )
    (one,) = [each for each in taken if each is not None]
    lease, attempt = one
    assert await stores.attempts.end(lease, attempt, REJECTED, a_record())
    assert await stores.attempts.take_over(begun.attempt, 25.0, [SPOOL]) is None
    assert not await stores.attempts.holder(grant)


async def test_unrenewed_tokens_are_remembered(stores: Stores) -> None:
    """The row knows when the same access token came again, until another one comes."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant)
    assert await _commit(stores, begun, grant, unrenewed=True)
    again = await _read(stores, grant)
    assert again.unrenewed_time is not None
    assert begun.lease.acquire_time <= again.unrenewed_time <= again.read_time
    begun = await begin(stores.attempts, again)
    assert await _commit(stores, begun, again, generation=again.generation + 1)
    assert (await _read(stores, grant)).unrenewed_time is None


async def test_commit_moves_one_generation(stores: Stores) -> None:
    """A commit writes tokens, record, the attempt's end and the end of its lease together."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant)
    record = a_record(action=AuditAction.GRANT_REFRESHED)
    tokens = some_tokens()
    assert await stores.attempts.commit(
        begun.lease, begun.attempt, grant, tokens, AttemptState.COMMITTED, record
    )
    stored = await _read(stores, grant)
    assert (stored.generation, stored.revision, stored.access_generation) == (2, 2, 2)
    assert stored.access_envelope == tokens.access_envelope
    assert stored.access_expire_time == tokens.access_expire_time
    assert (stored.refresh_envelope, stored.refresh_generation) == (tokens.refresh_envelope, 2)
    assert (stored.scopes, stored.token_type, stored.access_life_s) == (("openid",), "bearer", 1800)
    assert (await stores.records())[0].record_id == record.record_id
    assert (await _attempt(stores, begun.attempt)).state is AttemptState.COMMITTED
    await begin(stores.attempts, stored)


async def test_commit_keeps_the_refresh_token(stores: Stores) -> None:
    """Where the provider reissued nothing, envelope and generation of the old one stay."""
    grant = await _put(stores)
    assert await _commit(stores, await begin(stores.attempts, grant), grant, refresh_envelope=None)
    stored = await _read(stores, grant)
    assert (stored.refresh_envelope, stored.refresh_generation) == (grant.refresh_envelope, 1)
    assert stored.access_generation == 2


async def test_commit_again_is_true(stores: Stores) -> None:
    """A commit whose answer was lost is true when it is asked again, and happens once."""
    grant = await _put(stores)
    begun, record = await begin(stores.attempts, grant), a_record()
    for _ in range(2):
        assert await stores.attempts.commit(
            begun.lease, begun.attempt, grant, some_tokens(), AttemptState.COMMITTED, record
        )
    assert (await _read(stores, grant)).revision == 2


async def test_commit_loses(stores: Stores) -> None:
    """Nothing is written when the fence, the generation or the state is no longer ours."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant)
    before = len(await stores.records())
    newer = replace(begun, lease=replace(begun.lease, fence=begun.lease.fence + 1))
    older = replace(begun, attempt=replace(begun.attempt, base_generation=0))
    assert not await _commit(stores, newer, grant)
    assert not await _commit(stores, older, grant)
    await stores.attempts.release(begun.lease, "acme")
    assert not await _commit(stores, begun, grant)
    await stores.grants.revoke(grant, False, a_record())
    assert not await _commit(stores, begun, grant)
    assert (await _read(stores, grant)).access_envelope is None
    assert len(await stores.records()) == before + 1


async def test_commit_after_the_lease_was_taken(stores: Stores) -> None:
    """Who lost the lease while the POST was under way writes nothing; who has it does."""
    grant = await _put(stores)
    late = await begin(stores.attempts, grant, 0.1)
    await stores.behind.advance(0.3)
    taken = await stores.attempts.take_over(late.attempt, 25.0, [SPOOL])
    assert taken is not None
    assert not await _commit(stores, late, grant)
    assert await _commit(stores, Begun(*taken), grant)


async def test_commit_after_a_lapsed_lease(stores: Stores) -> None:
    """A lease that ran out and that nobody took still commits: its token must not be lost."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant, 0.01)
    await stores.behind.advance(0.05)
    assert await _commit(stores, begun, grant)
