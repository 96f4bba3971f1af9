"""ports.RefreshSchedule: one suite for the fake and for PostgreSQL."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.conftest import Stores
from tests.support.attempts import begin
from tests.support.samples import a_grant, a_profile, a_record, put_grant, some_tokens
from vault_service.domain import limits
from vault_service.domain.attempt import AttemptState
from vault_service.domain.audit import AuditAction
from vault_service.domain.grant import NEVER, Grant
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.pacing import Wanted
from vault_service.domain.schedule import Backlog, DueGrant, UsedGrant, ahead_time
from vault_service.ports import Ask, Ending, Look

PAST = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
CRM = OAuthClientName("acme", "crm")
DAY_S = 86_400.0


async def _put(stores: Stores, tenant: str = "acme", **changes: Any) -> Grant:
    """A grant that is due at once, unless its token ends in the future."""
    values: dict[str, Any] = {"access_expire_time": PAST} | changes
    grant = a_grant(tenant, **values)
    return await put_grant(stores.authorizations, stores.grants, grant, str(grant.grant_id))


async def _take(stores: Stores, limit: int = 10, lease_s: float = 60.0) -> list[DueGrant]:
    return list(await stores.schedule.take(limit, lease_s))


async def _refresh(stores: Stores, grant: Grant, **tokens: Any) -> None:
    begun = await begin(stores.attempts, grant)
    made = some_tokens(grant.generation + 1, **tokens)
    assert await stores.attempts.commit(
        begun.lease, begun.attempt, grant, made, AttemptState.COMMITTED, a_record(grant.tenant)
    )


async def _idle_life(stores: Stores, max_idle_s: int) -> None:
    profile = a_profile(max_idle_s=max_idle_s, rate_per_s=7, rate_per_min=70)
    await stores.providers.put(ProviderName("acme", "op"), profile, a_record())


async def test_a_due_row_has_all_that_decides(stores: Stores) -> None:
    """A grant whose moment has come is taken with the facts of its rows, over all tenants."""
    await _idle_life(stores, 5_000_000)
    grant = await _put(stores, access_life_s=1_800)
    other = await _put(stores, "globex")
    taken = {due.grant_id: due for due in await _take(stores)}
    assert taken.keys() == {grant.grant_id, other.grant_id}
    due = taken[grant.grant_id]
    assert (due.name, due.client) == (grant.name, CRM)
    assert (due.state, due.generation, due.has_refresh_token) == (grant.state, 1, True)
    assert (due.access_expire_time, due.access_life_s) == (PAST, 1_800)
    assert (due.max_idle_s, due.rate_per_s, due.rate_per_min) == (5_000_000, 7, 70)
    assert (due.failures, due.not_before, due.warned_generation) == (0, None, None)
    assert (due.planned, due.suspended, due.last_used_time) == (False, False, None)
    assert abs((due.read_time - due.refresh_time).total_seconds()) < 30
    assert 30 < (due.leased_until - due.read_time).total_seconds() <= 60
    assert (taken[other.grant_id].max_idle_s, due.kills_old_token) == (0, False)


async def test_a_provider_that_ends_old_tokens_is_seen(stores: Stores) -> None:
    """Whether a refresh ends the token before is among the facts, and a token without an end never
    comes due."""
    profile = a_profile(refresh_kills_old_access_token=True, probe_endpoint="https://op.example/me")
    await stores.providers.put(ProviderName("acme", "op"), profile, a_record())
    grant = await _put(stores)
    await _put(stores, access_expire_time=NEVER)
    (due,) = await _take(stores)
    assert (due.grant_id, due.kills_old_token) == (grant.grant_id, True)


async def test_what_is_not_due_is_not_taken(stores: Stores) -> None:
    """A token with life left, and one so short that only callers refresh it, are not due."""
    await _put(stores, access_expire_time=FUTURE)
    await _put(stores, access_life_s=limits.AHEAD_LIFE_MIN_S - 1)
    assert await _take(stores) == []
    assert await stores.schedule.backlog() == Backlog(0, 0.0)


async def test_one_replica_takes_a_row(stores: Stores) -> None:
    """What was taken is nobody else's until its lease ends, and then it is again."""
    grants = {(await _put(stores)).grant_id for _ in range(5)}
    first, second = await _take(stores, 3, 0.2), await _take(stores, 3)
    assert len(first) == 3
    assert {due.grant_id for due in (*first, *second)} == grants
    assert await _take(stores) == []
    await stores.behind.advance(0.3)
    assert {due.grant_id for due in await _take(stores)} == {due.grant_id for due in first}


async def test_soonest_end_first(stores: Stores) -> None:
    """Within a batch, what ends sooner comes before what ends later."""
    late = await _put(stores, access_expire_time=PAST + timedelta(days=9))
    soon = await _put(stores)
    assert [due.grant_id for due in await _take(stores)] == [soon.grant_id, late.grant_id]


async def test_backlog(stores: Stores) -> None:
    """What is due and not taken is counted, with the age of the oldest."""
    for _ in range(3):
        await _put(stores)
    backlog = await stores.schedule.backlog()
    assert backlog.due == 3
    assert backlog.lag_s > DAY_S
    await _take(stores, 2)
    assert (await stores.schedule.backlog()).due == 1


async def test_put_off(stores: Stores) -> None:
    """A row that was put off comes at its time, says that it was planned, or leaves the index."""
    for _ in range(3):
        await _put(stores)
    now, later, never = await _take(stores)
    await stores.schedule.put_off([Look(now, PAST, True), Look(later, FUTURE), Look(never, None)])
    (again,) = await _take(stores)
    assert (again.grant_id, again.planned) == (now.grant_id, True)


async def test_new_tokens_are_not_put_off(stores: Stores) -> None:
    """Who refreshed a row after it was taken gave it its next moment, and that stays."""
    grant = await _put(stores)
    (due,) = await _take(stores)
    await _refresh(stores, grant, access_expire_time=PAST)
    await stores.schedule.put_off([Look(due, None)])
    (again,) = await _take(stores)
    assert (again.generation, again.planned) == (2, False)


async def test_new_tokens_enter_the_index(stores: Stores) -> None:
    """After a refresh the row is due at its moment; with an idle life, before that ends."""
    await _refresh(stores, await _put(stores), access_expire_time=FUTURE)
    assert await _take(stores) == []
    await _idle_life(stores, 1)
    await _refresh(stores, await _put(stores), access_expire_time=FUTURE)
    await stores.behind.advance(1.0)
    assert [due.generation for due in await _take(stores)] == [2]


async def test_without_refresh_token_no_keep_alive(stores: Stores) -> None:
    """What cannot be refreshed has no idle life to keep."""
    await _idle_life(stores, 1)
    await _put(stores, refresh_envelope=None, access_expire_time=FUTURE)
    await stores.behind.advance(1.0)
    assert await _take(stores) == []


async def test_failures_are_seen(stores: Stores) -> None:
    """A due row says how often its refresh failed and what holds it back."""
    grant = await _put(stores)
    begun = await begin(stores.attempts, grant)
    ending = Ending(AttemptState.REJECTED, "PROVIDER_UNAVAILABLE", 30.0)
    assert await stores.attempts.end(begun.lease, begun.attempt, ending, a_record())
    (due,) = await _take(stores)
    assert due.failures == 1
    assert due.not_before is not None
    assert 20 < (due.not_before - due.read_time).total_seconds() <= 30


async def test_suspension_is_seen(stores: Stores) -> None:
    """A due row says that its OAuthClient is suspended."""
    await _put(stores)
    await stores.oauth_clients.suspend(CRM, True, a_record())
    (due,) = await _take(stores)
    assert due.suspended


async def test_used(stores: Stores) -> None:
    """A use is written once in a tenth of the time that it counts; the first makes a row due, one
    of a grant that is gone does nothing."""
    grant = await _put(stores, access_expire_time=FUTURE)
    used = UsedGrant("acme", grant.grant_id, 5.0)
    assert await stores.schedule.note_used([used], DAY_S) == 1
    (due,) = await _take(stores, lease_s=0.05)
    assert due.last_used_time is not None
    assert 4 < (due.read_time - due.last_used_time).total_seconds() < 30
    assert await stores.schedule.note_used([replace(used, age_s=0.0)], DAY_S) == 0
    await stores.schedule.put_off([Look(due, FUTURE)])
    assert await stores.schedule.note_used([replace(used, age_s=0.0)], 10.0) == 1
    assert await _take(stores) == []
    gone = replace(used, grant_id=a_grant().grant_id)
    assert await stores.schedule.note_used([gone], DAY_S) == 0


async def test_used_again(stores: Stores) -> None:
    """A grant that left the index comes back with the first use after a long time."""
    grant = await _put(stores)
    long_ago = UsedGrant("acme", grant.grant_id, 10 * DAY_S)
    assert await stores.schedule.note_used([long_ago], DAY_S) == 1
    (due,) = await _take(stores)
    await stores.schedule.put_off([Look(due, None)])
    assert await stores.schedule.note_used([replace(long_ago, age_s=0.0)], DAY_S) == 1
    assert len(await _take(stores)) == 1


async def test_slots_are_common(stores: Stores) -> None:
    """Two asks for one OAuthClient get slots apart from each other, those of another their own."""
    other = OAuthClientName("globex", "crm")
    ask = Ask([Wanted(False, None)] * 3, timedelta(seconds=10), 5)
    first = (await stores.schedule.plan({CRM: ask, other: ask}))[CRM]
    second = (await stores.schedule.plan({CRM: ask}))[CRM]
    assert (len(first.run), len(first.later)) == (1, 2)
    assert (len(second.run), len(second.later)) == (0, 3)
    moments = sorted([*first.run.values(), *first.later.values(), *second.later.values()])
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    assert min(gaps) >= timedelta(seconds=10)
    assert max(gaps) < timedelta(seconds=20)
    assert len((await stores.schedule.plan({other: ask}))[other].run) == 0


async def test_warn_once(stores: Stores) -> None:
    """EXPIRING_SOON is on record once for a generation, and again for the next."""
    grant = await _put(stores)
    (due,) = await _take(stores)
    record = a_record(action=AuditAction.GRANT_EXPIRING_SOON)
    assert await stores.schedule.warn(due, record)
    assert not await stores.schedule.warn(due, a_record())
    assert (await stores.records())[0].record_id == record.record_id
    await _refresh(stores, grant, access_expire_time=PAST)
    (again,) = await _take(stores)
    assert (again.generation, again.warned_generation) == (2, 1)
    assert not await stores.schedule.warn(due, a_record())
    assert await stores.schedule.warn(again, a_record())


async def test_no_warning_of_a_revoked_grant(stores: Stores) -> None:
    """What was revoked since it was taken is not warned of."""
    grant = await _put(stores)
    (due,) = await _take(stores)
    await stores.grants.revoke(grant, False, a_record())
    before = len(await stores.records())
    assert not await stores.schedule.warn(due, a_record())
    assert len(await stores.records()) == before


@pytest.mark.parametrize("life_s", [3_600, 86_400])
async def test_the_moment_is_that_of_the_domain(stores: Stores, life_s: int) -> None:
    """A row is due after the moment that every replica computes, and not before it."""
    now = (await _put(stores, access_expire_time=FUTURE)).read_time
    ids = []
    for seconds in (-60, 60):
        grant = a_grant(access_life_s=life_s)
        left = now - ahead_time(now, life_s, grant.grant_id, 1)
        moment = now + timedelta(seconds=seconds)
        due = replace(grant, access_expire_time=moment + left)
        ids.append(due.grant_id)
        await put_grant(stores.authorizations, stores.grants, due, str(due.grant_id))
    assert [due.grant_id for due in await _take(stores)] == ids[:1]
