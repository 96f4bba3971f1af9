"""ports.AttemptStore, answers that are kept: one suite for the fake and for PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.conftest import Stores
from tests.support.attempts import SPOOL, begin
from tests.support.samples import (
    a_grant,
    a_profile,
    a_record,
    new_id,
    put_grant,
    some_tokens,
)
from vault_service.domain import limits
from vault_service.domain.attempt import AttemptState, Begun, Deferred, RefreshAttempt, WaitsFor
from vault_service.domain.grant import Grant, ReauthorizationCause
from vault_service.domain.names import ProviderName
from vault_service.domain.provider import RefreshClass
from vault_service.ports import Ending, NewAttempt

NEW = NewAttempt(new_id(), RefreshClass.S, 0, SPOOL)
WAITS = Ending(AttemptState.IN_DOUBT, "REFRESH_IN_DOUBT", waits_for=WaitsFor.PROFILE, revision=1)
OP = ProviderName("acme", "op")


async def _waiting(stores: Stores, label: str = "mail") -> tuple[Grant, RefreshAttempt]:
    grant = await put_grant(stores.authorizations, stores.grants, a_grant("acme"), label)
    begun = await begin(stores.attempts, grant)
    await stores.attempts.keep_orphan(begun.attempt, b"sealed", a_record(), 1)
    assert await stores.attempts.end(begun.lease, begun.attempt, WAITS, a_record())
    return grant, begun.attempt


async def _found(stores: Stores, attempt: RefreshAttempt) -> RefreshAttempt:
    found = await stores.attempts.find(attempt.tenant, attempt.attempt_id)
    assert found is not None
    return found


async def _mend(stores: Stores) -> None:
    await stores.providers.put(OP, a_profile(default_life_s=77), a_record())


async def test_a_kept_success_puts_the_token_in_question(stores: Stores) -> None:
    """Whose success is kept unread has used up its refresh token, at that generation; once the
    answer is forgotten it has not."""
    untouched = await put_grant(stores.authorizations, stores.grants, a_grant("acme"), "calm")
    grant, attempt = await _waiting(stores)
    assert await stores.attempts.is_in_question(grant)
    assert not await stores.attempts.is_in_question(untouched)
    assert not await stores.attempts.is_in_question(replace(grant, generation=2))
    taken = await stores.attempts.take_ordered(attempt, 25.0)
    assert taken is not None
    assert await stores.attempts.forget_answer(taken[0], attempt, a_record())
    assert not await stores.attempts.is_in_question(grant)


async def test_a_refusal_puts_the_token_in_question(stores: Stores) -> None:
    """Also while the grant waits for its confirmation; another failure says nothing of it."""
    for refused in (False, True):
        sample = a_grant("acme")
        grant = await put_grant(stores.authorizations, stores.grants, sample, f"l-{refused}")
        begun = await begin(stores.attempts, grant)
        ending = Ending(AttemptState.REJECTED, "REFRESH_IN_DOUBT", 60.0, refused=refused)
        assert await stores.attempts.end(begun.lease, begun.attempt, ending, a_record())
        assert await stores.attempts.is_in_question(grant) is refused


async def test_what_waits_is_due_for_nobody(stores: Stores) -> None:
    """It ends its lease, holds back who would begin and says what for, and no sweep finds it."""
    grant, attempt = await _waiting(stores)
    assert await stores.attempts.holder(grant) is None
    held = await stores.attempts.begin(grant, NEW, 25.0, [SPOOL], a_record())
    assert isinstance(held, Deferred)
    assert held.waits_for is WaitsFor.PROFILE
    await stores.behind.advance(0.2)
    assert await stores.attempts.unresolved([SPOOL], 10) == []
    assert await stores.attempts.due_anew(10) == []
    assert await stores.attempts.take_over(attempt, 25.0, [SPOOL]) is None
    found = await _found(stores, attempt)
    assert (found.waits_for, found.due_anew) == (WaitsFor.PROFILE, False)
    assert found.orphan_envelope == b"sealed"


async def test_due_anew_when_the_profile_was_put(stores: Stores) -> None:
    """A put of its provider makes it due once, for whoever looks; waiting again with the new
    revision ends that."""
    _, attempt = await _waiting(stores)
    await _mend(stores)
    (due,) = await stores.attempts.due_anew(10)
    assert (due.attempt_id, due.due_anew) == (attempt.attempt_id, True)
    taken = await stores.attempts.take_over(due, 25.0, [])
    assert taken is not None
    assert await stores.attempts.due_anew(10) == []
    assert await stores.attempts.end(*taken, replace(WAITS, revision=2), a_record())
    assert await stores.attempts.due_anew(10) == []


async def test_a_look_is_bounded(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, a look is at a few of them and the next one at those that follow, so that
    each has its turn, also where more are due than can be tried."""
    monkeypatch.setattr(limits, "WAITING_LOOK_MAX", 2)
    waiting = sorted([(await _waiting(stores, f"l-{n}"))[1].attempt_id for n in range(3)])
    assert [await stores.attempts.due_anew(10) for _ in range(2)] == [[], []]
    await _mend(stores)
    looks = [await stores.attempts.due_anew(limit) for limit in (10, 10, 1, 1, 1, 10, 10)]
    found = [[attempt.attempt_id for attempt in look] for look in looks]
    first, second, third = waiting
    singles = [[first], [second], [third]]
    assert found == [[first, second], [third], *singles, [], [first, second]]


async def test_due_anew_when_the_grant_moved_on(stores: Stores) -> None:
    """What waits for a grant that was revoked meanwhile is due, to be ended."""
    grant, attempt = await _waiting(stores)
    await stores.grants.revoke(grant, False, a_record())
    (due,) = await stores.attempts.due_anew(10)
    assert due.attempt_id == attempt.attempt_id


async def test_a_kept_answer_of_an_ended_attempt(stores: Stores) -> None:
    """It stays while the grant is unchanged, is due with a new profile unless another attempt is
    under way, and goes when tokens came."""
    grant, attempt = await _waiting(stores)
    await _mend(stores)
    taken = await stores.attempts.take_over(attempt, 25.0, [])
    assert taken is not None
    unchanged = Ending(AttemptState.RESOLVED_UNCHANGED, "")
    assert await stores.attempts.end(*taken, unchanged, a_record())
    (due,) = await stores.attempts.due_anew(10)
    newer = await begin(stores.attempts, grant)
    assert await stores.attempts.due_anew(10) == []
    await stores.attempts.release(newer.lease, "acme")
    assert await stores.attempts.take_over(due, 25.0, []) is None
    assert (await _found(stores, attempt)).orphan_envelope == b"sealed"


async def test_read_in_vain(stores: Stores) -> None:
    """It is read once for a profile, and its lease ends."""
    grant, attempt = await _waiting(stores)
    await _mend(stores)
    taken = await stores.attempts.take_over(attempt, 25.0, [])
    assert taken is not None
    await stores.attempts.read_in_vain(*taken, 2)
    assert await stores.attempts.holder(grant) is None
    assert await stores.attempts.due_anew(10) == []


async def test_forgotten(stores: Stores) -> None:
    """Under its lease only, and the wait goes on without it."""
    _, attempt = await _waiting(stores)
    await _mend(stores)
    taken = await stores.attempts.take_over(attempt, 25.0, [])
    assert taken is not None
    lease, current = taken
    stale = replace(lease, fence=lease.fence - 1)
    assert not await stores.attempts.forget_answer(stale, current, a_record())
    assert await stores.attempts.forget_answer(lease, current, a_record())
    assert (await _found(stores, attempt)).orphan_envelope is None


async def test_nobody_is_condemned_while_an_answer_is_kept(stores: Stores) -> None:
    """Only an operator gives such a grant up; the answer stays, and may still become its tokens."""
    grant, attempt = await _waiting(stores)
    await _mend(stores)
    taken = await stores.attempts.take_over(attempt, 25.0, [])
    assert taken is not None
    lost = (ReauthorizationCause.SUCCESSOR_LOST, AttemptState.RESOLVED_LOST)
    assert not await stores.attempts.condemn(*taken, *lost, a_record())
    taken = await stores.attempts.take_over(attempt, 25.0, [])
    assert taken is not None
    given_up = (ReauthorizationCause.BY_OPERATOR, AttemptState.RESOLVED_LOST)
    assert await stores.attempts.condemn(*taken, *given_up, a_record())
    (due,) = await stores.attempts.due_anew(10)
    again = await stores.attempts.take_over(due, 25.0, [])
    assert again is not None
    begun = Begun(*again)
    assert await stores.attempts.commit(
        begun.lease, begun.attempt, grant, some_tokens(),
        AttemptState.RESOLVED_REFRESHED, a_record(),
    )  # fmt: skip
    assert (await _found(stores, attempt)).orphan_envelope is None
