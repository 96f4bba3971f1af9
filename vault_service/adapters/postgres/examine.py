"""PostgreSQL as the doctor looks at it: every question that a start of the service will ask."""

from __future__ import annotations

import socket
import ssl
import statistics
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from vault_service.adapters.postgres.migrate import (
    MigrationsMissing,
    RoleTooPowerful,
    check_migrations,
    check_role,
    packaged_migrations,
)
from vault_service.adapters.postgres.pool import Database, DatabaseSettings
from vault_service.domain.errors import VaultError
from vault_service.domain.finding import (
    Finding,
    Thresholds,
    Verdict,
    clock_finding,
    failed,
    ok,
    skipped,
    warning,
)
from vault_service.ports import Clock

_LEAST_VERSION: Final = 150_000  # 15; what the migrations were written for
_SAMPLES: Final = 5
_TENANTS: Final = """
    WITH RECURSIVE found AS (
        (SELECT tenant FROM tokenvault.grants ORDER BY tenant LIMIT 1)
        UNION ALL
        SELECT (SELECT tenant FROM tokenvault.grants WHERE tenant > found.tenant
                ORDER BY tenant LIMIT 1)
        FROM found WHERE found.tenant IS NOT NULL
    )
    SELECT tenant FROM found WHERE tenant IS NOT NULL LIMIT $1
"""
_SERVER: Final = """
    SELECT current_setting('server_version') AS version,
           current_setting('server_version_num')::int AS number,
           (SELECT CASE WHEN ssl THEN version END FROM pg_stat_ssl WHERE pid = pg_backend_pid())
               AS tls,
           pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AS read_only,
           current_setting('fsync')::bool AS fsync
"""

# By the driver's exception, the first that fits: what is wrong and what to do.
_FAULTS: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (
        asyncpg.InvalidPasswordError,
        "the password is wrong, or there is no such role",
        "write the role's password into the file, or set it: ALTER ROLE ... PASSWORD '...'",
    ),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "the server refuses this role from here",
        "check the role's name, and pg_hba.conf for this host and database",
    ),
    (
        asyncpg.InvalidCatalogNameError,
        "there is no database of this name",
        "as a superuser: CREATE DATABASE ... OWNER tokenvault_owner",
    ),
    (
        asyncpg.TooManyConnectionsError,
        "all connections are taken",
        "raise max_connections, or lower database.pool_size times the number of replicas",
    ),
    (
        asyncpg.CannotConnectNowError,
        "the server is starting or stopping",
        "wait, then look at the server's own log",
    ),
    (
        ssl.SSLCertVerificationError,
        "the server's certificate is not trusted",
        "check database.ca_file, and that database.host is a name in the certificate",
    ),
    (
        socket.gaierror,
        "the host's name cannot be looked up",
        "check database.host, and the name server of this machine",
    ),
    (
        TimeoutError,
        "nothing answers",
        "check database.host and port, and the firewalls between",
    ),
    (
        ConnectionRefusedError,
        "nothing listens there",
        "start PostgreSQL, or correct database.host and database.port",
    ),
    (
        FileNotFoundError,
        "nothing listens there",
        "start PostgreSQL, or correct the socket directory in database.host and database.port",
    ),
    (
        ConnectionError,
        "the connection was cut, or the server has TLS off",
        "check that ssl is on in postgresql.conf, and the server's own log",
    ),
)


async def examine_database(
    settings: DatabaseSettings, clock: Clock, thresholds: Thresholds
) -> AsyncIterator[Finding]:
    """The database as the role that serves."""
    database = Database(settings)
    try:
        reached = await _reached("database.reachable", database)
        yield reached
        if reached.verdict is not Verdict.OK:
            for check in ("role", "writable", "migrations", "clock", "round_trip"):
                yield skipped(f"database.{check}", "the database was not reached")
            return
        yield await _role("database.role", database)
        yield await _writable(database)
        yield await _migrations(database)
        yield await _clock(database, clock, thresholds)
        yield await _round_trip(database, clock, thresholds)
    finally:
        await database.close()


async def examine_worker(settings: DatabaseSettings) -> AsyncIterator[Finding]:
    """The same database as the role of background work."""
    database = Database(settings)
    try:
        reached = await _reached("database.worker", database)
        is_reached = reached.verdict is Verdict.OK
        yield await _role("database.worker", database) if is_reached else reached
    finally:
        await database.close()


async def tenants_with_grants(settings: DatabaseSettings, most: int) -> list[str]:
    """Up to ``most`` tenants that have a grant, as the worker sees them; [] where it cannot."""
    database = Database(settings)
    try:
        return [row["tenant"] for row in await database.call(_TENANTS, most)]
    except VaultError:
        return []  # the checks of the database say why
    finally:
        await database.close()


async def _reached(check: str, database: Database) -> Finding:
    settings = database.settings
    where = f"{settings.user} at {settings.host}:{settings.port}/{settings.name}"
    try:
        server = (await database.call(_SERVER))[0]
    except VaultError as error:
        found, advice = _fault(error)
        return failed(check, f"{where}: {found}", advice)
    if server["number"] < _LEAST_VERSION:
        return failed(check, f"PostgreSQL {server['version']} is too old", "use 15 or newer")
    way = server["tls"] or "private socket"
    return ok(check, f"PostgreSQL {server['version']}, {where}, {way}")


async def _role(check: str, database: Database) -> Finding:
    try:
        await check_role(database)
    except RoleTooPowerful as error:
        found, _, advice = str(error).partition("; ")
        return failed(check, found, advice)
    except VaultError as error:
        return failed(check, *_fault(error))
    return ok(check, f"{database.settings.user} is bound by row-level security")


async def _writable(database: Database) -> Finding:
    check = "database.writable"
    try:
        server = (await database.call(_SERVER))[0]
    except VaultError as error:
        return failed(check, *_fault(error))
    if server["read_only"]:
        return failed(check, "it is read-only or a standby", "let database.host name the primary")
    if not server["fsync"]:
        return warning(
            check,
            "fsync is off: records and refresh tokens are lost when the machine stops",
            "set fsync = on in postgresql.conf",
        )
    return ok(check, "takes changes and keeps them")


async def _migrations(database: Database) -> Finding:
    check = "database.migrations"
    try:
        await check_migrations(database)
        ledger = await database.call("SELECT name FROM tokenvault.schema_migrations ORDER BY name")
    except MigrationsMissing as error:
        found, _, advice = str(error).partition("; ")
        return failed(check, found, f"{advice} --config ADMIN.toml")
    except VaultError as error:
        return failed(check, *_fault(error))
    known = {migration.name for migration in packaged_migrations()}
    newer = [row["name"] for row in ledger if row["name"] not in known]
    if newer:
        return warning(
            check,
            f"the database is ahead of this release: {', '.join(newer)}",
            "fine during an upgrade; afterwards run the newer release here too",
        )
    return ok(check, f"all {len(known)} of this release, newest {max(known)}")


async def _clock(database: Database, clock: Clock, thresholds: Thresholds) -> Finding:
    before = clock.now()
    try:
        theirs = (await database.call("SELECT clock_timestamp() AS now"))[0]["now"]
    except VaultError as error:
        return failed("database.clock", *_fault(error))
    took = clock.now() - before
    ahead_s = (theirs - (before + took / 2)).total_seconds()
    return clock_finding("database.clock", ahead_s, took.total_seconds() / 2, thresholds)


async def _round_trip(database: Database, clock: Clock, thresholds: Thresholds) -> Finding:
    check, taken_s = "database.round_trip", []
    for _ in range(_SAMPLES):
        started = clock.monotonic()
        try:
            await database.ping()
        except VaultError as error:
            return failed(check, *_fault(error))
        taken_s.append(clock.monotonic() - started)
    median_s = statistics.median(taken_s)
    shown = f"a statement takes {median_s * 1000:.1f} ms"
    if median_s > thresholds.round_trip_warn_s:
        return warning(check, shown, "run the service near its database; every call waits for it")
    return ok(check, shown)


def _fault(error: VaultError) -> tuple[str, str]:
    cause = error.__cause__
    for kind, found, advice in _FAULTS:
        if isinstance(cause, kind):
            return found, advice
    found, _, advice = error.message.partition("; ")
    return found, advice or "look at the database's own log"
