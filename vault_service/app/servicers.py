"""The gRPC surface over the use cases of one process."""

from __future__ import annotations

from vault_service.adapters.postgres.aliases import PostgresGrantAliasStore
from vault_service.app.compose import Parts
from vault_service.rpc.attempt_servicer import AttemptServicer
from vault_service.rpc.audit_servicer import AuditServicer
from vault_service.rpc.grant_servicer import GrantServicer
from vault_service.rpc.handling import Handling
from vault_service.rpc.provider_servicer import ProviderServicer
from vault_service.rpc.secret_servicer import SecretServicer
from vault_service.rpc.server import Servicers
from vault_service.rpc.token_servicer import TokenServicer
from vault_service.rpc.webhook_servicer import WebhookServicer
from vault_service.usecases.audit_records import AuditRecords, RecordRefusal
from vault_service.usecases.client_credentials import ClientCredentials
from vault_service.usecases.client_holds import ClientHolds
from vault_service.usecases.delete_grant import DeleteGrant
from vault_service.usecases.destroy_secrets import DestroySecrets
from vault_service.usecases.get_access_token import GetAccessToken
from vault_service.usecases.grant_aliases import GrantAliases
from vault_service.usecases.grants import ReadGrants
from vault_service.usecases.oauth_clients import OAuthClients
from vault_service.usecases.providers import Providers
from vault_service.usecases.read_secrets import ReadSecrets
from vault_service.usecases.report_rejected_token import ReportRejectedToken
from vault_service.usecases.revoke_grant import RevokeGrant
from vault_service.usecases.secrets import Secrets
from vault_service.usecases.start_authorization import StartAuthorization
from vault_service.usecases.suspend_oauth_client import SuspendOAuthClient


def servicers(parts: Parts) -> Servicers:
    """The gRPC surface over the use cases."""
    handling = Handling(
        callers=parts.callers,
        refusals=RecordRefusal(
            audit=parts.audit, recorder=parts.recorder, counted=parts.counted_refusals
        ),
        clock=parts.clock,
        entropy=parts.entropy,
        meter=parts.instruments.rpc,
        traces=parts.instruments.traces,
    )
    return Servicers(
        token=TokenServicer(
            handling,
            _get_access_token(parts),
            ReportRejectedToken(
                gate=parts.gate,
                grants=parts.grants,
                envelopes=parts.envelopes,
                recorder=parts.recorder,
            ),
        ),
        grant=_grant_servicer(handling, parts),
        provider=_provider_servicer(handling, parts),
        secret=_secret_servicer(handling, parts),
        webhook=WebhookServicer(handling, parts.events.webhooks),
        attempt=AttemptServicer(handling, parts.attempts),
        audit=AuditServicer(
            handling, AuditRecords(gate=parts.gate, audit=parts.audit, recorder=parts.recorder)
        ),
    )


def _get_access_token(parts: Parts) -> GetAccessToken:
    return GetAccessToken(
        gate=parts.gate,
        known=parts.known_grants,
        envelopes=parts.envelopes,
        audit=parts.audit,
        recorder=parts.recorder,
        refresh=parts.engine.refresh,
        credentials=parts.credentials,
        outages=parts.outages,
        used=parts.used_grants,
    )


def _grant_servicer(handling: Handling, parts: Parts) -> GrantServicer:
    revoke = RevokeGrant(
        gate=parts.gate,
        grants=parts.grants,
        credentials=parts.credentials,
        recorder=parts.recorder,
        revoke_at_provider=parts.revoke_at_provider,
        flights=parts.flights,
    )
    return GrantServicer(
        handling,
        start=StartAuthorization(
            gate=parts.gate,
            credentials=parts.credentials,
            authorizations=parts.authorizations,
            envelopes=parts.envelopes,
            recorder=parts.recorder,
            entropy=parts.entropy,
            clock=parts.clock,
        ),
        complete=parts.consents.complete,
        read=ReadGrants(gate=parts.gate, grants=parts.grants),
        revoke=revoke,
        delete=DeleteGrant(
            gate=parts.gate, grants=parts.grants, recorder=parts.recorder, revoke=revoke
        ),
        aliases=GrantAliases(
            gate=parts.gate,
            grants=parts.grants,
            aliases=PostgresGrantAliasStore(parts.database),
            recorder=parts.recorder,
        ),
        watch=parts.events.watch,
    )


def _secret_servicer(handling: Handling, parts: Parts) -> SecretServicer:
    secrets = Secrets(
        gate=parts.gate,
        secrets=parts.secrets,
        envelopes=parts.envelopes,
        audit=parts.audit,
        recorder=parts.recorder,
        clock=parts.clock,
    )
    return SecretServicer(
        handling,
        secrets,
        ReadSecrets(gate=parts.gate, secrets=parts.secrets),
        DestroySecrets(gate=parts.gate, secrets=parts.secrets, recorder=parts.recorder),
    )


def _provider_servicer(handling: Handling, parts: Parts) -> ProviderServicer:
    providers = Providers(
        gate=parts.gate, providers=parts.providers, guard=parts.guard, recorder=parts.recorder
    )
    clients = OAuthClients(
        gate=parts.gate,
        clients=parts.clients,
        providers=parts.providers,
        envelopes=parts.envelopes,
        recorder=parts.recorder,
        clock=parts.clock,
    )
    credentials = ClientCredentials(
        gate=parts.gate,
        clients=parts.clients,
        envelopes=parts.envelopes,
        recorder=parts.recorder,
    )
    suspend = SuspendOAuthClient(gate=parts.gate, clients=parts.clients, recorder=parts.recorder)
    holds = ClientHolds(
        gate=parts.gate, holds=parts.budgets, clients=parts.clients, recorder=parts.recorder
    )
    return ProviderServicer(handling, providers, clients, credentials, suspend, holds)
