"""All use cases of one process over the fakes, and the steps that their tests share."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tests.fakes.attempt_register import FakeAttemptRegister
from tests.fakes.attempts import FakeAttemptStore
from tests.fakes.clock import FakeClock, FakeEntropy
from tests.fakes.endpoint_guard import FakeEndpointGuard
from tests.fakes.keys import FakeKeyWrapper
from tests.fakes.policy import FakePolicy
from tests.fakes.spool import FakeSpool, FakeSpoolFolder
from tests.fakes.stores import FakeStores
from tests.fakes.token_endpoint import FakeTokenEndpoint
from tests.fakes.webhooks import FakeWebhookEndpoint
from tests.support.observed import ObservedAudit, ObservedEnvelopes
from tests.support.observed import refused as refused
from tests.support.samples import a_profile
from vault_service.app.attempts import operated_attempts
from vault_service.app.consents import ConsentParts, Consents
from vault_service.app.events import EventEngine, EventParts
from vault_service.app.refresh_engine import EngineParts, RefreshEngine
from vault_service.crypto.ring import DekRing
from vault_service.domain import limits
from vault_service.domain.access import Call, Caller, Permission, reply_reserve_s
from vault_service.domain.audit import AuditAction, AuditRecord
from vault_service.domain.grant import AccessToken, Grant
from vault_service.domain.names import GrantName, GrantTarget, OAuthClientName, ProviderName
from vault_service.domain.oauth import ClientAuthMethod
from vault_service.domain.refresh_times import RefreshTimes
from vault_service.domain.schedule import Scheduling
from vault_service.domain.sensitive import Sensitive
from vault_service.usecases.audit_records import AuditRecords, RecordRefusal
from vault_service.usecases.client_credentials import ClientCredentials
from vault_service.usecases.client_holds import ClientHolds
from vault_service.usecases.complete_authorization import Callback, Completed
from vault_service.usecases.counted_refusals import CountedRefusals
from vault_service.usecases.credentials import Credentials
from vault_service.usecases.delete_grant import DeleteGrant
from vault_service.usecases.destroy_secrets import DestroySecrets
from vault_service.usecases.flights import Flights
from vault_service.usecases.gate import Gate
from vault_service.usecases.get_access_token import GetAccessToken
from vault_service.usecases.grant_aliases import GrantAliases
from vault_service.usecases.grants import ReadGrants
from vault_service.usecases.known_grants import KnownGrants
from vault_service.usecases.oauth_clients import OAuthClients
from vault_service.usecases.outages import Outages
from vault_service.usecases.providers import Providers
from vault_service.usecases.read_secrets import ReadSecrets
from vault_service.usecases.recorder import Recorder
from vault_service.usecases.refresh_ahead import RefreshAhead
from vault_service.usecases.remind_of_secrets import RemindOfSecrets
from vault_service.usecases.report_rejected_token import ReportRejectedToken
from vault_service.usecases.revoke_at_provider import RevokeAtProvider
from vault_service.usecases.revoke_grant import RevokeGrant
from vault_service.usecases.secrets import Secrets
from vault_service.usecases.start_authorization import (
    AuthorizationRequest,
    StartAuthorization,
    StartedAuthorization,
)
from vault_service.usecases.suspend_oauth_client import SuspendOAuthClient
from vault_service.usecases.used_grants import UsedGrants

APP = "spiffe://example.org/app"
OTHER = "spiffe://example.org/other"
ROGUE = "spiffe://example.org/rogue"
TENANT = "acme"
PROVIDER = ProviderName(TENANT, "op")
CLIENT = OAuthClientName(TENANT, "crm")
REDIRECT_URI = "https://app.example/cb"
CLIENT_SECRET = "client-secret-canary"


class House:
    """The use cases of one process.

    ``beside(house)`` is another process on the same rows, provider, policy and clock, with
    flights, keys in memory and a spool of its own. APP and OTHER may do everything, ROGUE nothing.
    """

    def __init__(
        self,
        shared: House | None = None,
        instance: str = "i-1",
        spools: FakeSpoolFolder | None = None,
        clock: FakeClock | None = None,
        endpoint: FakeTokenEndpoint | None = None,
        late_places: int = limits.SPOOL_SLOTS,
    ) -> None:
        self._late_places = late_places
        self.clock: FakeClock = shared.clock if shared else clock or FakeClock()
        self.entropy: FakeEntropy = shared.entropy if shared else FakeEntropy()
        self.stores: FakeStores = (
            shared.stores if shared else FakeStores(self.clock, [TENANT, "beta"])
        )
        own = endpoint or FakeTokenEndpoint()
        self.endpoint: FakeTokenEndpoint = shared.endpoint if shared else own
        self.wrapper: FakeKeyWrapper = shared.wrapper if shared else FakeKeyWrapper()
        everything = ((caller, each) for caller in (APP, OTHER) for each in Permission)
        self.policy: FakePolicy = shared.policy if shared else FakePolicy(everything)
        self.ring = DekRing(self.wrapper, self.stores.deks, self.entropy, self.clock)
        self.envelopes = ObservedEnvelopes(self.ring, self.entropy)
        self.audit = ObservedAudit(self.stores.tables)
        self.instance = instance
        self.spool = FakeSpool(spools or FakeSpoolFolder())
        self.recorder = Recorder("dep-1", instance, self.entropy)
        self.flights = Flights(self.clock)
        self.outages = Outages(self.stores.budget, self.clock, self.entropy, self.recorder)
        self.gate = Gate(self.policy, self.stores.tenants)
        self.credentials = Credentials(
            self.stores.oauth_clients, self.stores.providers, self.envelopes
        )
        self.counted_refusals = CountedRefusals(
            audit=self.audit, recorder=self.recorder, clock=self.clock
        )
        self.refusals = RecordRefusal(
            audit=self.audit, recorder=self.recorder, counted=self.counted_refusals
        )
        self._build_registry()
        self._build_grants()

    @classmethod
    def beside(cls, house: House) -> House:
        """Another process."""
        return cls(house, "i-2")

    def _build_registry(self) -> None:
        stores = self.stores
        gate, clients, recorder = self.gate, stores.oauth_clients, self.recorder
        self.providers = Providers(
            gate=gate, providers=stores.providers, guard=FakeEndpointGuard(), recorder=recorder
        )
        self.clients = OAuthClients(
            gate=self.gate,
            clients=stores.oauth_clients,
            providers=stores.providers,
            envelopes=self.envelopes,
            recorder=self.recorder,
            clock=self.clock,
        )
        self.client_credentials = ClientCredentials(
            gate=gate, clients=clients, envelopes=self.envelopes, recorder=recorder
        )
        self.suspend = SuspendOAuthClient(gate=gate, clients=clients, recorder=recorder)
        self.holds = ClientHolds(gate=gate, holds=stores.budget, clients=clients, recorder=recorder)
        self.read_secrets = ReadSecrets(gate=self.gate, secrets=stores.secrets)
        self.destroy_secrets = DestroySecrets(
            gate=self.gate, secrets=stores.secrets, recorder=self.recorder
        )
        self.remind = RemindOfSecrets(
            reminders=stores.reminders,
            recorder=self.recorder,
            within_s=limits.SECRET_REMINDER_S,
        )
        self.secrets = Secrets(
            gate=self.gate,
            secrets=stores.secrets,
            envelopes=self.envelopes,
            audit=self.audit,
            recorder=self.recorder,
            clock=self.clock,
        )
        self.audit_records = AuditRecords(gate=self.gate, audit=self.audit, recorder=self.recorder)

    def _build_grants(self) -> None:
        stores = self.stores
        self.revoke_at_provider = RevokeAtProvider(
            queue=stores.revocations,
            discarded=stores.discarded,
            endpoint=self.endpoint,
            credentials=self.credentials,
            envelopes=self.envelopes,
            recorder=self.recorder,
        )
        self._build_engine()
        self.used_grants = UsedGrants(stores.schedule, self.clock, limits.IN_USE_S)
        self.refresh_ahead = self.scheduler()
        self.get_access_token = GetAccessToken(
            gate=self.gate,
            known=KnownGrants(stores.grants, self.clock),
            envelopes=self.envelopes,
            audit=self.audit,
            recorder=self.recorder,
            refresh=self.refresh,
            credentials=self.credentials,
            outages=self.outages,
            used=self.used_grants,
        )
        self.report = ReportRejectedToken(
            gate=self.gate,
            grants=stores.grants,
            envelopes=self.envelopes,
            recorder=self.recorder,
        )
        self._build_consents()
        self.read = ReadGrants(gate=self.gate, grants=stores.grants)
        self.revoke = RevokeGrant(
            gate=self.gate,
            grants=stores.grants,
            credentials=self.credentials,
            recorder=self.recorder,
            revoke_at_provider=self.revoke_at_provider,
            flights=self.flights,
        )
        self.delete = DeleteGrant(
            gate=self.gate, grants=stores.grants, recorder=self.recorder, revoke=self.revoke
        )
        self.aliases = GrantAliases(
            gate=self.gate, grants=stores.grants, aliases=stores.aliases, recorder=self.recorder
        )
        self._build_events()

    def _build_consents(self) -> None:
        stores = self.stores
        self.start = StartAuthorization(
            gate=self.gate,
            credentials=self.credentials,
            authorizations=stores.authorizations,
            envelopes=self.envelopes,
            recorder=self.recorder,
            entropy=self.entropy,
            clock=self.clock,
        )
        self.consents = Consents(
            ConsentParts(
                gate=self.gate,
                authorizations=stores.authorizations,
                kept=stores.kept_consents,
                grants=stores.grants,
                attempts=self.attempts,
                credentials=self.credentials,
                endpoint=self.endpoint,
                envelopes=self.envelopes,
                spool=self.spool,
                revoke_at_provider=self.revoke_at_provider,
                audit=self.audit,
                recorder=self.recorder,
                clock=self.clock,
                entropy=self.entropy,
                flights=self.flights,
                outages=self.outages,
                bell=stores.tables.grant_bell,
            )
        )
        self.complete = self.consents.complete

    def _build_events(self) -> None:
        self.webhook_endpoint = FakeWebhookEndpoint()
        events = EventEngine(
            EventParts(
                gate=self.gate,
                events=self.stores.events,
                bell=self.stores.bell,
                webhooks=self.stores.webhooks,
                queue=self.stores.webhooks,
                endpoint=self.webhook_endpoint,
                guard=FakeEndpointGuard(),
                audit=self.audit,
                envelopes=self.envelopes,
                recorder=self.recorder,
                entropy=self.entropy,
                clock=self.clock,
            )
        )
        self.watch, self.watches = events.watch, events.watches
        self.webhooks, self.deliver_webhooks = events.webhooks, events.deliver

    def _build_engine(self) -> None:
        self.attempts = FakeAttemptStore(self.stores.tables, self.instance)
        parts = EngineParts(
            grants=self.stores.grants,
            attempts=self.attempts,
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
            times=RefreshTimes(),
            bell=self.stores.tables.grant_bell,
            late_places=self._late_places,
        )
        self.engine = RefreshEngine(parts)
        register = FakeAttemptRegister(self.stores.tables, self.attempts)
        self.operated = operated_attempts(self.gate, register, parts, self.engine)
        self.refresh = self.engine.refresh

    def scheduler(self, scheduling: Scheduling = Scheduling()) -> RefreshAhead:  # noqa: B008
        """What refreshes in the background."""
        return RefreshAhead(
            schedule=self.stores.schedule,
            grants=self.stores.grants,
            refresh=self.refresh,
            recorder=self.recorder,
            clock=self.clock,
            flights=self.flights,
            scheduling=scheduling,
        )

    def call(self, caller: str = APP, *, budget_s: float = 30.0, rpc: str = "T/Test") -> Call:
        """A call under way with this much time left."""
        deadline = self.clock.monotonic() + budget_s
        source, kept = "ipv4:127.0.0.1:4711", reply_reserve_s(budget_s)
        return Call(Caller(caller, "01ab"), rpc, "r-1", source, deadline, reserve_s=kept)

    async def register(self, **profile: Any) -> None:
        """The provider ``op`` and the OAuthClient ``crm``, as the platform team puts them."""
        await self.providers.put(self.call(), PROVIDER, a_profile(**profile))
        await self.clients.put(
            self.call(),
            CLIENT,
            PROVIDER,
            client_id="crm-at-op",
            client_secret=Sensitive.from_text(CLIENT_SECRET),
            auth_method=ClientAuthMethod.CLIENT_SECRET_BASIC,
            redirect_uris=(REDIRECT_URI,),
            scopes=("openid", "mail"),
        )

    async def started(
        self,
        owner: str = "u-1",
        label: str = "",
        scopes: tuple[str, ...] = (),
        caller: str = APP,
    ) -> StartedAuthorization:
        """A consent begun."""
        request = AuthorizationRequest(CLIENT, owner, REDIRECT_URI, scopes, label)
        started = await self.start(self.call(caller), request)
        self.endpoint.authorize(started.url)
        return started

    def callback(self, started: StartedAuthorization, **changes: Any) -> Callback:
        """What the browser brings back of it."""
        usual = Callback(
            tenant=TENANT,
            state=started.state,
            code=Sensitive.from_text("code-1"),
            iss="",
            owner="u-1",
            redirect_uri=REDIRECT_URI,
            error="",
        )
        return replace(usual, **changes)

    def completing(self, started: StartedAuthorization, **changes: Any) -> asyncio.Task[Completed]:
        """A completion under way."""
        return asyncio.create_task(self.complete(self.call(), self.callback(started, **changes)))

    async def consent(self, owner: str = "u-1", label: str = "", caller: str = APP) -> Completed:
        """A whole consent."""
        started = await self.started(owner, label, caller=caller)
        return await self.complete(self.call(caller), self.callback(started, owner=owner))

    async def grant(self, **profile: Any) -> Grant:
        """Registers, consents, and returns the row."""
        await self.register(**profile)
        return (await self.consent()).grant

    async def row(self, name: GrantName) -> Grant:
        """The row as it stands."""
        found = await self.stores.grants.get(name)
        assert found is not None
        return found

    async def token(
        self,
        target: GrantTarget,
        min_ttl_s: float | None = None,
        scopes: frozenset[str] = frozenset(),
        *,
        caller: str = APP,
        budget_s: float = 30.0,
    ) -> AccessToken:
        """GetAccessToken."""
        call = self.call(caller, budget_s=budget_s)
        return await self.get_access_token(call, target, min_ttl_s, scopes)

    def change_row(self, grant: Grant, **changes: Any) -> None:
        """Behind the service's back: the row with these columns, at its next revision."""
        current = self.stores.tables.grants[grant.grant_id]
        changed = replace(current, revision=current.revision + 1, **changes)
        self.stores.tables.grants[grant.grant_id] = changed

    def records(self, action: AuditAction) -> list[AuditRecord]:
        """The records of one action, oldest first."""
        return [record for record in self.stores.records if record.action is action]
