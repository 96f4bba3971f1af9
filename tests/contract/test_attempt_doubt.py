"""ports.AttemptStore and GrantBell, of attempts in doubt: one suite for the fake and PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.contract.conftest import Stores
from tests.support.attempts import SPOOL, begin
from tests.support.samples import a_grant, a_record, new_id, put_grant, some_tokens
from vault_service.domain.attempt import AttemptState, Begun, Busy, Deferred
from vault_service.domain.grant import Grant
from vault_service.domain.names import ProviderName
from vault_service.domain.provider import RefreshClass
from vault_service.ports import Ending, NewAttempt

NEW = NewAttempt(new_id(), RefreshClass.S, 0, SPOOL)
DOUBT = Ending(AttemptState.IN_DOUBT, "REFRESH_IN_DOUBT")
OP = ProviderName("acme", "op")


async def _put(stores: Stores, label: str = "mail") -> Grant:
    return await put_grant(stores.authorizations, stores.grants, a_grant("acme"), label)


async def _in_grace(
    stores: Stores, grant: Grant, grace_s: int, lease_s: float = 0.2, spool: uuid.UUID = SPOOL
) -> Begun:
    new = NewAttempt(new_id(), RefreshClass.G, grace_s, spool)
    begun = await stores.attempts.begin(grant, new, lease_s, [spool], a_record())
    assert isinstance(begun, Begun)
    return begun


async def test_a_renewed_lease(stores: Stores) -> None:
    """Its holder's request is late: the lease goes on, others are told at once that it is in doubt
    and until when, and its answer is still committed by its fence."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant, 0.2)
    assert await stores.attempts.holder(grant) is Busy.HELD
    assert await stores.attempts.renew(begun.lease, begun.attempt, 30.0)
    await stores.behind.advance(0.3)
    for told in (
        await stores.attempts.holder(grant),
        await stores.attempts.begin(grant, NEW, 25.0, [SPOOL], a_record()),
    ):
        assert isinstance(told, Deferred)
        assert told.reason == "REFRESH_IN_DOUBT"
        assert 20 < (told.until - told.read_time).total_seconds() <= 30
    assert await stores.attempts.take_over(begun.attempt, 25.0, [SPOOL]) is None
    attempt = await stores.attempts.find("acme", begun.attempt.attempt_id)
    assert attempt is not None
    assert (attempt.state, attempt.awaited) == (AttemptState.IN_DOUBT, (SPOOL,))
    state = AttemptState.COMMITTED
    commit = (begun.lease, begun.attempt, grant, some_tokens(), state, a_record())
    assert await stores.attempts.commit(*commit)
    assert await stores.attempts.holder(grant) is None


async def test_renewal_is_fenced(stores: Stores) -> None:
    """A process that lost the lease gets it back only where nobody took it."""
    grant = await _put(stores)
    late = await begin(stores.attempts, grant, 0.05)
    await stores.behind.advance(0.1)
    assert await stores.attempts.renew(late.lease, late.attempt, 0.05)
    await stores.behind.advance(0.1)
    assert await stores.attempts.take_over(late.attempt, 25.0, [SPOOL]) is not None
    assert not await stores.attempts.renew(late.lease, late.attempt, 25.0)


async def test_a_moved_grant_is_told_before_its_doubt(stores: Stores) -> None:
    """A grant that was revoked while an attempt of it is in doubt is no longer in doubt to who
    would begin another: it reads the row."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant, 25.0)
    pausing = replace(DOUBT, pause_s=30.0)
    assert await stores.attempts.end(begun.lease, begun.attempt, pausing, a_record())
    assert isinstance(await stores.attempts.holder(grant), Deferred)
    await stores.grants.revoke(grant, False, a_record())
    moved = await stores.attempts.begin(grant, NEW, 25.0, [SPOOL], a_record())
    assert moved is Busy.MOVED


async def test_past_its_grace_it_waits_for_its_spool(stores: Stores) -> None:
    """Class G is anybody's inside its grace, and past it only of who holds the spool."""
    grant = await _put(stores)
    begun = await _in_grace(stores, grant, 1)
    await stores.behind.advance(0.3)
    (due,) = await stores.attempts.unresolved([], 10)
    assert due.acting_class is RefreshClass.G
    await stores.behind.advance(0.8)
    assert await stores.attempts.unresolved([], 10) == []
    assert await stores.attempts.take_over(begun.attempt, 25.0, []) is None
    (due,) = await stores.attempts.unresolved([SPOOL], 10)
    assert due.acting_class is RefreshClass.S
    assert await stores.attempts.take_over(due, 25.0, [SPOOL]) is not None


async def test_spools_that_were_awaited_before_a_retry(stores: Stores) -> None:
    """A retry by a process without the first spool, in doubt too, leaves the first one awaited once
    the grace is over; given up by an operator, it is awaited no more."""
    grant, first, other = await _put(stores), new_id(), new_id()
    begun = await _in_grace(stores, grant, 1, spool=first)
    await stores.behind.advance(0.3)
    taken = await stores.attempts.take_over(begun.attempt, 1.0, [other])
    assert taken is not None
    assert await stores.attempts.retry(*taken, [other], a_record())
    retried = await stores.attempts.find("acme", begun.attempt.attempt_id)
    assert retried is not None
    assert set(retried.awaited) == {first, other}
    assert await stores.attempts.end(taken[0], retried, DOUBT, a_record())
    await stores.behind.advance(0.9)
    assert await stores.attempts.unresolved([other], 10) == []
    assert len(await stores.attempts.unresolved([first], 10)) == 1
    await stores.behind.abandon_spool(first)
    assert len(await stores.attempts.unresolved([], 10)) == 1


async def test_a_kept_answer_waits_for_no_spool(stores: Stores) -> None:
    """An answer that came too late and is with the attempt may be stored by anybody."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant, 0.05)
    await stores.attempts.keep_orphan(begun.attempt, b"sealed answer", a_record())
    await stores.behind.advance(0.1)
    (due,) = await stores.attempts.unresolved([], 10)
    assert await stores.attempts.take_over(due, 25.0, []) is not None


async def test_no_pause_leaps_over_the_end_of_a_grace(stores: Stores) -> None:
    """A pause that would end past the grace ends before it, with room for the request; one for a
    confirmation stands."""
    for label, refused, least_s, most_s in (("a", False, 15, 19.5), ("b", True, 60, 61)):
        grant = await _put(stores, label)
        begun = await _in_grace(stores, grant, 20, 25.0)
        ending = replace(DOUBT, pause_s=60.5, refused=refused)
        assert await stores.attempts.end(begun.lease, begun.attempt, ending, a_record())
        attempt = await stores.attempts.find("acme", begun.attempt.attempt_id)
        assert attempt is not None
        pause = attempt.next_try_time - attempt.create_time
        assert timedelta(seconds=least_s) <= pause <= timedelta(seconds=most_s)


async def test_who_is_in_its_grace_goes_first(stores: Stores) -> None:
    """Of what is due, attempts whose predecessor still works come before those who wait anyway."""
    strict, grace = await _put(stores, "a"), await _put(stores, "b")
    await begin(stores.attempts, strict, 0.05)
    await _in_grace(stores, grace, 600, 0.1)
    await stores.behind.advance(0.3)
    (first,) = await stores.attempts.unresolved([SPOOL], 1)
    assert first.grant_id == grace.grant_id


async def test_what_a_success_releases(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are for a failing provider end when it answers again, no more at a time than
    asked for; those for anything else, of other providers, or of a moment ago, go on."""
    monkeypatch.setattr("vault_service.adapters.postgres.attempts._FIRST_PAUSE", timedelta(0))
    monkeypatch.setattr("vault_service.domain.limits.IN_DOUBT_RETRY_S", 0.0)
    made = {}
    for label, released in (("a", True), ("b", True), ("c", False)):
        grant = made[label] = await _put(stores, label)
        begun = await begin(stores.attempts, grant, 0.05)
        ending = replace(DOUBT, pause_s=90.0, until_it_answers=released)
        assert await stores.attempts.end(begun.lease, begun.attempt, ending, a_record())
    await stores.behind.advance(0.2)
    assert await stores.attempts.unresolved([], 10) == []
    for label, released in (("a", True), ("c", False)):
        new = NewAttempt(new_id(), RefreshClass.N, 0, SPOOL)
        held = await stores.attempts.begin(made[label], new, 25.0, [SPOOL], a_record())
        assert isinstance(held, Deferred)
        assert held.until_it_answers is released
    assert await stores.attempts.hasten([ProviderName("globex", "op")], 10) == 0
    assert await stores.attempts.hasten([OP], 1) == 1
    assert await stores.attempts.hasten([OP], 10) == 1
    due = {attempt.grant_id for attempt in await stores.attempts.unresolved([], 10)}
    assert due == {made["a"].grant_id, made["b"].grant_id}


async def test_the_bell_rings_when_an_attempt_ends(stores: Stores) -> None:
    """A waiter for a grant hears when its attempt ends, is renewed or is committed, and when the
    grant is revoked; it hears nothing of other grants."""
    grant, other = await _put(stores, "a"), await _put(stores, "b")
    begun = await begin(stores.attempts, grant, 25.0)
    await begin(stores.attempts, other, 25.0)
    async with asyncio.timeout(10):
        with (
            stores.bell.waiting(grant.grant_id) as rang,
            stores.bell.waiting(other.grant_id) as not_for_it,
        ):
            assert await stores.attempts.renew(begun.lease, begun.attempt, 25.0)
            await rang.wait()
            rang.clear()
            rejected = Ending(AttemptState.REJECTED, "PROVIDER_UNAVAILABLE")
            assert await stores.attempts.end(begun.lease, begun.attempt, rejected, a_record())
            await rang.wait()
            rang.clear()
            await stores.grants.revoke(grant, False, a_record())
            await rang.wait()
            assert not not_for_it.is_set()
