"""The engine of one process from real adapters, without gRPC; mortal where it has a life."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaigns.kill_matrix.life import Life
from tests.campaigns.kill_matrix.moments import PROVIDER_BY_NAME
from tests.campaigns.kill_matrix.mortal import (
    MortalAttempts,
    MortalClients,
    MortalDatabase,
    MortalDisk,
    MortalEndpoint,
    MortalSpool,
)
from tests.campaigns.kill_matrix.scaling import scaled
from vault_service.adapters.clock import SystemClock, SystemEntropy
from vault_service.adapters.postgres.audit import PostgresAuditLog
from vault_service.adapters.postgres.budgets import PostgresRateBudget
from vault_service.adapters.postgres.deks import PostgresDekStore
from vault_service.adapters.postgres.discarded_tokens import PostgresDiscardedTokens
from vault_service.adapters.postgres.grant_bell import PostgresGrantBell
from vault_service.adapters.postgres.grants import PostgresGrantStore
from vault_service.adapters.postgres.pool import DatabaseSettings
from vault_service.adapters.postgres.providers import PostgresProviderStore
from vault_service.adapters.postgres.revocations import PostgresRevocationQueue
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.transit import TransitKeyWrapper, TransitSettings
from vault_service.app.refresh_engine import EngineParts, RefreshEngine
from vault_service.crypto.envelopes import Envelopes
from vault_service.crypto.ring import DekRing
from vault_service.domain import limits
from vault_service.domain.access import Call, Caller
from vault_service.domain.envelope import DekOwner, WrappedDek
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.grant import Grant
from vault_service.domain.names import GrantName
from vault_service.domain.provider import RefreshClass
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.flights import Flights
from vault_service.usecases.outages import Outages
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.revoke_at_provider import RevokeAtProvider

TENANT, OWNER, DEPLOYMENT = "acme", "u-1", "dep-1"
TIMES = RefreshTimes()  # as they ship, scaled with all others (``scaling``)


def times_of(provider: str) -> RefreshTimes:
    """Of a grant at this kind of provider."""
    kind = PROVIDER_BY_NAME[provider]
    return TIMES.for_class(RefreshClass[kind.refresh_class], scaled(kind.grace_s))


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is, for any process; ``deks`` has the DEKs in clear, by id in hex."""

    socket_dir: str
    database_port: int
    password_files: dict[str, str]
    database: str
    provider_port: int
    provider_port_file: str
    ca_file: str
    folder: str
    deks: dict[str, str]
    transit: dict[str, str]  # with them every process asks the real key store itself

    def database_settings(self, role: str, instance: str) -> DatabaseSettings:
        """As a role, on the private socket."""
        return DatabaseSettings(
            host=self.socket_dir,
            port=self.database_port,
            name=self.database,
            user=role,
            password_file=Path(self.password_files[role]),
            ca_file=None,
            pool_size=3,
            statement_limit_s=5.0,
            application_name=instance,
        )

    def http(self) -> HttpClient:
        """Made before a fork: it reads the trusted certificates, which takes a while."""
        guard = EgressGuard([f"127.0.0.1:{self.provider_port}"])
        return HttpClient(guard, Path(self.ca_file))

    def wrapper(self) -> TransitKeyWrapper | OpenedKeys:
        """The real one, or what the real one gave at the preparation."""
        if not self.transit:
            return OpenedKeys({bytes.fromhex(i): bytes.fromhex(k) for i, k in self.deks.items()})
        paths = {name: Path(self.transit[name]) for name in _TRANSIT_PATHS}
        facts: dict[str, Any] = {**self.transit, **paths}
        return TransitKeyWrapper(TransitSettings(**facts), SystemClock())


_TRANSIT_PATHS = ("ca_file", "role_id_file", "secret_id_file")


class OpenedKeys:
    """ports.KeyWrapper that has unwrapped already; it wraps nothing new."""

    def __init__(self, keys: dict[bytes, bytes]) -> None:
        self._keys = keys

    async def wrap(self, dek_id: bytes, owner: DekOwner, key: Sensitive) -> WrappedDek:
        raise VaultError(Reason.KEK_UNREACHABLE, "every DEK was made at the preparation")

    async def unwrap(self, wrapped: WrappedDek) -> Sensitive:
        return Sensitive(self._keys[wrapped.dek_id])

    async def close(self) -> None:
        """Nothing is open."""


class Vault:
    """One process's engine. ``life``: what it has reached; it dies there where it has a target."""

    def __init__(
        self,
        place: Place,
        instance: str,
        spools: Path,
        http: HttpClient,
        *,
        life: Life | None = None,
    ) -> None:
        self.life = life or Life()
        self.clock = SystemClock()
        self.entropy = SystemEntropy()
        self.http = http
        self.database = MortalDatabase(
            place.database_settings("tokenvault_app", instance), self.life
        )
        self.worker = MortalDatabase(
            place.database_settings("tokenvault_worker", instance), self.life
        )
        self.disk = MortalDisk(self.life)
        settings = SpoolSettings(spools, limits.SPOOL_SLOTS_MIN)
        self.spool = MortalSpool(settings, self.clock, self.entropy, self.disk)
        self.grants = PostgresGrantStore(self.database)
        self.attempts = MortalAttempts(
            self.database, self.worker, limits.SPOOL_WAIT_S, self.life, self.spool
        )
        self.audit = PostgresAuditLog(self.database)
        self.wrapper = place.wrapper()
        self.ring = DekRing(self.wrapper, PostgresDekStore(self.database), self.entropy, self.clock)
        self.envelopes = Envelopes(DEPLOYMENT, self.ring, self.entropy)
        self.recorder = Recorder(DEPLOYMENT, instance, self.entropy)
        self.flights = Flights(self.clock)
        self.engine = RefreshEngine(self._parts())

    def _parts(self) -> EngineParts:
        endpoint = MortalEndpoint(self.http, self.clock, self.life)
        credentials = Credentials(
            MortalClients(self.database, self.life),
            PostgresProviderStore(self.database),
            self.envelopes,
        )
        revoke = RevokeAtProvider(
            queue=PostgresRevocationQueue(self.database, self.worker),
            discarded=PostgresDiscardedTokens(self.database, self.worker),
            endpoint=endpoint,
            credentials=credentials,
            envelopes=self.envelopes,
            recorder=self.recorder,
        )
        return EngineParts(
            grants=self.grants,
            attempts=self.attempts,
            spool=self.spool,
            audit=self.audit,
            endpoint=endpoint,
            credentials=credentials,
            envelopes=self.envelopes,
            revoke_at_provider=revoke,
            recorder=self.recorder,
            clock=self.clock,
            entropy=self.entropy,
            flights=self.flights,
            outages=Outages(
                PostgresRateBudget(self.database), self.clock, self.entropy, self.recorder
            ),
            times=TIMES,
            bell=PostgresGrantBell(),
        )

    async def find(self, grant_id: uuid.UUID) -> Grant | None:
        """The grant as it stands, None before its consent."""
        return await self.grants.get(GrantName(TENANT, grant_id))

    async def row(self, grant_id: uuid.UUID) -> Grant:
        """The grant as it stands."""
        found = await self.find(grant_id)
        assert found is not None
        return found

    async def refresh(self, row: Grant, budget_s: float = 2.0) -> VaultError | None:
        """As GetAccessToken does for a token that is too old; the refusal, or None."""
        try:
            await self.engine.refresh(a_call(budget_s), row)
        except VaultError as error:
            return error
        return None

    async def sweep(self) -> None:
        """As the worker does every second."""
        try:
            await self.engine.recover(a_call(2.0))
        except VaultError:
            return  # the next one does it

    async def due_in_s(self) -> float | None:
        """When recovery may find something to do, None: no attempt is open."""
        with contextlib.suppress(VaultError):
            ((due_s,),) = await self.worker.call(_DUE)
            return None if due_s is None else float(due_s)
        return None

    async def attempts_of(self, grant_id: uuid.UUID) -> list[dict[str, Any]]:
        """Its attempts, oldest first; one round trip."""
        found = await self.worker.call(_ATTEMPTS, TENANT, grant_id)
        return [dict(row) for row in found]

    async def hang_up(self) -> None:
        """No connection to a provider is open: the next request makes one."""
        await self.http.hang_up()

    async def close(self) -> None:
        """In the order of the service."""
        await self.audit.close()
        await self.spool.close()
        await self.http.close()
        await self.ring.close()
        await self.wrapper.close()
        await self.database.close()
        await self.worker.close()


_DUE = """
    SELECT extract(epoch FROM
        min(greatest(a.next_try_time, l.lease_until)) - clock_timestamp())::double precision
    FROM refresh_attempts a LEFT JOIN grant_leases l ON l.grant_id = a.grant_id
    WHERE a.state IN (1, 5)
"""
_ATTEMPTS = """
    SELECT state, retries FROM refresh_attempts
    WHERE tenant = $1 AND grant_id = $2 ORDER BY create_time
"""


def a_call(budget_s: float) -> Call:
    """Somebody's call with so much time."""
    caller = Caller("spiffe://example.org/app", "01ab")
    return Call(caller, "T/KillMatrix", "r-1", "", time.monotonic() + budget_s)
