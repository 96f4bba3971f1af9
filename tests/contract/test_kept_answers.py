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
    an_authorization,
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
    """A grant with an unread 2xx has used up the refresh token of that generation. Once the
    answer is forgotten and the attempt is resolved, the token counts as unused again."""
    untouched = await put_grant(stores.authorizations, stores.grants, a_grant("acme"), "calm")
    grant, attempt = await _waiting(stores)
    assert await stores.attempts.is_in_question(grant)
    assert not await stores.attempts.is_in_question(untouched)
    assert not await stores.attempts.is_in_question(replace(grant, generation=2))
    taken = await stores.attempts.take_ordered(attempt, 25.0)
    assert taken is not None
    assert await stores.attempts.forget_answer(taken[0], attempt, a_record())
    assert await stores.attempts.is_in_question(grant)
    unchanged = Ending(AttemptState.RESOLVED_UNCHANGED, "")
    assert await stores.attempts.end(taken[0], attempt, unchanged, a_record())
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


@pytest.mark.parametrize("refresh_class", list(RefreshClass))
async def test_an_attempt_without_outcome_puts_the_token_in_question(
    stores: Stores, refresh_class: RefreshClass
) -> None:
    """Where a used token is dead, an attempt puts it in question until it ends without one, and no
    consent carries such a token on."""
    grant = await put_grant(stores.authorizations, stores.grants, a_grant("acme"))
    begun = await begin(stores.attempts, grant, refresh_class=refresh_class)
    used_up = refresh_class in (RefreshClass.G, RefreshClass.S)
    again = replace(grant, generation=2, access_generation=2)
    assert again.carries_its_token_on
    assert await stores.attempts.is_in_question(grant) is used_up
    if used_up:
        assert not await _reconnected(stores, again)
    ending = Ending(AttemptState.NOT_SENT, "PROVIDER_UNAVAILABLE")
    assert await stores.attempts.end(begun.lease, begun.attempt, ending, a_record())
    assert not await stores.attempts.is_in_question(grant)
    assert await _reconnected(stores, again)


async def test_a_successor_is_taken_up_once(stores: Stores) -> None:
    """A row that a consent moved on without a refresh token takes the one of an attempt before,
    once; a row that has a newer one, or stands where it stood, does not."""
    grant = await put_grant(stores.authorizations, stores.grants, a_grant("acme"))
    attempt = (await begin(stores.attempts, grant)).attempt
    tokens = some_tokens(2)
    assert not await stores.attempts.take_up(attempt, tokens, a_record())
    without = replace(grant, generation=2, access_generation=2, refresh_envelope=None)
    assert await _reconnected(stores, without)
    record = a_record()
    assert [await stores.attempts.take_up(attempt, tokens, record) for _ in range(2)] == [True] * 2
    row = await stores.grants.get(grant.name)
    assert row is not None
    assert (row.generation, row.refresh_generation) == (2, 2)
    assert row.refresh_envelope == tokens.refresh_envelope
    assert not await stores.attempts.take_up(attempt, tokens, a_record())


async def _reconnected(stores: Stores, grant: Grant) -> bool:
    row = await stores.grants.get(grant.name)
    assert row is not None
    authorization = an_authorization("acme", owner=grant.owner, label=new_id().hex)
    await stores.authorizations.insert(authorization, 600, a_record())
    return await stores.grants.reconnect(grant, row.revision, authorization, a_record())
