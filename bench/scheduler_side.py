"""One replica's scheduler with the real engine, spool and stores, and a provider at the port."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from bench.scheduler_rows import Filled
from tests.fakes.keys import FakeKeyWrapper
from tests.fakes.token_endpoint import FakeTokenEndpoint
from vault_service.adapters.clock import SystemClock, SystemEntropy
from vault_service.adapters.postgres.attempts import PostgresAttemptStore
from vault_service.adapters.postgres.audit import PostgresAuditLog
from vault_service.adapters.postgres.deks import PostgresDekStore
from vault_service.adapters.postgres.grants import PostgresGrantStore
from vault_service.adapters.postgres.oauth_clients import PostgresOAuthClientStore
from vault_service.adapters.postgres.providers import PostgresProviderStore
from vault_service.adapters.postgres.revocations import PostgresRevocationQueue
from vault_service.adapters.postgres.schedule import PostgresRefreshSchedule
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.spool import FileSpool
from vault_service.app.refresh_engine import EngineParts, RefreshEngine
from vault_service.crypto.envelopes import Envelopes
from vault_service.crypto.ring import DekRing
from vault_service.domain import limits
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.oauth import ClientCredential
from vault_service.domain.provider import ProviderProfile
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.domain.schedule import Scheduling
from vault_service.domain.sensitive import Sensitive
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.flights import Flights
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.refresh_ahead import RefreshAhead
from vault_service.usecases.revoke_at_provider import RevokeAtProvider
from vault_service.worker.scheduler import Scheduler

_WRAPPER = FakeKeyWrapper()
_LATENCY_S = 0.02


class Provider(FakeTokenEndpoint):
    """Answers after 20 ms with the next generation, and notes when each request came."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self.presented: set[bytes] = set()

    async def refresh(
        self,
        profile: ProviderProfile,
        client: ClientCredential,
        *,
        token_endpoint: str,
        refresh_token: Sensitive,
        scopes: tuple[str, ...],
    ) -> HttpAnswer:
        """A 200."""
        self.times.append(time.monotonic())
        self.presented.add(refresh_token.reveal())
        await asyncio.sleep(_LATENCY_S)
        family, _, generation = refresh_token.reveal_text().rpartition(".")
        members = {
            "access_token": f"at-{family}-{generation}",
            "refresh_token": f"{family}.{int(generation) + 1}",
            "token_type": "Bearer",
            "expires_in": 3_600,
        }
        return HttpAnswer(200, "application/json", Sensitive(json.dumps(members).encode()))


class Replica:
    """One process's parts, as ``app`` puts them together."""

    def __init__(self, filled: Filled, folder: Path, provider: Provider, instance: str) -> None:
        self.clock, self.entropy = SystemClock(), SystemEntropy()
        self.spool = FileSpool(SpoolSettings(folder, 256), self.clock, self.entropy)
        self.ring = DekRing(_WRAPPER, PostgresDekStore(filled.app), self.entropy, self.clock)
        self.envelopes = Envelopes("dep-1", self.ring, self.entropy)
        self.audit = PostgresAuditLog(filled.app)
        self.schedule = PostgresRefreshSchedule(filled.app, filled.worker)
        grants, recorder = PostgresGrantStore(filled.app), Recorder("dep-1", instance, self.entropy)
        flights = Flights(self.clock)
        credentials = Credentials(
            PostgresOAuthClientStore(filled.app), PostgresProviderStore(filled.app), self.envelopes
        )
        engine = RefreshEngine(
            EngineParts(
                grants=grants,
                attempts=PostgresAttemptStore(filled.app, filled.worker, limits.SPOOL_WAIT_S),
                spool=self.spool,
                audit=self.audit,
                endpoint=provider,
                credentials=credentials,
                envelopes=self.envelopes,
                revoke_at_provider=RevokeAtProvider(
                    queue=PostgresRevocationQueue(filled.app, filled.worker),
                    endpoint=provider,
                    credentials=credentials,
                    envelopes=self.envelopes,
                    recorder=recorder,
                ),
                recorder=recorder,
                clock=self.clock,
                entropy=self.entropy,
                flights=flights,
                times=RefreshTimes(),
            )
        )
        self.ahead = RefreshAhead(
            schedule=self.schedule,
            grants=grants,
            refresh=engine.refresh,
            recorder=recorder,
            clock=self.clock,
            flights=flights,
            scheduling=Scheduling(),
        )
        self.scheduler = Scheduler(self.ahead, self.clock, self.entropy)

    @classmethod
    async def make(cls, *parts: Any) -> Replica:
        """With its spool open and its first connections made."""
        made = cls(*parts)
        await made.spool.open()
        await made.schedule.backlog()
        return made

    async def step_ms(self) -> float:
        """One step of the worker's loop."""
        started = time.perf_counter()
        await self.scheduler.step()
        return (time.perf_counter() - started) * 1e3

    async def tick_ms(self, due: int) -> float:
        """A step that finds about so many due."""
        before = self.ahead.counts.taken
        used_ms = await self.step_ms()
        taken = self.ahead.counts.taken - before
        if not due * 0.9 <= taken <= due:
            raise RuntimeError(f"{taken} of {due} were due")
        return used_ms

    async def ended(self) -> None:
        """Wait for what is under way."""
        while self.ahead.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """End it."""
        await self.ahead.stop()
        await self.audit.close()
        await self.spool.close()
        await self.ring.close()
