"""Migrations: numbered SQL files of this package, each run once, in order, in a transaction.

What ran stands in ``tokenvault.schema_migrations`` with the SHA-256 of its text. They only add, so
that the old release and the new one run beside each other: a database that is ahead is fine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from vault_service.adapters.postgres.errors import store_errors
from vault_service.adapters.postgres.pool import Database
from vault_service.domain.errors import VaultError

if TYPE_CHECKING:
    Migrator = asyncpg.Connection[asyncpg.Record]

_LOCK_ID: Final = 0x746F6B656E76  # "tokenv": one migration at a time in one database
_LEDGER: Final = """
    CREATE TABLE IF NOT EXISTS tokenvault.schema_migrations (
        name       text PRIMARY KEY,
        sha256     text NOT NULL,
        apply_time timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    GRANT USAGE ON SCHEMA tokenvault TO tokenvault_app, tokenvault_worker;
    GRANT SELECT ON tokenvault.schema_migrations TO tokenvault_app, tokenvault_worker;
"""
_READ_LEDGER: Final = "SELECT name, sha256 FROM tokenvault.schema_migrations"
_NO_LEDGER: Final = (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError)
_ADVICE: Final = "run: tokenvault migrate"


class MigrationsMissing(Exception):
    """A reachable database that is not set up for this release; the text says what is missing."""


class RoleTooPowerful(Exception):
    """The role that serves would see through row-level security; the text says why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    name: str  # "0001_main_job"
    sql: str

    @property
    def sha256(self) -> str:
        """Of the text, hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def packaged_migrations() -> tuple[Migration, ...]:
    """The files of this release, in order."""
    folder = resources.files(__package__) / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=_name)
    return tuple(Migration(_name(file).removesuffix(".sql"), file.read_text()) for file in files)


def roles_sql() -> str:
    """What a superuser runs once before the first migration."""
    return (resources.files(__package__) / "roles.sql").read_text()


async def migrate(
    database: Database,
    migrations: tuple[Migration, ...] | None = None,
    *,
    applying: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Apply what is missing, as the owner role; returns the names. ``applying`` hears each before.

    Two at once wait for each other. Raises MigrationsMissing for one that was changed after it
    ran or for roles that are not there, STORE_UNREACHABLE.
    """
    wanted = packaged_migrations() if migrations is None else migrations
    async with database.unbounded_connection() as connection:
        with store_errors():
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK_ID)
            await _prepare_ledger(connection)
            applied = await _applied(connection)
            _refuse_changed(wanted, applied)
            missing = [migration for migration in wanted if migration.name not in applied]
            for migration in missing:
                applying(migration.name)
                await _apply(connection, migration)
    return [migration.name for migration in missing]


async def check_migrations(
    database: Database, migrations: tuple[Migration, ...] | None = None
) -> None:
    """Whether all of this release's migrations ran as they are now; any role may ask.

    Raises MigrationsMissing naming those that are missing or changed, STORE_UNREACHABLE.
    """
    wanted = packaged_migrations() if migrations is None else migrations
    try:
        found = await database.call(_READ_LEDGER)
    except VaultError as error:
        if not isinstance(error.__cause__, _NO_LEDGER):
            raise
        found = []
    applied = {row["name"]: row["sha256"] for row in found}
    _refuse_changed(wanted, applied)
    missing = [migration.name for migration in wanted if migration.name not in applied]
    if missing:
        raise MigrationsMissing(f"migrations missing: {', '.join(missing)}; {_ADVICE}")


async def check_role(database: Database) -> None:
    """Whether row-level security holds for this role. RoleTooPowerful, STORE_UNREACHABLE."""
    found = await database.call(
        "SELECT rolsuper OR rolbypassrls AS unbound,"
        " pg_has_role(current_user, 'tokenvault_owner', 'USAGE') AS owns"
        " FROM pg_roles WHERE rolname = current_user"
    )
    if found[0]["unbound"] or found[0]["owns"]:
        raise RoleTooPowerful(
            f"the role {database.settings.user!r} is a superuser, bypasses row-level security or "
            "owns the tables; serve as tokenvault_app"
        )


async def _prepare_ledger(connection: Migrator) -> None:
    # IF NOT EXISTS would ask for the right to create also where the schema is there.
    exists = "SELECT true FROM pg_namespace WHERE nspname = 'tokenvault'"
    try:
        if not await connection.fetchval(exists):
            await connection.execute("CREATE SCHEMA tokenvault")
        await connection.execute(_LEDGER)
    except (asyncpg.UndefinedObjectError, asyncpg.InsufficientPrivilegeError) as error:
        raise MigrationsMissing(
            "the roles are missing or this one may not create here; a superuser runs roles.sql "
            "and: CREATE DATABASE ... OWNER tokenvault_owner"
        ) from error


async def _apply(connection: Migrator, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO tokenvault.schema_migrations (name, sha256) VALUES ($1, $2)",
            migration.name,
            migration.sha256,
        )


async def _applied(connection: Migrator) -> Mapping[str, str]:
    found = await connection.fetch(_READ_LEDGER)
    return {row["name"]: row["sha256"] for row in found}


def _refuse_changed(wanted: tuple[Migration, ...], applied: Mapping[str, str]) -> None:
    changed = [
        migration.name
        for migration in wanted
        if applied.get(migration.name, migration.sha256) != migration.sha256
    ]
    if changed:
        raise MigrationsMissing(
            f"migrations changed after they ran: {', '.join(changed)}; restore their files (a "
            f"migration is never edited), then {_ADVICE}"
        )


def _name(file: Any) -> str:
    return str(file.name)
