"""Migrations on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from tests.support.postgres import APP, OWNER, WORKER, DevPostgres
from vault_service.adapters.postgres.migrate import (
    Migration,
    MigrationsMissing,
    RoleTooPowerful,
    check_migrations,
    check_role,
    migrate,
    packaged_migrations,
)
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.errors import Reason, VaultError

_NAMES = [migration.name for migration in packaged_migrations()]
_MORE = Migration("9001_more", "CREATE TABLE more (x integer); INSERT INTO more VALUES (1)")
_BROKEN = Migration("9002_broken", "CREATE TABLE half (x integer); SELECT 1 / 0")


@dataclass(frozen=True, slots=True)
class Empty:
    """A database in which nothing was migrated, as three roles see it."""

    owner: Database
    app: Database
    worker: Database


@pytest.fixture
async def empty(postgres_server: DevPostgres) -> AsyncIterator[Empty]:
    """A database of the owner role's, else empty."""
    name = await asyncio.to_thread(postgres_server.empty_database)
    opened = [Database(postgres_server.settings(role, name)) for role in (OWNER, APP, WORKER)]
    yield Empty(*opened)
    for database in opened:
        await database.close()
    await asyncio.to_thread(postgres_server.drop, name)


def test_numbered_without_gaps() -> None:
    """The files of this release are numbered from 0001 on, each once."""
    assert [name[:4] for name in _NAMES] == [f"{n:04}" for n in range(1, len(_NAMES) + 1)]


async def test_migrate_is_idempotent(empty: Empty) -> None:
    """The first run applies everything in order, the second nothing."""
    assert await migrate(empty.owner) == _NAMES
    assert await migrate(empty.owner) == []
    for database in (empty.owner, empty.app, empty.worker):
        await check_migrations(database)


async def test_two_at_once(empty: Empty) -> None:
    """Of migrations started at one moment one applies everything and the others nothing."""
    applied = await asyncio.gather(*(migrate(empty.owner) for _ in range(3)))
    assert sorted(applied) == [[], [], _NAMES]


async def test_missing_ones_are_named(empty: Empty) -> None:
    """Before and between migrations the check names what is missing and what to run."""
    with pytest.raises(MigrationsMissing, match=r"0001_main_job.*run: tokenvault migrate"):
        await check_migrations(empty.app)
    await migrate(empty.owner)
    newer = (*packaged_migrations(), _MORE)
    with pytest.raises(MigrationsMissing, match=r"migrations missing: 9001_more;"):
        await check_migrations(empty.app, newer)
    assert await migrate(empty.owner, newer) == ["9001_more"]
    await check_migrations(empty.app, newer)


async def test_a_database_that_is_ahead(empty: Empty) -> None:
    """The release before runs beside the next: a migration it does not know is no fault."""
    await migrate(empty.owner, (*packaged_migrations(), _MORE))
    await check_migrations(empty.app)
    assert await migrate(empty.owner) == []


async def test_a_changed_one_is_refused(empty: Empty) -> None:
    """A file that was edited after it ran stops both the check and the next migration."""
    await migrate(empty.owner)
    first, *rest = packaged_migrations()
    edited = (replace(first, sql=first.sql + "\n-- edited"), *rest, _MORE)
    for call in (check_migrations(empty.app, edited), migrate(empty.owner, edited)):
        with pytest.raises(MigrationsMissing, match="changed after they ran: 0001_main_job"):
            await call
    with pytest.raises(MigrationsMissing, match="9001_more"):
        await check_migrations(empty.app, (*packaged_migrations(), _MORE))


async def test_a_failing_one_leaves_nothing(empty: Empty) -> None:
    """What failed half way is undone, what ran before it stays, and the next run goes on."""
    migrations = (*packaged_migrations(), _MORE, _BROKEN)
    with pytest.raises(VaultError) as refused:
        await migrate(empty.owner, migrations)
    assert refused.value.reason is Reason.INTERNAL
    found = await empty.owner.call("SELECT to_regclass('tokenvault.half') IS NULL AS undone")
    assert found[0]["undone"]
    await check_migrations(empty.app, (*packaged_migrations(), _MORE))
    mended = replace(_BROKEN, sql="CREATE TABLE half (x integer)")
    assert await migrate(empty.owner, (*migrations[:-1], mended)) == ["9002_broken"]


async def test_only_the_owner_migrates(empty: Empty) -> None:
    """A role that may not create is told who must do what."""
    with pytest.raises(MigrationsMissing, match="OWNER tokenvault_owner"):
        await migrate(empty.app)


async def test_role_that_serves(empty: Empty, postgres_server: DevPostgres) -> None:
    """The roles of requests and of the worker pass; owner and superuser are too powerful."""
    await check_role(empty.app)
    await check_role(empty.worker)
    handle = postgres_server.handle
    superuser = Database(
        postgres_server.settings(
            handle.superuser, "postgres", password_file=handle.superuser_password_file
        )
    )
    for database in (empty.owner, superuser):
        with pytest.raises(RoleTooPowerful):
            await check_role(database)
    await superuser.close()


async def test_grants_of_before_are_scheduled(empty: Empty, postgres_server: DevPostgres) -> None:
    """Grants that were there before the due index are looked at within a day of the migration;
    revoked ones never, and rows stay hidden from their owner."""
    before = (each for each in packaged_migrations() if each.name < "0005")
    await migrate(empty.owner, tuple(before))
    database = empty.owner.settings.name
    for statement in (
        "INSERT INTO tenants (tenant) VALUES ('acme')",
        "INSERT INTO providers (tenant, provider, profile) VALUES ('acme', 'op', '{}')",
        "INSERT INTO oauth_clients (tenant, oauth_client, provider, issuer, client_id, auth_method,"
        " redirect_uris, scopes, credential_envelope, credential_version)"
        " VALUES ('acme', 'crm', 'op', '', '', 1, '{}', '{}', '', 1)",
        "INSERT INTO grants (grant_id, tenant, owner, oauth_client, provider, issuer,"
        " token_endpoint, state, scopes, token_type, generation, access_generation, access_life_s,"
        " refresh_generation) SELECT md5(n::text)::uuid, 'acme', '', 'crm', 'op', '', '',"
        " CASE WHEN n = 1 THEN 3 ELSE 1 END, '{}', '', 1, 1, 0, 1 FROM generate_series(1, 50) n",
        "INSERT INTO grant_upkeep (grant_id, tenant, failures) VALUES (md5('2')::uuid, 'acme', 7)",
    ):
        await postgres_server.query(statement, database)
    await migrate(empty.owner)
    (found,) = await postgres_server.query(
        "SELECT count(*), min(due_time) > now() - interval '1 min' AS from_now,"
        " max(due_time) < now() + interval '1 day' AS in_a_day,"
        " max(due_time) - min(due_time) > interval '6 h' AS spread, max(failures) AS failures"
        " FROM grant_upkeep",
        database,
    )
    assert tuple(found) == (49, True, True, True, 7)
    async with empty.owner.worker_transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM grants") == 0
        assert await connection.fetchval("SELECT count(*) FROM grant_upkeep") == 0
