"""The disclosure statement on a real PostgreSQL: what it accepts, its locks, and its races."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest

from tests.support.attempts import SPOOL, begin
from tests.support.postgres import APP, TestDatabase
from tests.support.postgres_rows import make_tenant
from tests.support.samples import a_grant, a_record, some_tokens
from vault_service.adapters.postgres import rows
from vault_service.adapters.postgres.audit import PostgresAuditLog
from vault_service.domain.attempt import AttemptState
from vault_service.domain.audit import AuditRecord
from vault_service.domain.errors import VaultError
from vault_service.domain.grant import Grant, GrantState, ReauthorizationCause

_STATEMENT = (
    "SELECT * FROM disclose($1::int[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[],"
    " $6::smallint[], $7::smallint[], $8::text[], $9::text[], $10::text[], $11::text[],"
    " $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[])"
    " AS ordinal"
)
Entry = tuple[AuditRecord, Grant | None]


def _arguments(entries: Sequence[Entry], ordinals: Sequence[int]) -> list[Sequence[object]]:
    columns = zip(*(rows.record_to_row(record) for record, _ in entries), strict=True)
    grants = [grant for _, grant in entries]
    return [
        ordinals,
        [grant and grant.grant_id for grant in grants],
        [grant and grant.revision for grant in grants],
        *columns,
    ]


async def _written(database: TestDatabase, entries: Sequence[Entry]) -> list[bool]:
    ids = {row["record_id"] for row in await database.sql("SELECT record_id FROM audit_records")}
    return [record.record_id in ids for record, _ in entries]


async def test_a_batch_is_judged_entry_by_entry(database: TestDatabase) -> None:
    """Of one mixed batch exactly the entries without a grant, or whose grant is ACTIVE at that
    revision in that tenant, are written, and their own ordinals come back."""
    rooms = await make_tenant(database)
    await make_tenant(database, "globex")
    good, other = await rooms.put(label="a"), await rooms.put(a_grant("globex"), label="b")
    gone = await rooms.grants.revoke(await rooms.put(label="c"), False, a_record())
    asleep = await rooms.put(label="d")
    begun = await begin(rooms.attempts, asleep)
    cause, state = ReauthorizationCause.BY_OPERATOR, AttemptState.REJECTED
    assert await rooms.attempts.condemn(begun.lease, begun.attempt, cause, state, a_record())
    entries: list[tuple[AuditRecord, Grant | None, bool]] = [
        (a_record(), good, True),
        (a_record("globex"), other, True),
        (a_record(), other, False),
        (a_record("globex"), good, False),
        (a_record(), replace(good, revision=0), False),
        (a_record(), replace(good, revision=2), False),
        (a_record(), gone, False),
        (a_record(), replace(asleep, revision=2), False),
        (a_record(), a_grant(), False),
        (a_record("-"), None, True),
        (a_record("never-created"), None, True),
        (a_record(), good, True),
    ]
    batch = [(record, grant) for record, grant, _ in entries]
    ordinals = [100 + 7 * n for n in range(len(batch))]
    accepted = await database.app.call(_STATEMENT, *_arguments(batch, ordinals))
    wanted = [ok for _, _, ok in entries]
    assert {row["ordinal"] for row in accepted} == {
        ordinal for ordinal, ok in zip(ordinals, wanted, strict=True) if ok
    }
    assert await _written(database, batch) == wanted


async def test_an_empty_batch(database: TestDatabase) -> None:
    """A batch of nothing accepts nothing."""
    assert await database.app.call(_STATEMENT, *([[]] * 18)) == []


async def test_function_is_not_fooled_by_temporary_tables(database: TestDatabase) -> None:
    """Tables of the caller's own making, named like ours, are not the ones that are asked."""
    grant = await (await make_tenant(database)).put()
    forged = replace(grant, revision=99)
    async with database.app.worker_transaction() as connection:
        await connection.execute(
            "CREATE TEMP TABLE grants AS SELECT $1::uuid AS grant_id, 'acme' AS tenant,"
            " 1 AS state, 99::bigint AS revision".replace("$1", f"'{grant.grant_id}'")
        )
        await connection.execute("CREATE TEMP TABLE audit_records (record_id uuid)")
        await connection.execute("SET LOCAL search_path = pg_temp, tokenvault")
        accepted = await connection.fetch(
            _STATEMENT, *_arguments([(a_record(), forged), (a_record(), grant)], [1, 2])
        )
    assert [row["ordinal"] for row in accepted] == [2]


async def test_text_that_postgres_cannot_hold(database: TestDatabase) -> None:
    """NUL and lone surrogates in one record are escaped and do not fail its whole batch."""
    await make_tenant(database)
    log = PostgresAuditLog(database.app)
    strange = a_record(resource="a\0b\ud800", detail={"k\0": "v\udfff", "long": "x" * 100_000})
    await asyncio.gather(log.append(strange), log.append(a_record()))
    (stored,) = [
        record
        for record in (await log.list("acme", 50, "")).items
        if record.record_id == strange.record_id
    ]
    assert stored.resource == "a\\x00b\\ud800"
    assert stored.detail["k\\x00"] == "v\\udfff"
    assert len(stored.detail["long"]) < 5_000


async def test_revocation_waits_for_disclosures_under_way(database: TestDatabase) -> None:
    """While a disclosure is not yet committed, the revocation of its grant waits for it."""
    rooms = await make_tenant(database)
    grant = await rooms.put()
    async with database.app.worker_transaction() as connection:
        (accepted,) = await connection.fetch(_STATEMENT, *_arguments([(a_record(), grant)], [1]))
        assert accepted["ordinal"] == 1
        revoking = asyncio.create_task(rooms.grants.revoke(grant, False, a_record()))
        done, _ = await asyncio.wait([revoking], timeout=0.3)
        assert not done
    assert (await revoking) is not None


async def test_disclosure_waits_for_a_revocation_under_way(database: TestDatabase) -> None:
    """A disclosure that meets a revocation not yet committed waits, and is then refused."""
    grant = await (await make_tenant(database)).put()
    log = PostgresAuditLog(database.app)
    async with database.app.tenant_transaction("acme") as connection:
        await connection.execute(
            "UPDATE grants SET state = 3, access_envelope = NULL, refresh_envelope = NULL,"
            " revision = revision + 1 WHERE grant_id = $1",
            grant.grant_id,
        )
        disclosing = asyncio.create_task(log.disclose(a_record(), grant))
        done, _ = await asyncio.wait([disclosing], timeout=0.3)
        assert not done
    assert await disclosing is False


@pytest.mark.parametrize("round_", range(5))
async def test_revocation_against_concurrent_disclosures(
    database: TestDatabase, round_: int
) -> None:
    """Of hundreds of disclosures over two pools none commits after the revocation returned, none
    that starts afterwards is accepted, and the accepted ones are exactly those on record."""
    rooms = await make_tenant(database)
    grant = await rooms.put()
    pools = [database.open(APP, pool_size=2) for _ in range(2)]
    logs = [PostgresAuditLog(pool) for pool in pools]
    under_way, returned, late, asked = asyncio.Event(), asyncio.Event(), 0, 0
    chance = random.Random(round_)

    async def caller(number: int) -> int:
        nonlocal asked, late
        accepted = 0
        await asyncio.sleep(chance.uniform(0, 0.02))
        for _ in range(40):
            started_after, asked = returned.is_set(), asked + 1
            if await logs[number % 2].disclose(a_record(request_id="race"), grant):
                accepted += 1
                under_way.set()
                late += started_after
        return accepted

    async def revoker() -> int:
        await under_way.wait()
        await asyncio.sleep(chance.uniform(0, 0.02))
        await rooms.grants.revoke(grant, False, a_record())
        returned.set()
        return await _disclosures(database)

    try:
        *counts, seen = await asyncio.gather(*(caller(n) for n in range(40)), revoker())
    finally:
        for pool in pools:
            await pool.close()
    assert late == 0
    assert sum(counts) == seen == await _disclosures(database)
    assert 0 < seen < asked == 1_600


async def _disclosures(database: TestDatabase) -> int:
    found = await database.sql("SELECT count(*) FROM audit_records WHERE request_id = 'race'")
    return int(found[0][0])


async def test_overlapping_batches_do_not_deadlock(database: TestDatabase) -> None:
    """Batches over the same grants in any order, beside refreshes of them and beside a change of
    several grants by id, all get through."""
    rooms = await make_tenant(database)
    # Against the order of ids, so that the order of the table is not the order of locking.
    new = sorted((a_grant() for _ in range(12)), key=lambda grant: grant.grant_id, reverse=True)
    grants = [await rooms.put(grant, label=f"l{n}") for n, grant in enumerate(new)]
    before = await _deadlocks(database)
    chance = random.Random(7)

    async def discloser() -> None:
        for _ in range(40):
            order = chance.sample(grants, len(grants))
            batch: list[Entry] = [(a_record(), grant) for grant in order]
            await database.app.call(_STATEMENT, *_arguments(batch, range(1, len(batch) + 1)))

    async def refresher(grant: Grant) -> None:
        for generation in range(2, 8):
            now = await rooms.grants.get(grant.name)
            assert now is not None
            begun = await begin(rooms.attempts, now)
            assert await rooms.attempts.commit(
                begun.lease, begun.attempt, now, some_tokens(generation),
                AttemptState.COMMITTED, a_record(),
            )  # fmt: skip

    async def changer() -> None:
        for _ in range(40):
            async with database.app.tenant_transaction("acme") as connection:
                for grant in reversed(grants):
                    await connection.execute(
                        "UPDATE grants SET update_time = now() WHERE grant_id = $1", grant.grant_id
                    )

    await asyncio.gather(
        *(discloser() for _ in range(4)), *(refresher(grant) for grant in grants[:6]), changer()
    )
    assert await _deadlocks(database) == before


async def _deadlocks(database: TestDatabase) -> int:
    found = await database.sql(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return int(found[0][0])


async def test_revocations_beside_refreshes_and_leases(database: TestDatabase) -> None:
    """Revoking, refreshing and leasing one grant at one moment ends in a tombstone each time,
    without a deadlock and without a token stored after it."""
    rooms = await make_tenant(database)
    for _ in range(25):
        grant = await rooms.put(label="again")
        begun = await begin(rooms.attempts, grant)
        results = await asyncio.gather(
            rooms.attempts.commit(
                begun.lease, begun.attempt, grant, some_tokens(),
                AttemptState.COMMITTED, a_record(),
            ),
            rooms.grants.revoke(grant, True, a_record()),
            *(rooms.attempts.take_over(begun.attempt, 0.001, [SPOOL]) for _ in range(4)),
        )  # fmt: skip
        assert results[1] is not None
        now = await rooms.grants.get(grant.name)
        assert now is not None
        assert now.state is GrantState.REVOKED
        assert (now.access_envelope, now.refresh_envelope) == (None, None)


async def test_a_duplicate_record_fails_its_batch(database: TestDatabase) -> None:
    """A record id that stands already is refused by the table: nothing of that call is written."""
    await make_tenant(database)
    record, beside = a_record(), a_record()
    await PostgresAuditLog(database.app).append(record)
    batch: list[Entry] = [(beside, None), (record, None)]
    with pytest.raises(VaultError) as refused:
        await database.app.call(_STATEMENT, *_arguments(batch, [1, 2]))
    assert isinstance(refused.value.__cause__, asyncpg.UniqueViolationError)
    assert await _written(database, [(beside, None)]) == [False]
