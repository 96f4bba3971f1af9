"""Tenants beside each other in one House, and a provider that is asked by the real HTTP client."""

from __future__ import annotations

from typing import Any

from tests.fakes.token_endpoint import FakeTokenEndpoint
from tests.support.house import REDIRECT_URI, House
from tests.support.samples import a_profile
from vault_service.adapters.oauth.token_endpoint import OAuthTokenEndpoint
from vault_service.domain.grant import Grant
from vault_service.domain.http_answer import HttpAnswer
from vault_service.domain.names import OAuthClientName, ProviderName
from vault_service.domain.oauth import ClientAuthMethod
from vault_service.domain.provider import RefreshClass
from vault_service.domain.sensitive import Sensitive
from vault_service.usecases.complete_authorization import Callback
from vault_service.usecases.start_authorization import AuthorizationRequest

OTHER_TENANT = "beta"  # the House has it beside its own


class OverEgress(FakeTokenEndpoint):
    """The script of a ``FakeTokenEndpoint``, until ``real`` is set: then requests for tokens go out
    by that."""

    real: OAuthTokenEndpoint | None = None

    async def exchange_code(self, *args: Any, **fields: Any) -> HttpAnswer:
        if self.real is not None:
            return await self.real.exchange_code(*args, **fields)
        return await super().exchange_code(*args, **fields)

    async def refresh(self, *args: Any, **fields: Any) -> HttpAnswer:
        if self.real is not None:
            return await self.real.refresh(*args, **fields)
        return await super().refresh(*args, **fields)


async def register(house: House, client: OAuthClientName, **profile: Any) -> None:
    """An OAuthClient with a provider of its own, of the same id."""
    provider = ProviderName(client.tenant, client.oauth_client)
    usual: dict[str, Any] = {"refresh_class": RefreshClass.N}
    await house.providers.put(house.call(), provider, a_profile(**(usual | profile)))
    await house.clients.put(
        house.call(),
        client,
        provider,
        client_id=client.oauth_client,
        client_secret=Sensitive.from_text("s"),
        auth_method=ClientAuthMethod.CLIENT_SECRET_BASIC,
        redirect_uris=(REDIRECT_URI,),
        scopes=("openid", "mail"),
    )


async def callback(house: House, client: OAuthClientName, owner: str = "u-1") -> Callback:
    """A consent that was begun, and what its browser brings back."""
    request = AuthorizationRequest(client, owner, REDIRECT_URI, (), "")
    started = await house.start(house.call(), request)
    house.endpoint.authorize(started.url)
    code = Sensitive.from_text("code")
    return Callback(client.tenant, started.state, code, "", owner, REDIRECT_URI, "")


async def expired_grant(house: House, client: OAuthClientName, owner: str = "u-1") -> Grant:
    """A grant whose next disclosure needs a refresh."""
    house.endpoint.subject = f"{client.oauth_client}-{owner}"
    made = await house.complete(house.call(), await callback(house, client, owner))
    house.change_row(made.grant, access_expire_time=house.clock.now())
    return made.grant
