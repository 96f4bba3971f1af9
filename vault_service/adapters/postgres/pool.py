"""The pool of connections to PostgreSQL, and transactions that are bound to one tenant.

The pool connects when it is first used, so the service starts while the database is away. TLS is
verified in full (host name and CA) unless the host is a private socket directory; there is no
plain TCP. The password is read from its file for each connection, so it can be changed under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from vault_service.adapters.postgres.errors import store_errors
from vault_service.domain import names
from vault_service.telemetry.meters import DatabaseMeter
from vault_service.telemetry.metrics import Metrics
from vault_service.telemetry.traces import child, recorded

if TYPE_CHECKING:
    from typing import TypeAlias

    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]

SEARCH_PATH: Final = "tokenvault,pg_catalog,pg_temp"
_ROLLBACK_LIMIT_S: Final = 1.0
_IDLE_LIFE_S: Final = 300.0
_NO_LIMIT: Final = 0.0  # what PostgreSQL takes for none


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where the database is and who we are there. Raises ValueError for plain TCP."""

    host: str  # a host name, or the absolute path of a socket directory
    port: int
    name: str
    user: str
    password_file: Path
    ca_file: Path | None  # PEM; wanted exactly where the host is not a socket directory
    pool_size: int
    statement_limit_s: float
    application_name: str

    def __post_init__(self) -> None:
        if not self.on_private_socket and self.ca_file is None:
            raise ValueError("a PostgreSQL that is not on a socket directory needs a CA file")

    @property
    def on_private_socket(self) -> bool:
        """Whether the connection never leaves this machine."""
        return self.host.startswith("/")


class Database:
    """One role's connections. Everything here raises what ``store_errors`` says, in bounded time:
    a transaction, waiting for a connection included, takes ``statement_limit_s`` plus two seconds.
    """

    def __init__(self, settings: DatabaseSettings, meter: DatabaseMeter | None = None) -> None:
        self._settings = settings
        self._meter = meter or DatabaseMeter(Metrics(), "requests")
        self._pool: Pool | None = None
        self._limit_s = settings.statement_limit_s + _ROLLBACK_LIMIT_S

    @property
    def settings(self) -> DatabaseSettings:
        """As given."""
        return self._settings

    def connections(self) -> tuple[int, int]:
        """How many there are now, and how many of them are idle."""
        pool = self._pool
        return (pool.get_size(), pool.get_idle_size()) if pool is not None else (0, 0)

    def tenant_transaction(self, tenant: str) -> AbstractAsyncContextManager[Connection]:
        """A transaction that sees and writes rows of one tenant only. NAME_MALFORMED."""
        if tenant != names.SYSTEM_TENANT:
            # The name goes into the text of the statement: BEGIN and set_config are then one
            # round trip, and only [a-z0-9-] can come through here.
            names.require_id(tenant, "Tenant")
        begin = f"BEGIN; SELECT set_config('tokenvault.tenant', '{tenant}', true)"
        return self._transaction(begin, _asking())

    def worker_transaction(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction without a tenant: what it sees is the role's own affair."""
        return self._transaction("BEGIN", _asking())

    async def call(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """One statement that is its own transaction: one round trip."""
        with child(f"sql {_asking()}"), store_errors(self._meter.failed):
            async with self._connection() as connection:
                return list(await connection.fetch(statement, *arguments))

    @contextlib.asynccontextmanager
    async def unbounded_connection(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection of its own without statement time-out, for migrations."""
        with store_errors():
            connection = await self._connect(_NO_LIMIT, None)
            try:
                yield connection
            finally:
                await _hang_up(connection)

    async def ping(self) -> None:
        """Whether the database answers; raises STORE_UNREACHABLE."""
        await self.call("SELECT 1")

    async def close(self) -> None:
        """End all connections, those in use after a moment too."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_ROLLBACK_LIMIT_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @contextlib.asynccontextmanager
    async def _transaction(self, begin: str, asking: str) -> AsyncIterator[Connection]:
        with child(f"sql {asking}"), store_errors(self._meter.failed):
            async with self._connection() as connection:
                try:
                    await connection.execute(begin)
                    yield connection
                    # On a transaction that failed inside, COMMIT rolls back and says so.
                    if await connection.execute("COMMIT") != "COMMIT":
                        raise asyncpg.InterfaceError("the transaction had failed before")
                except BaseException:
                    await _roll_back(connection)
                    raise

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with asyncio.timeout(self._limit_s):
            pool = await self._open_pool()
            try:
                connection = await pool.acquire()
            finally:
                self._meter.waited(loop.time() - asked)
            try:
                yield connection
            finally:
                # Bounded too: a connection whose answer is still to come is given up then.
                with contextlib.suppress(asyncpg.InterfaceError, OSError):
                    await pool.release(connection, timeout=_ROLLBACK_LIMIT_S)

    async def _open_pool(self) -> Pool:
        if self._pool is None:
            # No await before the assignment: two first callers share one pool.
            self._pool = asyncpg.create_pool(
                min_size=0,
                max_size=self._settings.pool_size,
                max_inactive_connection_lifetime=_IDLE_LIFE_S,
                connect=self._connect_bounded,
                # Nothing here changes session state, so the usual RESET ALL buys nothing.
                reset=_keep,
            )
        pool = self._pool
        await pool
        return pool

    async def _connect_bounded(
        self, *_: object, **__: object
    ) -> asyncpg.Connection[asyncpg.Record]:
        # What the pool passes are asyncpg's own defaults.
        return await self._connect(self._settings.statement_limit_s, self._limit_s)

    async def _connect(
        self, statement_limit_s: float, answer_limit_s: float | None
    ) -> asyncpg.Connection[asyncpg.Record]:
        settings = self._settings
        lock_ms = str(int(settings.statement_limit_s * 1000))
        return await asyncpg.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            database=settings.name,
            password=_first_line(settings.password_file),
            ssl=False if settings.on_private_socket else _verifying(settings.ca_file),
            timeout=self._limit_s,
            command_timeout=answer_limit_s,
            server_settings={
                "application_name": settings.application_name,
                "search_path": SEARCH_PATH,
                "statement_timeout": str(int(statement_limit_s * 1000)),
                "lock_timeout": lock_ms,
                "idle_in_transaction_session_timeout": lock_ms,
                "synchronous_commit": "on",
                "default_transaction_isolation": "read committed",
                "jit": "off",
            },
        )


def _verifying(ca_file: Path | None) -> ssl.SSLContext:
    """verify-full: this CA and no other, and the host's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file)
    return context


async def _hang_up(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        await connection.close(timeout=_ROLLBACK_LIMIT_S)


def _first_line(file: Path) -> str:
    # Bytes that are no text make a wrong password, which has its reason.
    return file.read_text("utf-8", "replace").split("\n", 1)[0].rstrip("\r")


def _asking() -> str:
    """The method of a store that asks, "PostgresGrantStore.get": the name of its statements."""
    # Two frames up: of the method that called a method of Database.
    return sys._getframe(2).f_code.co_qualname if recorded() else ""


async def _keep(_: object) -> None:
    return None


async def _roll_back(connection: Connection) -> None:
    try:
        async with asyncio.timeout(_ROLLBACK_LIMIT_S):
            await connection.execute("ROLLBACK")
    except asyncio.CancelledError:
        connection.terminate()
        raise
    except Exception:
        connection.terminate()
