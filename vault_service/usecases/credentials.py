"""Opens an OAuthClient's credential for one request to its provider."""

from __future__ import annotations

from dataclasses import dataclass

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import ClientCredential, OAuthClient
from vault_service.domain.provider import Provider
from vault_service.ports import OAuthClientStore, ProviderStore


@dataclass(frozen=True, slots=True)
class Registration:
    """An OAuthClient, its provider, and its credential opened."""

    client: OAuthClient
    provider: Provider
    credential: ClientCredential


class Credentials:
    """Reads registrations; the opened credential goes to the token endpoint and nowhere else."""

    def __init__(
        self, clients: OAuthClientStore, providers: ProviderStore, envelopes: Envelopes
    ) -> None:
        self._clients = clients
        self._providers = providers
        self._envelopes = envelopes

    async def find(self, name: OAuthClientName) -> tuple[OAuthClient, Provider]:
        """Raises OAUTH_CLIENT_NOT_FOUND."""
        client = await self._clients.get(name)
        if client is not None:
            provider = await self._providers.get(ProviderName(name.tenant, client.provider))
            if provider is not None:
                return client, provider
        raise VaultError(
            Reason.OAUTH_CLIENT_NOT_FOUND,
            "no such OAuthClient; the platform team makes one with: tokenvault client put",
        )

    async def open(self, name: OAuthClientName) -> Registration:
        """Raises OAUTH_CLIENT_NOT_FOUND, KEK_UNREACHABLE, ENVELOPE_CORRUPT."""
        client, provider = await self.find(name)
        secret = await self._envelopes.open(client.credential_binding, client.credential_envelope)
        return Registration(
            client, provider, ClientCredential(client.client_id, secret, client.auth_method)
        )
