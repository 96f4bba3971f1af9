"""The outbox on a real PostgreSQL: order, races, the bell, and clearing away."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import replace

import asyncpg
import pytest

from tests.support.postgres import APP, WORKER, TestDatabase
from tests.support.postgres_rows import GrantRooms, make_tenant
from tests.support.samples import a_grant, a_record, a_webhook, an_authorization
from vault_service.adapters.postgres.bell import PostgresEventBell
from vault_service.adapters.postgres.events import (
    PostgresEventStore,
    PostgresEventSweeper,
    insert_event,
)
from vault_service.adapters.postgres.webhook_queue import PostgresWebhookQueue
from vault_service.adapters.postgres.webhooks import PostgresWebhookStore
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.event import EventKind, GrantEvent
from vault_service.domain.grant import Grant

_WRITERS, _EACH = 4, 40


async def _write_slowly(database: TestDatabase, grant: Grant, chance: random.Random) -> uuid.UUID:
    """One event in a transaction that stays open for a moment after it."""
    event_id = uuid.uuid4()
    async with database.app.tenant_transaction(grant.tenant) as connection:
        await insert_event(connection, event_id, grant, EventKind.EXPIRING_SOON)
        await asyncio.sleep(chance.uniform(0, 0.02))
    return event_id


class _NaiveReader:
    """What most outboxes do: go by the number of the row."""

    def __init__(self, database: TestDatabase) -> None:
        self._database = database
        self._last = 0
        self.seen: list[uuid.UUID] = []

    async def look(self) -> None:
        async with self._database.app.tenant_transaction("acme") as connection:
            found = await connection.fetch(
                "SELECT position, event_id FROM grant_events WHERE position > $1 ORDER BY position",
                self._last,
            )
        for row in found:
            self._last = row["position"]
            self.seen.append(row["event_id"])


class _Reader:
    """Reads by cursor, and at random begins anew from the last one, on another store."""

    def __init__(self, database: TestDatabase, cursor: str, chance: random.Random) -> None:
        self._database = database
        self._cursor = cursor
        self._chance = chance
        self._store = PostgresEventStore(database.app)
        self.seen: list[GrantEvent] = []

    async def look(self) -> None:
        if self._chance.random() < 0.3:
            self._store = PostgresEventStore(self._database.app)
            self._cursor = await self._store.begin("acme", self._cursor)
        batch = await self._store.read("acme", self._cursor, self._chance.randint(1, 5))
        for event, cursor in batch.events:
            self.seen.append(event)
            self._cursor = cursor
            if self._chance.random() < 0.2:
                return  # broken off in the middle of a batch
        self._cursor = batch.cursor


async def test_nothing_is_lost_between_writers_that_commit_out_of_order(
    database: TestDatabase,
) -> None:
    """Four writers whose commits overtake each other, and a reader that breaks off at random: it
    sees each event once. A reader by row number misses some of the same events."""
    rooms = await make_tenant(database)
    grants = [await rooms.put(label=f"w{n}") for n in range(_WRITERS)]
    chance = random.Random(7)
    naive = _NaiveReader(database)
    await naive.look()
    naive.seen.clear()
    reader = _Reader(database, await PostgresEventStore(database.app).begin("acme", ""), chance)
    written: list[uuid.UUID] = []

    async def writer(grant: Grant) -> None:
        for _ in range(_EACH):
            written.append(await _write_slowly(database, grant, chance))

    async def until_written(look: _NaiveReader | _Reader) -> None:
        while len(written) < _WRITERS * _EACH:
            await look.look()

    await asyncio.gather(*map(writer, grants), until_written(naive), until_written(reader))
    for _ in range(_WRITERS * _EACH):
        await reader.look()
    await naive.look()
    assert len(reader.seen) == len(written)
    assert {event.event_id for event in reader.seen} == set(written)
    assert len(naive.seen) < len(written), "the writers never overtook each other"


async def test_events_of_one_grant_keep_their_order(database: TestDatabase) -> None:
    """A transaction that began first and waited for the grant's row is told after the one that it
    waited for, though its id is lower."""
    rooms = await make_tenant(database)
    grant = await rooms.put()
    authorization = an_authorization()
    await rooms.authorizations.insert(authorization, 600, a_record())
    events = PostgresEventStore(database.app)
    cursor = await events.begin("acme", "")
    async with database.app.tenant_transaction("acme") as early:
        await early.execute("SELECT pg_current_xact_id()")
        async with database.app.tenant_transaction("acme") as late:
            await late.execute("UPDATE grants SET revision = 2 WHERE tenant = 'acme'")
            second = replace(grant, revision=2)
            await insert_event(late, uuid.uuid4(), second, EventKind.RECONNECTED)
        # Committed, and not to be read yet: an older transaction may still write before it.
        batch = await events.read("acme", cursor, 10)
        assert (list(batch.events), batch.more) == ([], True)
        await early.execute("UPDATE grants SET revision = 3 WHERE tenant = 'acme'")
        third = replace(grant, revision=3)
        await insert_event(early, uuid.uuid4(), third, EventKind.RECONNECTED)
    batch = await events.read("acme", cursor, 10)
    assert [event.revision for event, _ in batch.events] == [2, 3]


async def test_racing_changes_are_told_in_the_order_of_revisions(database: TestDatabase) -> None:
    """Consents and revocations of the same grants at once: the events of each grant have its
    revisions in order, without a gap."""
    rooms = await make_tenant(database)
    events = PostgresEventStore(database.app)
    cursor = await events.begin("acme", "")
    grants = [await rooms.put(a_grant(), label=f"g{n}") for n in range(6)]

    async def reconnect(grant: Grant) -> None:
        for _ in range(6):
            authorization = an_authorization()
            await rooms.authorizations.insert(authorization, 600, a_record())
            current = await rooms.grants.get(grant.name)
            assert current is not None
            await rooms.grants.reconnect(
                replace(grant, generation=current.generation + 1),
                current.revision,
                authorization,
                a_record(),
            )

    async def revoke(grant: Grant) -> None:
        await asyncio.sleep(random.uniform(0, 0.1))
        await rooms.grants.revoke(grant, False, a_record())

    await asyncio.gather(
        *(work(grant) for grant in grants for work in (reconnect, reconnect, revoke))
    )
    told: dict[uuid.UUID, list[int]] = {}
    while (batch := await events.read("acme", cursor, 7)).events:
        for event, _ in batch.events:
            told.setdefault(event.grant_id, []).append(event.revision)
        cursor = batch.cursor
    assert len(told) == len(grants)
    for revisions in told.values():
        assert revisions == list(range(1, len(revisions) + 1))


async def test_the_bell_rings_at_commit(database: TestDatabase) -> None:
    """A listener hears of a change on another connection when it commits, and of no other
    tenant's; after its connection was cut it listens again, and everyone looks."""
    rooms = await make_tenant(database)
    await make_tenant(database, "globex")
    bell = PostgresEventBell(database.app)
    await bell.wait("acme", 0, 0)
    heard = await bell.wait("acme", 0, 0)
    listening = asyncio.create_task(bell.listen())
    first = await bell.wait("acme", heard, 5.0)
    assert first > heard, "connected: everyone looks"
    waiting = asyncio.create_task(bell.wait("acme", first, 30.0))
    await rooms.put(a_grant("globex"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await rooms.put()
    async with asyncio.timeout(5):
        second = await waiting
    assert second > first
    await database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = '{database.name}' AND query LIKE 'LISTEN%'"
    )
    with pytest.raises(VaultError) as cut:
        async with asyncio.timeout(15):
            await listening
    assert cut.value.reason is Reason.STORE_UNREACHABLE
    again = asyncio.create_task(bell.listen())
    async with asyncio.timeout(5):
        assert await bell.wait("acme", second, 5.0) > second
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_a_silent_tenant_waits_for_its_limit(database: TestDatabase) -> None:
    """Without a ring the waiter comes back after its limit, with the number it had."""
    bell = PostgresEventBell(database.app)
    assert await bell.wait("acme", 0, 0.01) == 0


async def test_old_events_are_cleared_away(database: TestDatabase) -> None:
    """The worker deletes what is older than a week and a margin, oldest first, a batch at a time;
    younger ones stay."""
    rooms = await make_tenant(database)
    for n in range(4):
        await rooms.put(label=f"l{n}")
    await database.sql(
        "UPDATE grant_events SET event_time = event_time - interval '8 days'"
        " WHERE position IN (SELECT position FROM grant_events ORDER BY position LIMIT 3)"
    )
    sweeper = PostgresEventSweeper(database.worker)
    assert [await sweeper.sweep(2), await sweeper.sweep(2), await sweeper.sweep(2)] == [2, 1, 0]
    assert len(await database.sql("SELECT 1 FROM grant_events")) == 1


async def test_events_of_a_restored_dump(database: TestDatabase) -> None:
    """Rows whose transaction ids lie ahead of this cluster's, as after a restore, become the oldest
    in their order, new events can be read at once, and webhooks are told of them."""
    rooms = await make_tenant(database)
    assert await PostgresWebhookStore(database.app).insert(a_webhook(), a_record())
    grant = await rooms.put()
    await database.sql("UPDATE grant_events SET order_xid = '4611686018427387904'")
    await database.sql("UPDATE webhooks SET after_xid = '4611686018427387904'")
    queue = PostgresWebhookQueue(database.app, database.worker)
    await PostgresEventSweeper(database.worker).sweep(10)
    cursor = await PostgresEventStore(database.app).begin("acme", "")
    await rooms.grants.revoke(grant, False, a_record())
    batch = await PostgresEventStore(database.app).read("acme", cursor, 10)
    assert [event.kind for event, _ in batch.events] == [EventKind.REVOKED]
    assert await queue.fan_out(10) == 1


async def test_an_old_transaction_that_holds_events_back_is_noticed(
    database: TestDatabase,
) -> None:
    """Events that nobody can read for half a minute, because a transaction stays open, are
    counted for the log."""
    rooms = await make_tenant(database)
    sweeper = PostgresEventSweeper(database.worker)
    holding = database.open(APP)
    async with holding.tenant_transaction("acme") as holder:
        await holder.execute("SELECT pg_current_xact_id()")
        await rooms.put()
        assert await sweeper.late() == 0
        await database.sql("UPDATE grant_events SET event_time = event_time - interval '1 minute'")
        assert await sweeper.late() == 1
    await holding.close()


@pytest.mark.parametrize("role", [APP, WORKER])
async def test_who_may_change_events(database: TestDatabase, role: str) -> None:
    """The role of requests only adds events, the worker only removes or renumbers them: neither
    can rewrite one."""
    await (await _rooms(database)).put()
    opened = database.open(role)
    forbidden = ["UPDATE grant_events SET kind = 7"]
    if role == APP:
        forbidden += ["DELETE FROM grant_events", "UPDATE grant_events SET order_xid = '3'"]
    else:
        forbidden += ["INSERT INTO grant_events (tenant) VALUES ('acme')"]
    for statement in forbidden:
        with pytest.raises(VaultError) as refused:
            await opened.call(statement)
        assert isinstance(refused.value.__cause__, asyncpg.InsufficientPrivilegeError)
    await opened.close()


async def _rooms(database: TestDatabase) -> GrantRooms:
    return await make_tenant(database)
