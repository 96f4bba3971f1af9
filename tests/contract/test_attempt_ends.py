"""ports.AttemptStore, how attempts end: one suite for the fake and for PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.contract.conftest import Stores
from tests.support.attempts import SPOOL, begin
from tests.support.samples import a_grant, a_record, new_id, put_grant, some_tokens
from vault_service.domain.attempt import (
    NO_SPOOL,
    AttemptState,
    Begun,
    Busy,
    Deferred,
    RefreshAttempt,
)
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant, GrantState, ReauthorizationCause
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


async def test_release_is_fenced(stores: Stores) -> None:
    """A release ends its own lease only, and never that of the holder after it."""
    grant = await _put(stores)
    first = await begin(stores.attempts, grant, 0.05)
    await stores.behind.advance(0.1)
    assert await stores.attempts.take_over(first.attempt, 25.0, [SPOOL]) is not None
    await stores.attempts.release(first.lease, "acme")
    assert await stores.attempts.holder(grant)


async def test_doubt_keeps_the_lease_of_class_s(stores: Stores) -> None:
    """In doubt, class S keeps its lease to the end, since the provider may still be at work on the
    request; its spool has nothing more to say, so that anybody may resolve it then."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant, 0.3)
    assert await stores.attempts.end(begun.lease, begun.attempt, DOUBT, a_record())
    assert await stores.attempts.holder(grant)
    assert await stores.attempts.unresolved([], 10) == []
    await stores.behind.advance(0.5)
    (due,) = await stores.attempts.unresolved([], 10)
    assert (due.state, due.spool_id) == (AttemptState.IN_DOUBT, NO_SPOOL)


async def test_doubt_with_a_pause(stores: Stores) -> None:
    """An attempt in doubt is left alone until its pause is over."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant, 0.01, RefreshClass.G)
    pausing = replace(DOUBT, pause_s=0.5)
    assert await stores.attempts.end(begun.lease, begun.attempt, pausing, a_record())
    assert not await stores.attempts.holder(grant)
    assert await stores.attempts.unresolved([], 10) == []
    deferred = await stores.attempts.begin(grant, NEW, 25.0, [SPOOL], a_record())
    assert isinstance(deferred, Deferred)
    await stores.behind.advance(0.7)
    assert len(await stores.attempts.unresolved([], 10)) == 1


async def test_failure_holds_back_the_next_request(stores: Stores) -> None:
    """A pause after a failure defers the next attempt, with the failure's reason, and doubles with
    each failure in a row."""
    grant = await _put(stores)
    ending = replace(REJECTED, pause_s=0.4, doubles=True)
    pauses = []
    for _ in range(2):
        begun = await begin(stores.attempts, grant)
        assert await stores.attempts.end(begun.lease, begun.attempt, ending, a_record())
        deferred = await stores.attempts.begin(grant, NEW, 25.0, [SPOOL], a_record())
        assert isinstance(deferred, Deferred)
        assert deferred.reason == "PROVIDER_UNAVAILABLE"
        pauses.append((deferred.until - deferred.read_time).total_seconds())
        await stores.behind.advance(1.0)
    assert 0.2 < pauses[0] <= 0.4 < pauses[1] <= 0.8
    assert not await stores.attempts.holder(grant)


async def test_success_forgets_the_failures(stores: Stores) -> None:
    """After a refresh nothing of earlier failures holds back the next one."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant)
    ending = replace(REJECTED, refused=True)
    assert await stores.attempts.end(begun.lease, begun.attempt, ending, a_record())
    assert await stores.attempts.refused_since(grant) is not None
    assert await _commit(stores, await begin(stores.attempts, grant), grant)
    stored = await _read(stores, grant)
    assert await stores.attempts.refused_since(grant) is None
    assert await stores.attempts.refused_since(stored) is None


async def test_the_first_refusal_of_a_generation_counts(stores: Stores) -> None:
    """A second refusal of the same generation does not move the moment of the first."""
    grant = await _put(stores)
    refused = []
    for _ in range(2):
        begun = await begin(stores.attempts, grant)
        ending = replace(REJECTED, refused=True)
        assert await stores.attempts.end(begun.lease, begun.attempt, ending, a_record())
        refused.append(await stores.attempts.refused_since(grant))
        await stores.behind.advance(0.01)
    assert refused[0] == refused[1]


async def test_end_is_fenced(stores: Stores) -> None:
    """Who lost the lease ends nothing, and its record is not written."""
    grant = await _put(stores)
    late = await begin(stores.attempts, grant, 0.01)
    await stores.behind.advance(0.05)
    assert await stores.attempts.take_over(late.attempt, 25.0, [SPOOL]) is not None
    before = len(await stores.records())
    for ending in (DOUBT, REJECTED):
        assert not await stores.attempts.end(late.lease, late.attempt, ending, a_record())
    assert len(await stores.records()) == before
    assert (await _attempt(stores, late.attempt)).state is AttemptState.INTENT


async def test_retry_is_an_intent_of_this_process(stores: Stores) -> None:
    """A retry counts, and names the spool where its marks will be."""
    grant, other = await _put(stores), new_id()
    begun = await begin(stores.attempts, grant)
    assert await stores.attempts.retry(begun.lease, begun.attempt, [other], a_record())
    attempt = await _attempt(stores, begun.attempt)
    assert (attempt.state, attempt.retries) == (AttemptState.INTENT, 1)
    assert attempt.spool_id == other
    newer = replace(begun.lease, fence=begun.lease.fence + 1)
    assert not await stores.attempts.retry(newer, attempt, [other], a_record())


async def test_condemned_and_found_again(stores: Stores) -> None:
    """A grant given up for a lost successor is ACTIVE again when its answer turns up."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant)
    assert await stores.attempts.condemn(begun.lease, begun.attempt, *LOST, a_record())
    condemned = await _read(stores, grant)
    assert condemned.state is GrantState.REAUTHORIZATION_REQUIRED
    assert (condemned.cause, condemned.revision) == (ReauthorizationCause.SUCCESSOR_LOST, 2)
    assert (await _attempt(stores, begun.attempt)).state is AttemptState.RESOLVED_LOST
    assert await stores.attempts.take_over(begun.attempt, 25.0, []) is None
    await stores.attempts.keep_orphan(begun.attempt, b"sealed answer", a_record())
    taken = await stores.attempts.take_over(begun.attempt, 25.0, [])
    assert taken is not None
    assert taken[1].orphan_envelope == b"sealed answer"
    assert await _commit(stores, Begun(*taken), condemned)
    found = await _read(stores, grant)
    assert (found.state, found.cause, found.generation) == (GrantState.ACTIVE, None, 2)


async def test_condemned_for_another_cause_stays_so(stores: Stores) -> None:
    """A grant that its owner revoked at the provider is not refreshed, condemned or begun again."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant)
    cause = (ReauthorizationCause.REVOKED_BY_OWNER, AttemptState.REJECTED)
    assert await stores.attempts.condemn(begun.lease, begun.attempt, *cause, a_record())
    assert not await stores.attempts.condemn(begun.lease, begun.attempt, *cause, a_record())
    assert not await _commit(stores, begun, grant)
    now = await _read(stores, grant)
    assert await stores.attempts.begin(now, NEW, 25.0, [SPOOL], a_record()) is Busy.MOVED


async def test_revocation_ends_the_lease(stores: Stores) -> None:
    """A revocation takes the lease from whoever refreshes at that moment."""
    grant = await _put(stores)
    await begin(stores.attempts, grant)
    await stores.grants.revoke(grant, False, a_record())
    assert not await stores.attempts.holder(grant)


async def test_no_change_without_its_record(stores: Stores) -> None:
    """Where the record cannot be written, the change is undone: AUDIT_UNAVAILABLE."""
    grant, other = await _put(stores), await _put(stores, label="other")
    begun = await begin(stores.attempts, grant)
    await stores.behind.break_audit()
    lease, attempt = begun.lease, begun.attempt
    changes = [
        stores.attempts.begin(other, NEW, 25.0, [SPOOL], a_record()),
        stores.attempts.retry(lease, attempt, [new_id()], a_record()),
        stores.attempts.commit(
            lease, attempt, grant, some_tokens(), AttemptState.COMMITTED, a_record()
        ),
        stores.attempts.end(lease, attempt, REJECTED, a_record()),
        stores.attempts.condemn(lease, attempt, *LOST, a_record()),
        stores.attempts.keep_orphan(attempt, b"sealed", a_record()),
    ]
    for change in changes:
        with pytest.raises(VaultError) as refused:
            await change
        assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
    stored = await _read(stores, grant)
    assert replace(stored, read_time=grant.read_time) == grant
    now = await _attempt(stores, attempt)
    assert replace(now, read_time=attempt.read_time) == attempt
    assert await stores.attempts.holder(grant)
    assert not await stores.attempts.holder(other)


async def test_a_pause_holds_for_who_looked_before_it(stores: Stores) -> None:
    """Of two who found an attempt due, the later one does not try it again at once where the first
    has left it in doubt with a pause."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant, 0.1, RefreshClass.G)
    await stores.behind.advance(0.3)
    (due,) = await stores.attempts.unresolved([], 10)
    taken = await stores.attempts.take_over(due, 25.0, [])
    assert taken is not None
    paused = replace(DOUBT, pause_s=60.0)
    assert await stores.attempts.end(*taken, paused, a_record())
    assert await stores.attempts.take_over(due, 25.0, []) is None
    assert not await stores.attempts.holder(grant)
    assert (await _attempt(stores, begun.attempt)).state is AttemptState.IN_DOUBT


async def test_a_late_answer_is_kept_while_it_may_be_missed(stores: Stores) -> None:
    """The answer that came too late stays with an attempt in doubt, and goes once the grant has its
    tokens."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant, 0.05, RefreshClass.G)
    await stores.attempts.keep_orphan(begun.attempt, b"sealed answer", a_record())
    assert await stores.attempts.end(begun.lease, begun.attempt, DOUBT, a_record())
    (due,) = await stores.attempts.unresolved([], 10)
    assert due.orphan_envelope == b"sealed answer"
    taken = await stores.attempts.take_over(due, 25.0, [])
    assert taken is not None
    assert await _commit(stores, Begun(*taken), grant)
    assert (await _attempt(stores, due)).orphan_envelope is None
