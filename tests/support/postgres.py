"""A real PostgreSQL for tests: one server, and databases with all migrations on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from vault_service.adapters.postgres.migrate import migrate
from vault_service.adapters.postgres.pool import Database, DatabaseSettings
from vault_service.embedded.postgres import EmbeddedPostgres, PostgresHandle

OWNER, APP, WORKER = "tokenvault_owner", "tokenvault_app", "tokenvault_worker"
TEMPLATE = "migrated"


class DevPostgres:
    """One server; tests take databases of it that are copied from a migrated one."""

    def __init__(self, directory: Path, *, connections_max: int = 200) -> None:
        self._embedded = EmbeddedPostgres(directory, durable=False, connections_max=connections_max)
        self._databases = 0
        self._handle: PostgresHandle | None = None

    def start(self) -> DevPostgres:
        """Start the server, and make the migrated template."""
        self.run()
        self.sql(f"CREATE DATABASE {TEMPLATE} OWNER {OWNER}")
        asyncio.run(migrate(Database(self.settings(OWNER, TEMPLATE))))
        return self

    def run(self) -> None:
        """Start the server again on its data."""
        self._handle = self._embedded.start()

    def stop(self) -> None:
        """End the server at once; its data stay."""
        self._embedded.stop()

    def remove(self) -> None:
        """End the server and delete everything."""
        self._embedded.destroy()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The whole server stands still: connections stay open and nothing answers."""
        self._embedded.pause()
        try:
            yield
        finally:
            self._embedded.resume()

    @property
    def handle(self) -> PostgresHandle:
        """Where it is."""
        assert self._handle is not None
        return self._handle

    def sql(self, statement: str, database: str = "postgres") -> list[asyncpg.Record]:
        """A statement of the superuser."""
        return asyncio.run(self.query(statement, database))

    async def query(self, statement: str, database: str) -> list[asyncpg.Record]:
        """As ``sql``, inside a running loop."""
        connection = await asyncpg.connect(
            host=str(self.handle.socket_dir),
            port=self.handle.port,
            user=self.handle.superuser,
            database=database,
            password=self.handle.superuser_password_file.read_text().strip(),
            server_settings={"search_path": "tokenvault,pg_catalog"},
        )
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    def empty_database(self, owner: str = OWNER) -> str:
        """The name of a new database in which nothing was migrated."""
        return self._create(f"OWNER {owner}")

    def migrated_database(self) -> str:
        """The name of a new database with all migrations."""
        return self._create(f"TEMPLATE {TEMPLATE} OWNER {OWNER}")

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def settings(self, role: str, database: str, **changes: Any) -> DatabaseSettings:
        """How to connect as a role."""
        settings = DatabaseSettings(
            host=str(self.handle.socket_dir),
            port=self.handle.port,
            name=database,
            user=role,
            password_file=self.handle.password_file(role),
            ca_file=None,
            pool_size=8,
            statement_limit_s=5.0,
            application_name="tests",
        )
        return replace(settings, **changes)

    def _create(self, options: str) -> str:
        self._databases += 1
        name = f"test_{self._databases}"
        self.sql(f"CREATE DATABASE {name} {options}")
        return name


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """One migrated database, and connections to it for the length of a test."""

    __test__ = False

    server: DevPostgres
    name: str
    app: Database
    worker: Database
    owner: Database

    def open(self, role: str, **changes: Any) -> Database:
        """Further connections; the test closes them."""
        return Database(self.server.settings(role, self.name, **changes))

    async def sql(self, statement: str) -> list[asyncpg.Record]:
        """One statement of the superuser, who sees the rows of every tenant."""
        return await self.server.query(statement, self.name)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevPostgres]:
    """One real PostgreSQL for all tests of a process."""
    server = DevPostgres(tmp_path_factory.mktemp("postgres"))
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def shared_database(postgres_server: DevPostgres) -> str:
    """The name of a migrated database that tests empty before they use it."""
    return postgres_server.migrated_database()


@pytest.fixture
async def database(
    postgres_server: DevPostgres, shared_database: str
) -> AsyncIterator[TestDatabase]:
    """A migrated database without rows."""
    await postgres_server.query("TRUNCATE tenants, audit_records CASCADE", shared_database)
    async with _opened(postgres_server, shared_database) as opened:
        yield opened


@pytest.fixture
async def own_database(postgres_server: DevPostgres) -> AsyncIterator[TestDatabase]:
    """A migrated database that the test may damage."""
    name = await asyncio.to_thread(postgres_server.migrated_database)
    async with _opened(postgres_server, name) as opened:
        yield opened
    await asyncio.to_thread(postgres_server.drop, name)


@contextlib.asynccontextmanager
async def _opened(server: DevPostgres, name: str) -> AsyncIterator[TestDatabase]:
    roles = {role: Database(server.settings(role, name)) for role in (APP, WORKER, OWNER)}
    try:
        yield TestDatabase(server, name, roles[APP], roles[WORKER], roles[OWNER])
    finally:
        for opened in roles.values():
            await opened.close()
