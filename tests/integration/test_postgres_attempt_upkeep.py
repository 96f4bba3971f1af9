"""Old refresh attempts on a real PostgreSQL."""

from __future__ import annotations

from tests.support.attempts import begin
from tests.support.postgres import TestDatabase
from tests.support.postgres_rows import GrantRooms, make_tenant
from tests.support.samples import a_grant, a_record
from vault_service.adapters.postgres.attempt_upkeep import PostgresAttemptSweeper
from vault_service.domain.attempt import AttemptState, Begun
from vault_service.domain.attempt_backlog import AttemptBacklog, DoubtCause
from vault_service.domain.grant import ReauthorizationCause
from vault_service.ports import Ending

ENDED = Ending(AttemptState.REJECTED, "")


async def _attempt(rooms: GrantRooms, tenant: str, label: str) -> Begun:
    return await begin(rooms.attempts, await rooms.put(a_grant(tenant), label))


async def _ended(rooms: GrantRooms, tenant: str, label: str) -> Begun:
    begun = await _attempt(rooms, tenant, label)
    assert await rooms.attempts.end(begun.lease, begun.attempt, ENDED, a_record(tenant))
    return begun


async def test_only_old_and_ended_attempts_are_forgotten(database: TestDatabase) -> None:
    """After a week an ended attempt goes, in every tenant; one that is unresolved, young or whose
    late answer may be missed stays."""
    kept = []
    for tenant in ("acme", "globex"):
        rooms = await make_tenant(database, tenant)
        await _ended(rooms, tenant, "old")
        kept.append(await _attempt(rooms, tenant, "unresolved"))
        missed = await _attempt(rooms, tenant, "missed")
        lost = (ReauthorizationCause.SUCCESSOR_LOST, AttemptState.RESOLVED_LOST)
        await rooms.attempts.condemn(missed.lease, missed.attempt, *lost, a_record(tenant))
        await rooms.attempts.keep_orphan(missed.attempt, b"sealed", a_record(tenant))
        kept.append(missed)
    await database.sql("UPDATE refresh_attempts SET update_time = now() - interval '8 days'")
    kept.append(await _ended(GrantRooms.of(database), "acme", "young"))
    sweeper = PostgresAttemptSweeper(database.worker)
    assert [await sweeper.delete_old(1) for _ in range(3)] == [1, 1, 0]
    left = await database.sql("SELECT attempt_id FROM refresh_attempts")
    assert {row["attempt_id"] for row in left} == {one.attempt.attempt_id for one in kept}


async def test_unresolved_attempts_are_counted(database: TestDatabase) -> None:
    """The count is of all tenants, with the age of the oldest; ended ones are none of it."""
    sweeper = PostgresAttemptSweeper(database.worker)
    assert await sweeper.unresolved() == AttemptBacklog()
    for tenant in ("acme", "globex"):
        rooms = await make_tenant(database, tenant)
        await _ended(rooms, tenant, "ended")
        await _attempt(rooms, tenant, "unresolved")
    await database.sql(
        "UPDATE refresh_attempts SET create_time = now() - interval '1 hour'"
        " WHERE tenant = 'globex'"
    )
    backlog = await sweeper.unresolved()
    assert (backlog.unresolved, backlog.in_doubt) == (2, {})
    assert 3_600 <= backlog.oldest_s < 3_700


async def test_doubts_are_counted_by_cause(database: TestDatabase) -> None:
    """What is under way is in no doubt; of each other one the count says what it waits for."""
    rooms = await make_tenant(database, "acme")
    for number in range(6):
        await _attempt(rooms, "acme", f"l-{number}")
    changes = [
        "state = 5",
        "state = 5, until_it_answers = true",
        "state = 5, waits_for = 1",
        "state = 5, waits_for = 2",
        "instance = 'i-ended'",
    ]
    made = await database.sql("SELECT attempt_id FROM refresh_attempts")
    for row, change in zip(made, changes, strict=False):
        one = f"WHERE attempt_id = '{row['attempt_id']}'"
        await database.sql(f"UPDATE refresh_attempts SET {change} {one}")
    await database.sql(
        "UPDATE grant_leases SET lease_until = '-infinity' WHERE grant_id IN"
        " (SELECT grant_id FROM refresh_attempts WHERE instance = 'i-ended')"
    )
    backlog = await PostgresAttemptSweeper(database.worker).unresolved()
    assert backlog.unresolved == 6
    assert backlog.in_doubt == dict.fromkeys(DoubtCause, 1)
