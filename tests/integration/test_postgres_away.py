"""A PostgreSQL that is stopped, hangs, is full or was changed: bounded time, and our reasons."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.postgres import APP, TestDatabase
from tests.support.postgres_rows import make_tenant
from tests.support.samples import a_grant, a_profile, a_record, an_authorization, new_id
from vault_service.adapters.postgres.audit import PostgresAuditLog
from vault_service.adapters.postgres.grants import PostgresGrantStore
from vault_service.adapters.postgres.kept_consents import PostgresSweeper
from vault_service.adapters.postgres.migrate import check_migrations
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.providers import PostgresProviderStore
from vault_service.adapters.postgres.tenants import PostgresTenantStore
from vault_service.domain.consent import Ending
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import GrantName, ProviderName

_LIMIT_S = 0.5
_SLACK_S = 2.5  # one second to roll back, one to let go, and a busy machine
_GRANT = GrantName("acme", a_grant().grant_id)
_PROVIDER = ProviderName("acme", "other")


async def _refused(call: Awaitable[object]) -> VaultError:
    started = time.monotonic()
    with pytest.raises(VaultError) as refused:
        await call
    assert time.monotonic() - started < _LIMIT_S + _SLACK_S
    return refused.value


async def _outcome(call: Awaitable[object]) -> Reason | None:
    try:
        await call
    except VaultError as error:
        return error.reason
    return None


async def _all_refused(database: Database) -> None:
    """Every kind of call fails in bounded time, with the reason that fits it."""
    log = PostgresAuditLog(database)
    unreachable = [
        PostgresGrantStore(database).get(_GRANT),
        PostgresTenantStore(database).exists("acme"),
        PostgresProviderStore(database).put(_PROVIDER, a_profile(), a_record()),
        log.list("acme", 5, ""),
        check_migrations(database),
        database.ping(),
    ]
    unrecorded = [log.append(a_record()), log.disclose(a_record(), a_grant())]
    calls: dict[Reason, Sequence[Awaitable[object]]] = {
        Reason.STORE_UNREACHABLE: unreachable,
        Reason.AUDIT_UNAVAILABLE: unrecorded,
    }
    for reason, awaitables in calls.items():
        for error in await asyncio.gather(*(_refused(call) for call in awaitables)):
            assert error.reason is reason
            assert error.retry_after_s is not None
            assert error.__cause__ is not None


async def test_stopped_server(database: TestDatabase) -> None:
    """A stopped server is STORE_UNREACHABLE at once, and works again when it is back."""
    opened = database.open(APP, statement_limit_s=_LIMIT_S)
    await opened.ping()
    # On this thread: the server is on a leash that ends with the thread that started it.
    database.server.stop()
    try:
        await _all_refused(opened)
        await _all_refused(database.open(APP, statement_limit_s=_LIMIT_S))
    finally:
        database.server.run()
    await make_tenant(database)
    assert await PostgresGrantStore(opened).get(_GRANT) is None
    await opened.close()


async def test_hanging_server(database: TestDatabase) -> None:
    """A server that stands still is STORE_UNREACHABLE within the limit, on connections that are
    open and on new ones, and works again when it goes on."""
    opened = database.open(APP, statement_limit_s=_LIMIT_S)
    fresh = database.open(APP, statement_limit_s=_LIMIT_S)
    await asyncio.gather(*(opened.ping() for _ in range(3)))
    with database.server.paused():
        await _all_refused(opened)
        await _all_refused(fresh)
    for _ in range(50):
        try:
            await asyncio.gather(opened.ping(), fresh.ping())
            break
        except VaultError:
            await asyncio.sleep(0.1)
    await asyncio.gather(*(opened.ping() for _ in range(20)))
    await opened.close()
    await fresh.close()


async def test_server_hangs_inside_a_transaction(database: TestDatabase) -> None:
    """A transaction whose server stands still ends within the limit too."""
    opened = database.open(APP, statement_limit_s=_LIMIT_S)

    async def transact() -> None:
        async with opened.tenant_transaction("acme") as connection:
            await connection.fetchval("SELECT 1")
            with database.server.paused():
                await connection.fetchval("SELECT 2")

    assert (await _refused(transact())).reason is Reason.STORE_UNREACHABLE
    await opened.close()


async def test_killed_connections(database: TestDatabase) -> None:
    """Connections that the server ended are replaced: at most each of them fails one call."""
    opened = database.open(APP, pool_size=2)
    await asyncio.gather(opened.ping(), opened.ping())
    await database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tests'"
    )
    await asyncio.sleep(0.1)
    outcomes = [await _outcome(opened.ping()) for _ in range(10)]
    assert outcomes.count(Reason.STORE_UNREACHABLE) <= 2
    assert outcomes[2:] == [None] * 8
    await opened.close()


async def test_slow_statement(database: TestDatabase) -> None:
    """A statement beyond its limit is ended by the server."""
    opened = database.open(APP, statement_limit_s=_LIMIT_S)
    error = await _refused(opened.call("SELECT pg_sleep(30)"))
    assert error.reason is Reason.STORE_UNREACHABLE
    running = await database.sql(
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND state = 'active'"
        " AND pid <> pg_backend_pid()"
    )
    assert running == []
    await opened.close()


async def test_locked_row(database: TestDatabase) -> None:
    """A row that someone else keeps locked is STORE_UNREACHABLE within the limit."""
    rooms = await make_tenant(database)
    grant = await rooms.put()
    opened = database.open(APP, statement_limit_s=_LIMIT_S)
    async with database.app.tenant_transaction("acme") as connection:
        await connection.execute("SELECT 1 FROM grants FOR UPDATE")
        error = await _refused(PostgresGrantStore(opened).revoke(grant, False, a_record()))
    assert error.reason is Reason.STORE_UNREACHABLE
    await opened.close()


async def test_exhausted_pool(database: TestDatabase) -> None:
    """Who waits for a connection in vain waits no longer than the limit."""
    opened = database.open(APP, pool_size=1, statement_limit_s=_LIMIT_S)
    started = time.monotonic()
    # Each within its limit, but one after the other, and each gives up a second after it.
    sleeping = (opened.call("SELECT pg_sleep(0.45)") for _ in range(8))
    outcomes = await asyncio.gather(*(_outcome(call) for call in sleeping))
    assert time.monotonic() - started < _LIMIT_S + _SLACK_S
    assert outcomes[0] is None
    assert outcomes[-1] is Reason.STORE_UNREACHABLE
    await opened.ping()
    await opened.close()


async def test_cancelled_calls_leave_the_pool_usable(database: TestDatabase) -> None:
    """Callers that hang up in the middle of a statement or transaction break nothing."""
    opened = database.open(APP, pool_size=2)

    async def transact() -> None:
        async with opened.tenant_transaction("acme") as connection:
            await connection.execute("SELECT pg_sleep(5)")

    for work in (transact, lambda: opened.call("SELECT pg_sleep(5)")):
        tasks = [asyncio.ensure_future(work()) for _ in range(4)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(outcome, asyncio.CancelledError)
            for outcome in await asyncio.gather(*tasks, return_exceptions=True)
        )
        await asyncio.gather(*(opened.ping() for _ in range(8)))
    await opened.close()


async def test_record_table_refuses(own_database: TestDatabase) -> None:
    """A full disk, a read-only database or a missing table of records is AUDIT_UNAVAILABLE, and
    the change it belonged to did not happen."""
    rooms = await make_tenant(own_database)
    grant = await rooms.put()
    providers = PostgresProviderStore(own_database.app)
    log = PostgresAuditLog(own_database.app)
    await own_database.sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$"
    )
    for fault, repair in (
        (
            "CREATE TRIGGER full_disk BEFORE INSERT ON audit_records"
            " FOR EACH ROW EXECUTE FUNCTION full_disk()",
            "DROP TRIGGER full_disk ON audit_records",
        ),
        (
            "ALTER TABLE audit_records RENAME TO elsewhere",
            "ALTER TABLE elsewhere RENAME TO audit_records",
        ),
        (
            "REVOKE INSERT ON audit_records FROM tokenvault_app, tokenvault_disclosure",
            "GRANT INSERT ON audit_records TO tokenvault_app, tokenvault_disclosure",
        ),
    ):
        await own_database.sql(fault)
        for call in (
            providers.put(_PROVIDER, a_profile(), a_record()),
            rooms.grants.revoke(grant, True, a_record()),
            log.append(a_record()),
            log.disclose(a_record(), grant),
        ):
            assert (await _refused(call)).reason is Reason.AUDIT_UNAVAILABLE
        await own_database.sql(repair)
    assert await providers.get(_PROVIDER) is None
    now = await rooms.grants.get(grant.name)
    assert now is not None
    assert replace(now, read_time=grant.read_time) == grant


async def test_read_only_database(own_database: TestDatabase) -> None:
    """A database that takes no writes is STORE_UNREACHABLE for changes and AUDIT_UNAVAILABLE for
    what must be recorded; reads go on."""
    await make_tenant(own_database)
    await own_database.sql(
        f"ALTER DATABASE {own_database.name} SET default_transaction_read_only = on"
    )
    opened = own_database.open(APP)
    put = PostgresProviderStore(opened).put(_PROVIDER, a_profile(), a_record())
    assert (await _refused(put)).reason is Reason.STORE_UNREACHABLE
    append = PostgresAuditLog(opened).append(a_record())
    assert (await _refused(append)).reason is Reason.AUDIT_UNAVAILABLE
    assert await PostgresTenantStore(opened).exists("acme")
    await opened.close()


async def test_database_that_was_not_migrated(own_database: TestDatabase) -> None:
    """Tables that are not there are the operator's to make, and the answer says how."""
    await own_database.sql("DROP TABLE provider_revocations")
    rooms = await make_tenant(own_database)
    error = await _refused(rooms.grants.revoke(await rooms.put(), True, a_record()))
    assert error.reason is Reason.STORE_UNREACHABLE
    assert "tokenvault migrate" in error.message


async def test_errors_show_no_values(database: TestDatabase) -> None:
    """Neither our message nor the cause that may reach a log quotes a row, a value or SQL."""
    rooms = await make_tenant(database)
    await rooms.put(a_grant(refresh_envelope=b"canary-envelope", owner="canary-owner"))
    statements = (
        ("UPDATE grants SET state = 3", ()),
        ("UPDATE grants SET tenant = 'canary-tenant'", ()),
        ("SELECT $1::int", ("canary-argument",)),
        ("SELECT $1::text::int", ("canary-argument",)),
        ("SELECT $1::text", ("canary-\0argument",)),
        ("SELECT 1 FROM canary_table", ()),
    )
    for statement, arguments in statements:
        with pytest.raises(VaultError) as refused:
            async with database.app.tenant_transaction("acme") as connection:
                await connection.fetch(statement, *arguments)
        shown = f"{refused.value} {refused.value.message} {refused.value.metadata}"
        assert "canary" not in shown
        assert "UPDATE" not in shown
        cause = refused.value.__cause__
        assert "canary-" not in f"{cause} {cause!r} {getattr(cause, '__dict__', '')}"
        assert "63616e617279" not in f"{cause}"


async def test_password_is_read_for_each_connection(
    own_database: TestDatabase, tmp_path: Path
) -> None:
    """A changed password file is used by the next connection; a wrong one is our reason."""
    password_file = tmp_path / "password"
    password_file.write_text("wrong\n")
    opened = own_database.open(APP, password_file=password_file)
    assert (await _refused(opened.ping())).reason is Reason.STORE_UNREACHABLE
    password_file.unlink()
    assert (await _refused(opened.ping())).reason is Reason.STORE_UNREACHABLE
    password_file.write_text(own_database.app.settings.password_file.read_text())
    await opened.ping()
    await opened.close()


async def test_closed_database(database: TestDatabase) -> None:
    """Closing waits for nobody for long, and the next use connects anew."""
    opened = database.open(APP)
    sleeping = asyncio.ensure_future(opened.call("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await opened.close()
    assert time.monotonic() - started < _SLACK_S
    assert (await _refused(sleeping)).reason is Reason.STORE_UNREACHABLE
    await opened.ping()
    await opened.close()


async def test_sweep_leaves_what_may_still_get_tokens(database: TestDatabase) -> None:
    """A claim without an outcome, whose answer a spool may have, and an answer that could not be
    read outlive the sweep, and with them the row of the owner's newer consent."""
    rooms = await make_tenant(database, "acme")
    store = rooms.authorizations
    rows = {}
    for label, ending in (("open", None), ("kept", b"sealed"), ("lost", b"")):
        started = an_authorization("acme", label=label)
        claim_id, ended = new_id(), Ending(Reason.AUTHORIZATION_CODE_USED, "start anew")
        await store.insert(started, 600, a_record())
        await store.claim(started, b"c" * 32, claim_id, a_record())
        if ending is not None:
            kept = ending or None
            await store.end(started, claim_id, ended, a_record(), answer_envelope=kept)
        newer = an_authorization("acme", label=label)
        await store.insert(newer, 600, a_record())
        await store.claim(newer, b"d" * 32, new_id(), a_record())
        await rooms.grants.insert(a_grant("acme"), newer, a_record())
        rows[label] = started
    await database.sql("UPDATE authorizations SET expire_time = now() - interval '25 hours'")
    sweeper = PostgresSweeper(database.worker)
    assert await sweeper.delete_expired_authorizations(10) == 2  # both of "lost"
    for label in ("open", "kept"):
        found = await store.find_by_id("acme", rows[label].authorization_id)
        assert found is not None
        assert await store.is_superseded(found)
    await database.sql("UPDATE authorizations SET claim_time = claim_time - interval '8 days'")
    assert await sweeper.delete_expired_authorizations(10) == 1  # the kept one
    assert await sweeper.delete_expired_authorizations(10) == 1  # its newer one
    await database.sql("UPDATE authorizations SET claim_time = claim_time - interval '366 days'")
    assert await sweeper.delete_expired_authorizations(10) == 1
    assert await sweeper.delete_expired_authorizations(10) == 1


async def test_sweep_keeps_a_day(database: TestDatabase) -> None:
    """Authorizations are deleted a day after their end, over all tenants, so many at a time."""
    for tenant in ("acme", "globex"):
        rooms = await make_tenant(database, tenant)
        for n in range(3):
            await rooms.put(a_grant(tenant), label=f"l{n}")
    await database.sql("UPDATE authorizations SET expire_time = now() - interval '23 hours'")
    sweeper = PostgresSweeper(database.worker)
    assert await sweeper.delete_expired_authorizations(10) == 0
    await database.sql("UPDATE authorizations SET expire_time = now() - interval '25 hours'")
    assert await sweeper.delete_expired_authorizations(4) == 4
    assert await sweeper.delete_expired_authorizations(4) == 2
    assert await sweeper.delete_expired_authorizations(4) == 0
