"""Opens an OAuthClient's credentials for a request to its provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from vault_service.crypto.envelopes import Envelopes
from vault_service.domain.answers import AnswerClass, TokenEndpointError
from vault_service.domain.errors import Reason, VaultError
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import ClientCredential, OAuthClient, credential_binding
from vault_service.domain.provider import Provider
from vault_service.domain.sensitive import Sensitive
from vault_service.ports import OAuthClientStore, ProviderStore

T = TypeVar("T")

_CLIENT_UNKNOWN: Final = "invalid_client"


@dataclass(frozen=True, slots=True)
class Presented(Generic[T]):
    """What a provider answered, and to which version of our credential."""

    answer: T
    credential_version: int


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
        return Registration(client, provider, _credential(client, secret))

    async def require_in_service(self, name: OAuthClientName) -> None:
        """Raises KILL_SWITCH where the OAuthClient is suspended now, OAUTH_CLIENT_NOT_FOUND."""
        client, _ = await self.find(name)
        require_in_service(client)

    async def present(
        self,
        registration: Registration,
        request: Callable[[ClientCredential], Awaitable[T]],
        may_try_again: Callable[[], bool],
    ) -> Presented[T]:
        """One request with the credential in use, and where the provider answers invalid_client
        to it, once more with the next older one. Raises what ``request`` raises.

        A provider authenticates its client before it looks at a code or a token (RFC 6749 §3.2.1,
        §5.2), so nothing was used up by the first try.
        """
        try:
            answer = await request(registration.credential)
        except TokenEndpointError as error:
            older = None
            refused = error.answer_class is AnswerClass.CLIENT_REFUSED
            if refused and error.error == _CLIENT_UNKNOWN:
                older = await self._older(registration.client)
            # Asked last: the look-up and the key store take their time too.
            if older is None or not may_try_again():
                raise
        else:
            return Presented(answer, registration.client.credential_version)
        version, credential = older
        return Presented(await request(credential), version)

    async def _older(self, client: OAuthClient) -> tuple[int, ClientCredential] | None:
        if client.is_public:
            return None
        try:
            sealed = await self._clients.older_credential(client)
            if sealed is None:
                return None
            binding = credential_binding(client.name, sealed.version, client.provider)
            secret = await self._envelopes.open(binding, sealed.envelope)
        except VaultError:
            # The provider's own answer says more than what failed here on the way to a second try.
            return None
        return sealed.version, _credential(client, secret)


def _credential(client: OAuthClient, secret: Sensitive) -> ClientCredential:
    return ClientCredential(client.client_id, secret, client.auth_method, client.token_params)


def require_in_service(client: OAuthClient) -> None:
    """Raises KILL_SWITCH where the OAuthClient is suspended."""
    if client.suspend_time is not None:
        raise VaultError(
            Reason.KILL_SWITCH,
            "an operator suspended this OAuthClient; ask the platform team when it is resumed",
            metadata={"oauth_client": str(client.name)},
        )
