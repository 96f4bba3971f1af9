"""The adapters and shared helpers of one process. Nothing connects here; the first use does."""

from __future__ import annotations

import contextlib
from functools import partial

from vault_service.adapters.cedar import CedarPolicy
from vault_service.adapters.clock import SystemClock, SystemEntropy
from vault_service.adapters.oauth.token_endpoint import OAuthTokenEndpoint
from vault_service.adapters.postgres.attempt_register import PostgresAttemptRegister
from vault_service.adapters.postgres.attempt_upkeep import PostgresAttemptSweeper
from vault_service.adapters.postgres.attempts import PostgresAttemptStore
from vault_service.adapters.postgres.audit import PostgresAuditLog
from vault_service.adapters.postgres.authorizations import PostgresAuthorizationStore
from vault_service.adapters.postgres.bell import PostgresEventBell
from vault_service.adapters.postgres.budgets import PostgresRateBudget
from vault_service.adapters.postgres.deks import PostgresDekStore
from vault_service.adapters.postgres.discarded_tokens import PostgresDiscardedTokens
from vault_service.adapters.postgres.events import PostgresEventStore
from vault_service.adapters.postgres.grant_bell import PostgresGrantBell
from vault_service.adapters.postgres.grants import PostgresGrantStore
from vault_service.adapters.postgres.kept_consents import PostgresKeptConsents
from vault_service.adapters.postgres.oauth_clients import PostgresOAuthClientStore
from vault_service.adapters.postgres.pool import Database
from vault_service.adapters.postgres.providers import PostgresProviderStore
from vault_service.adapters.postgres.revocations import PostgresRevocationQueue
from vault_service.adapters.postgres.schedule import PostgresRefreshSchedule
from vault_service.adapters.postgres.secret_upkeep import PostgresSecretReminders
from vault_service.adapters.postgres.secrets import PostgresSecretStore
from vault_service.adapters.postgres.tenants import PostgresTenantStore
from vault_service.adapters.postgres.webhook_queue import PostgresWebhookQueue
from vault_service.adapters.postgres.webhooks import PostgresWebhookStore
from vault_service.adapters.spool.spool import FileSpool
from vault_service.adapters.transit.wrapper import TransitKeyWrapper
from vault_service.adapters.webhook_endpoint import HttpWebhookEndpoint
from vault_service.app.attempts import operated_attempts
from vault_service.app.consents import ConsentParts, Consents
from vault_service.app.events import EventEngine, EventParts
from vault_service.app.instruments import Instruments
from vault_service.app.refresh_engine import EngineParts, RefreshEngine
from vault_service.app.settings import (
    database_settings,
    refresh_times,
    scheduling,
    spool_settings,
    transit_settings,
)
from vault_service.config import Config
from vault_service.crypto.cache import Lives
from vault_service.crypto.envelopes import Envelopes
from vault_service.crypto.ring import DekRing
from vault_service.domain import limits
from vault_service.domain.errors import VaultError
from vault_service.domain.priority import Priority
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard
from vault_service.rpc.caller import CallerReader
from vault_service.telemetry.meters import (
    AttemptMeter,
    CommitMeter,
    DatabaseMeter,
    ProviderMeter,
    TransitMeter,
)
from vault_service.telemetry.traces import span_alone
from vault_service.usecases.counted_refusals import CountedRefusals
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.flights import Flights
from vault_service.usecases.gate import Gate
from vault_service.usecases.known_grants import KnownGrants
from vault_service.usecases.outages import Outages
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.refresh_ahead import RefreshAhead
from vault_service.usecases.remind_of_secrets import RemindOfSecrets
from vault_service.usecases.revoke_at_provider import RevokeAtProvider
from vault_service.usecases.used_grants import UsedGrants
from vault_service.worker.backlogs import Backlogs


class Parts:
    """The adapters and shared helpers of one process."""

    def __init__(
        self, config: Config, policy: CedarPolicy, instruments: Instruments | None = None
    ) -> None:
        self.instruments = instruments or Instruments()
        metrics = self.instruments.metrics
        self.clock = SystemClock()
        self.entropy = SystemEntropy()
        self.policy = policy
        # First of what opens something later: nothing is left open when its folder is refused.
        self.spool = FileSpool(spool_settings(config), self.clock, self.entropy)
        self.callers = CallerReader(config.server.trust_domains, self.clock)
        self.database = Database(
            database_settings(config, config.database.user), DatabaseMeter(metrics, "requests")
        )
        self.worker_database = Database(
            database_settings(config, config.database.worker_user), DatabaseMeter(metrics, "worker")
        )
        self.transit = TransitKeyWrapper(
            transit_settings(config), self.clock, TransitMeter(metrics)
        )
        self.guard = EgressGuard(config.egress.allowed_private)
        self.http = HttpClient(self.guard, config.egress.ca_file)
        self.endpoint = OAuthTokenEndpoint(
            self.http, self.clock, ProviderMeter(metrics), config.refresh.post_limit_s
        )
        self.ring = self._ring(config)
        self.envelopes = Envelopes(config.deployment, self.ring, self.entropy)
        self.audit = PostgresAuditLog(self.database, CommitMeter(metrics))
        self.recorder = Recorder(config.deployment, config.instance, self.entropy)
        self.counted_refusals = CountedRefusals(
            audit=self.audit, recorder=self.recorder, clock=self.clock
        )
        self.gate = Gate(policy, PostgresTenantStore(self.database))
        self.grants = PostgresGrantStore(self.database)
        self.known_grants = KnownGrants(self.grants, self.clock)
        self.secrets = PostgresSecretStore(self.database)
        self.authorizations = PostgresAuthorizationStore(self.database)
        self.providers = PostgresProviderStore(self.database)
        self.clients = PostgresOAuthClientStore(self.database)
        self.credentials = Credentials(self.clients, self.providers, self.envelopes)
        self.flights = Flights(self.clock)
        self.budgets = PostgresRateBudget(self.database)
        self.outages = Outages(self.budgets, self.clock, self.entropy, self.recorder)
        self.queue = PostgresRevocationQueue(self.database, self.worker_database)
        self.revoke_at_provider = RevokeAtProvider(
            queue=self.queue,
            discarded=PostgresDiscardedTokens(self.database, self.worker_database),
            endpoint=self.endpoint,
            credentials=self.credentials,
            envelopes=self.envelopes,
            recorder=self.recorder,
        )
        self.grant_bell = PostgresGrantBell()
        self.engine = self._engine(config)
        self._build_scheduler(config)
        self.remind = RemindOfSecrets(
            reminders=PostgresSecretReminders(self.database, self.worker_database),
            recorder=self.recorder,
            within_s=config.secrets.reminder_s,
        )

    def _ring(self, config: Config) -> DekRing:
        cache = config.dek_cache
        lives = Lives(cache.soft_life_s, cache.hard_life_s, cache.entries_max)
        deks = PostgresDekStore(self.database)
        return DekRing(self.transit, deks, self.entropy, self.clock, lives, span_alone)

    def _engine(self, config: Config) -> RefreshEngine:
        self.attempt_store = PostgresAttemptStore(
            self.database,
            self.worker_database,
            config.refresh.spool_wait_s,
            AttemptMeter(self.instruments.metrics),
        )
        parts = EngineParts(
            grants=self.grants,
            attempts=self.attempt_store,
            spool=self.spool,
            audit=self.audit,
            endpoint=self.endpoint,
            credentials=self.credentials,
            envelopes=self.envelopes,
            revoke_at_provider=self.revoke_at_provider,
            recorder=self.recorder,
            clock=self.clock,
            entropy=self.entropy,
            flights=self.flights,
            outages=self.outages,
            times=refresh_times(config),
            bell=self.grant_bell,
            late_places=min(
                limits.HTTP_LATE_MAX, int(config.spool.slots * limits.LATE_ANSWERS_SHARE)
            ),
        )
        engine = RefreshEngine(parts)
        register = PostgresAttemptRegister(self.database, config.refresh.spool_wait_s)
        self.attempts = operated_attempts(self.gate, register, parts, engine)
        return engine

    def _build_scheduler(self, config: Config) -> None:
        self.schedule = PostgresRefreshSchedule(self.database, self.worker_database)
        self.old_attempts = PostgresAttemptSweeper(self.worker_database)
        self.backlogs = Backlogs(self.old_attempts.unresolved, self.schedule.backlog)
        self.used_grants = UsedGrants(self.schedule, self.clock, config.scheduler.in_use_s)
        self.refresh_ahead = RefreshAhead(
            schedule=self.schedule,
            grants=self.grants,
            refresh=partial(self.engine.refresh, priority=Priority.BACKGROUND),
            recorder=self.recorder,
            clock=self.clock,
            flights=self.flights,
            scheduling=scheduling(config),
        )
        self.bell = PostgresEventBell(self.database, self.grant_bell)
        self.webhook_queue = PostgresWebhookQueue(self.database, self.worker_database)
        self.events = _event_engine(self)
        self.consents = _consents(self)

    async def close(self) -> None:
        """In the order of use: what waits is settled before its connections go."""
        with contextlib.suppress(VaultError):  # no store to write to
            await self.counted_refusals.write()
        with contextlib.suppress(VaultError):
            await self.used_grants.write()
        await self.audit.close()
        await self.spool.close()
        await self.http.close()
        await self.ring.close()
        await self.transit.close()
        await self.database.close()
        await self.worker_database.close()


def _consents(parts: Parts) -> Consents:
    return Consents(
        ConsentParts(
            gate=parts.gate,
            authorizations=parts.authorizations,
            kept=PostgresKeptConsents(parts.database, parts.worker_database),
            grants=parts.grants,
            attempts=parts.attempt_store,
            credentials=parts.credentials,
            endpoint=parts.endpoint,
            envelopes=parts.envelopes,
            spool=parts.spool,
            revoke_at_provider=parts.revoke_at_provider,
            audit=parts.audit,
            recorder=parts.recorder,
            clock=parts.clock,
            entropy=parts.entropy,
            flights=parts.flights,
            outages=parts.outages,
            bell=parts.grant_bell,
        )
    )


def _event_engine(parts: Parts) -> EventEngine:
    return EventEngine(
        EventParts(
            gate=parts.gate,
            events=PostgresEventStore(parts.database),
            bell=parts.bell,
            webhooks=PostgresWebhookStore(parts.database),
            queue=parts.webhook_queue,
            endpoint=HttpWebhookEndpoint(parts.http),
            guard=parts.guard,
            audit=parts.audit,
            envelopes=parts.envelopes,
            recorder=parts.recorder,
            entropy=parts.entropy,
            clock=parts.clock,
        )
    )
