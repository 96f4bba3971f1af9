"""ProviderService."""

from __future__ import annotations

from tokenvault.v1 import provider_service_pb2 as pb
from tokenvault.v1 import provider_service_pb2_grpc, resources_pb2
from vault_service.domain import limits
from vault_service.domain.access import Call
from vault_service.domain.names import OAuthClientName, ProviderName, parse_tenant
from vault_service.domain.oauth import ClientAuthMethod
from vault_service.domain.sensitive import Sensitive
from vault_service.rpc import fields, translate
from vault_service.rpc.handling import Handling, handled
from vault_service.rpc.profiles import profile
from vault_service.usecases.client_credentials import ClientCredentials
from vault_service.usecases.client_holds import ClientHolds
from vault_service.usecases.oauth_clients import OAuthClients
from vault_service.usecases.providers import Providers
from vault_service.usecases.suspend_oauth_client import SuspendOAuthClient


class ProviderServicer(provider_service_pb2_grpc.ProviderServiceServicer):
    """Providers and our registrations at them."""

    def __init__(
        self,
        handling: Handling,
        providers: Providers,
        clients: OAuthClients,
        credentials: ClientCredentials,
        suspend: SuspendOAuthClient,
        holds: ClientHolds,
    ) -> None:
        self.handling = handling
        self._providers = providers
        self._clients = clients
        self._credentials = credentials
        self._suspend = suspend
        self._holds = holds

    @handled("ProviderService", lambda request: request.provider.name)
    async def PutProvider(
        self, request: pb.PutProviderRequest, call: Call
    ) -> pb.PutProviderResponse:
        """See the proto."""
        name = ProviderName.parse(request.provider.name)
        stored = await self._providers.put(call, name, profile(request.provider))
        return pb.PutProviderResponse(provider=translate.provider(stored))

    @handled("ProviderService", lambda request: request.parent)
    async def ListProviders(
        self, request: pb.ListProvidersRequest, call: Call
    ) -> pb.ListProvidersResponse:
        """See the proto."""
        page = await self._providers.list(
            call,
            parse_tenant(request.parent),
            fields.page_size(request.page_size),
            fields.page_token(request.page_token),
        )
        return pb.ListProvidersResponse(
            providers=map(translate.provider, page.items), next_page_token=page.next_token
        )

    @handled("ProviderService", lambda request: request.oauth_client.name)
    async def PutOAuthClient(
        self, request: pb.PutOAuthClientRequest, call: Call
    ) -> pb.PutOAuthClientResponse:
        """See the proto."""
        asked = request.oauth_client
        secret = request.client_secret
        stored = await self._clients.put(
            call,
            OAuthClientName.parse(asked.name),
            ProviderName.parse(asked.provider),
            client_id=fields.text("client_id", asked.client_id, limits.CLIENT_ID_MAX_CHARS),
            client_secret=Sensitive.from_text(secret) if secret else None,
            auth_method=_auth_method(asked.auth_method),
            redirect_uris=tuple(dict.fromkeys(asked.redirect_uris)),
            scopes=fields.scopes(asked.scopes),
            token_params=dict(asked.token_params),
        )
        return pb.PutOAuthClientResponse(oauth_client=translate.oauth_client(stored))

    @handled("ProviderService", lambda request: request.parent)
    async def ListOAuthClients(
        self, request: pb.ListOAuthClientsRequest, call: Call
    ) -> pb.ListOAuthClientsResponse:
        """See the proto."""
        page = await self._clients.list(
            call,
            parse_tenant(request.parent),
            fields.page_size(request.page_size),
            fields.page_token(request.page_token),
        )
        return pb.ListOAuthClientsResponse(
            oauth_clients=map(translate.oauth_client, page.items), next_page_token=page.next_token
        )

    @handled("ProviderService", lambda request: request.oauth_client)
    async def AddClientCredential(
        self, request: pb.AddClientCredentialRequest, call: Call
    ) -> pb.AddClientCredentialResponse:
        """See the proto."""
        name = OAuthClientName.parse(request.oauth_client)
        secret = Sensitive.from_text(request.client_secret)
        client = await self._credentials.add(call, name, secret)
        return pb.AddClientCredentialResponse(oauth_client=translate.oauth_client(client))

    @handled("ProviderService", lambda request: request.oauth_client)
    async def RetireClientCredential(
        self, request: pb.RetireClientCredentialRequest, call: Call
    ) -> pb.RetireClientCredentialResponse:
        """See the proto."""
        name, version = OAuthClientName.parse(request.oauth_client), fields.version(request.version)
        client = await self._credentials.retire(call, name, version)
        return pb.RetireClientCredentialResponse(oauth_client=translate.oauth_client(client))

    @handled("ProviderService", lambda request: request.name)
    async def SuspendOAuthClient(
        self, request: pb.SuspendOAuthClientRequest, call: Call
    ) -> pb.SuspendOAuthClientResponse:
        """See the proto."""
        client = await self._suspend.suspend(call, OAuthClientName.parse(request.name))
        return pb.SuspendOAuthClientResponse(oauth_client=translate.oauth_client(client))

    @handled("ProviderService", lambda request: request.name)
    async def ResumeOAuthClient(
        self, request: pb.ResumeOAuthClientRequest, call: Call
    ) -> pb.ResumeOAuthClientResponse:
        """See the proto."""
        client = await self._suspend.resume(call, OAuthClientName.parse(request.name))
        return pb.ResumeOAuthClientResponse(oauth_client=translate.oauth_client(client))

    @handled("ProviderService", lambda request: request.parent)
    async def ListClientHolds(
        self, request: pb.ListClientHoldsRequest, call: Call
    ) -> pb.ListClientHoldsResponse:
        """See the proto."""
        holds = await self._holds.list(call, parse_tenant(request.parent))
        return pb.ListClientHoldsResponse(
            client_holds=[
                pb.ClientHold(
                    oauth_client=str(hold.client), end_time=translate.timestamp(hold.until)
                )
                for hold in holds
            ]
        )

    @handled("ProviderService", lambda request: request.oauth_client)
    async def ClearClientHold(
        self, request: pb.ClearClientHoldRequest, call: Call
    ) -> pb.ClearClientHoldResponse:
        """See the proto."""
        name = OAuthClientName.parse(request.oauth_client)
        why = fields.text("why", request.why, limits.HOLD_WHY_MAX_CHARS)
        return pb.ClearClientHoldResponse(cleared=await self._holds.clear(call, name, why))


def _auth_method(value: resources_pb2.ClientAuthMethod.ValueType) -> ClientAuthMethod:
    try:
        return ClientAuthMethod(value or ClientAuthMethod.CLIENT_SECRET_BASIC.value)
    except ValueError:
        raise fields.malformed(
            "auth_method", "is CLIENT_SECRET_BASIC, CLIENT_SECRET_POST or NONE"
        ) from None
