"""The real adapters, each step of which a process can die at. They add nothing but that."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, cast

from tests.campaigns.kill_matrix.life import COMMITTED, POSTED, SPOOLED, Life, die
from tests.campaigns.kill_matrix.moments import BY_NAME, Moment
from vault_service.adapters.oauth.token_endpoint import OAuthTokenEndpoint
from vault_service.adapters.postgres.attempts import PostgresAttemptStore
from vault_service.adapters.postgres.oauth_clients import PostgresOAuthClientStore
from vault_service.adapters.postgres.pool import Database, DatabaseSettings
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.spool import FileSpool
from vault_service.adapters.spool.syscalls import Syscalls
from vault_service.domain.attempt import (
    AttemptState,
    Beginning,
    RefreshAttempt,
    SpoolEntry,
    SpoolKind,
)
from vault_service.domain.audit import AuditRecord
from vault_service.domain.grant import Grant, Lease, SealedTokens
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.names import OAuthClientName
from vault_service.domain.oauth import ClientCredential, OAuthClient
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.client import HttpClient
from vault_service.egress.connection import Connection as WireConnection
from vault_service.ports import Clock, Entropy, NewAttempt

if TYPE_CHECKING:
    from vault_service.adapters.postgres.pool import Connection

_NONE = Moment("k0.none")
_HALF_BYTES = 100  # of any record: its names are there, its checksum is not


def _target(life: Life) -> Moment:
    return BY_NAME.get(life.target, _NONE)


class MortalDatabase(Database):
    """``step`` names the transaction whose COMMIT is the next: "k2", "k9", "k9.alone" or ""."""

    def __init__(self, settings: DatabaseSettings, life: Life) -> None:
        super().__init__(settings)
        self._life = life
        self.step = ""

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with super()._connection() as connection:
            if self.step:
                connection = cast("Connection", _MortalConnection(connection, self))
            yield connection

    async def commit(self, connection: Connection) -> str:
        """COMMIT, and death before it or while it is on its way."""
        step, self.step = self.step, ""
        joint = "_" if step.endswith("alone") else "."
        self._life.reach(f"{step}{joint}open")
        done = asyncio.ensure_future(connection.execute("COMMIT"))
        await asyncio.sleep(0)  # it has been handed to the kernel
        self._life.reach(f"{step}{joint}commit_sent")
        return await done


class _MortalConnection:
    def __init__(self, connection: Connection, database: MortalDatabase) -> None:
        self._connection = connection
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, query: str, *arguments: Any) -> str:
        if query == "COMMIT" and self._database.step:
            return await self._database.commit(self._connection)
        return await self._connection.execute(query, *arguments)


class MortalDisk(Syscalls):
    """``step``: which mark is being written: "k1", "k3", "k7" or "k12"."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.step = ""

    def write(self, handle: int, data: bytes, offset: int) -> None:
        if not self.step:
            super().write(handle, data, offset)
            return
        target = _target(self._life)
        if self.step == "k7" and target.waits_for == "database":
            time.sleep(60)  # it dies before
        if target.name == f"{self.step}.half":
            super().write(handle, data[:_HALF_BYTES], offset)
            self._life.reach(target.name)
        super().write(handle, data, offset)
        self._life.reach(f"{self.step}.written")


class MortalSpool(FileSpool):
    """``stored`` is set once an answer is on disk."""

    def __init__(
        self, settings: SpoolSettings, clock: Clock, entropy: Entropy, disk: MortalDisk
    ) -> None:
        super().__init__(settings, clock, entropy, disk)
        self._mortal_disk = disk
        self._life = disk._life
        self.stored = asyncio.Event()

    async def reserve(
        self,
        attempt_id: uuid.UUID,
        tenant: str,
        grant_id: uuid.UUID,
        kind: SpoolKind = SpoolKind.REFRESH,
    ) -> SpoolEntry:
        await self.open()
        self._life.reach("k1.prepared")
        self._mortal_disk.step = "k1"
        entry = await super().reserve(attempt_id, tenant, grant_id, kind)
        self._life.reach("k1.reserved")
        return entry

    async def mark_sent(self, entry: SpoolEntry) -> SpoolEntry:
        self._mortal_disk.step = "k3"
        marked = await super().mark_sent(entry)
        self._life.reach("k3.marked")
        return marked

    async def store(self, entry: SpoolEntry, envelope: bytes) -> SpoolEntry:
        self._life.reach("k7.sealed")
        self._mortal_disk.step = "k7"
        stored = await super().store(entry, envelope)
        self._life.mark(SPOOLED)
        self._life.reach("k7.stored")
        self.stored.set()
        return stored

    async def free(self, entry: SpoolEntry) -> None:
        self._life.reach("k12.settled")
        self._mortal_disk.step = "k12"
        await super().free(entry)


class MortalAttempts(PostgresAttemptStore):
    """Holds back what would be durable first where the moment is about the other."""

    def __init__(
        self,
        database: MortalDatabase,
        worker: Database,
        spool_wait_s: float,
        life: Life,
        spool: MortalSpool,
    ) -> None:
        super().__init__(database, worker, spool_wait_s)
        self._mortal_database = database
        self._life = life
        self._spool = spool

    async def begin(
        self,
        grant: Grant,
        new: NewAttempt,
        lease_s: float,
        spools: Sequence[uuid.UUID],
        record: AuditRecord,
    ) -> Beginning:
        self._life.reach("k2.before")
        self._mortal_database.step = "k2"
        begun = await super().begin(grant, new, lease_s, spools, record)
        self._life.reach("k2.begun")
        return begun

    async def commit(
        self,
        lease: Lease,
        attempt: RefreshAttempt,
        grant: Grant,
        tokens: SealedTokens,
        state: AttemptState,
        record: AuditRecord,
    ) -> bool:
        self._life.reach("k8.parsed")
        target = _target(self._life)
        if target.waits_for == "spool":
            await self._spool.stored.wait()
            self._life.reach("k8.kept")
        alone = target.waits_for == "database"
        self._mortal_database.step = "k9.alone" if alone else "k9"
        done = await super().commit(lease, attempt, grant, tokens, state, record)
        self._life.mark(COMMITTED)
        self._life.reach("k10.alone" if alone else "k10.committed")
        return done

    async def keep_orphan(
        self, attempt: RefreshAttempt, envelope: bytes, record: AuditRecord, revision: int = 0
    ) -> bool:
        self._life.reach("k8.parsed")
        if _target(self._life).waits_for == "spool":
            await self._spool.stored.wait()
            self._life.reach("k8.kept")
        self._mortal_database.step = "k9"
        kept = await super().keep_orphan(attempt, envelope, record, revision)
        if kept:
            self._life.mark(COMMITTED)
        self._life.reach("k10.committed")
        return kept


class MortalClients(PostgresOAuthClientStore):
    """The first thing that a flight asks for."""

    def __init__(self, database: Database, life: Life) -> None:
        super().__init__(database)
        self._life = life

    async def get(self, name: OAuthClientName) -> OAuthClient | None:
        self._life.reach("k0.flight")
        return await super().get(name)


class MortalEndpoint(OAuthTokenEndpoint):
    """After the answer has been read. What comes before is ``watch_wire``'s."""

    def __init__(self, http: HttpClient, clock: Clock, life: Life) -> None:
        super().__init__(http, clock)
        self._life = life

    async def refresh(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token_endpoint: str,
        refresh_token: Sensitive,
        scopes: Collection[str] = (),
        post_limit_s: float,
        answer_limit_s: float,
    ) -> HttpAnswer:
        answer = await super().refresh(
            profile,
            client,
            token_endpoint=token_endpoint,
            refresh_token=refresh_token,
            scopes=scopes,
            post_limit_s=post_limit_s,
            answer_limit_s=answer_limit_s,
        )
        self._life.reach("k6.body")
        return answer


def watch_wire(life: Life) -> None:
    """For the rest of this process: each step of a connection to a provider.

    ``life.post_limit_s``: of the grant whose refresh is watched."""
    import asyncio.sslproto

    loop = asyncio.get_running_loop()
    connect = loop.create_connection  # the database is on a socket of the file system

    async def create_connection(*arguments: Any, **named: Any) -> Any:
        life.reach("k3.connect")
        made = await connect(*arguments, **named)
        life.reach("k3.connected")
        return made

    # Methods of this process are replaced on purpose: it has to die between two of their steps.
    loop.create_connection = create_connection  # type: ignore[method-assign]
    _patch(asyncio.sslproto._SSLProtocolTransport, "write", life)
    _patch(asyncio.sslproto._SSLProtocolTransport, "writelines", life)
    received: Callable[..., None] = WireConnection.data_received

    def data_received(self: WireConnection, data: bytes) -> None:
        if life.at(POSTED):
            life.reach("k5.first")
            life.reach("k5.whole")
        received(self, data)

    WireConnection.data_received = data_received  # type: ignore[method-assign]


def _patch(transport: Any, method: str, life: Life) -> None:
    original: Callable[..., None] = getattr(transport, method)

    def write(self: Any, data: Any) -> None:
        whole = data if isinstance(data, bytes | bytearray | memoryview) else b"".join(data)
        original(self, whole if method == "write" else [whole])
        if b"grant_type=refresh_token" in bytes(whole):
            life.mark(POSTED)
            _sent(life)

    setattr(transport, method, write)


def _sent(life: Life) -> None:
    for name in ("k4.dropped", "k4.sent", "k4.slow"):
        life.reach(name)
    life.mark("k4.waiting")
    if life.target == "k4.waiting":
        # Later, when the server has carried it out; the loop runs meanwhile.
        dies_after_s = BY_NAME["k4.waiting"].dies_after * life.post_limit_s
        asyncio.get_running_loop().call_later(dies_after_s, die)
