"""Tenants beside each other in one House, and a provider that is asked by the real HTTP client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.fakes.https_server import Request, reply
from tests.fakes.token_endpoint import FakeTokenEndpoint
from tests.support.house import REDIRECT_URI, TENANT, House
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
THEIRS = OAuthClientName(OTHER_TENANT, "healthy")
ATTACK = 289
CLIENTS = 7  # registrations of the tenant that attacks: one alone is bounded by its own places
_TOKENS = b'{"access_token":"at","refresh_token":"rt","token_type":"Bearer","expires_in":3600}'


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


class Provider:
    """Answers /hang when it is let, and everything else with tokens."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.hanging = 0
        self.came = asyncio.Condition()

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.head.startswith("POST /hang") and not self.let.is_set():
            async with self.came:
                self.hanging += 1
                self.came.notify_all()
            await self.wait()
            await reply(b'{"error":"invalid_grant"}', "400 Bad Request")(request, writer)
        else:
            await reply(_TOKENS)(request, writer)

    async def wait(self) -> None:
        """How long one hangs."""
        await self.let.wait()

    async def hang(self, count: int) -> None:
        """Wait until so many do."""
        async with self.came:
            await self.came.wait_for(lambda: self.hanging >= count)


def attackers() -> list[OAuthClientName]:
    """OAuthClients of one tenant."""
    return [OAuthClientName(TENANT, f"attack-{number}") for number in range(CLIENTS)]


async def exchanges(house: House) -> list[Coroutine[Any, Any, object]]:
    """Completions of consents that were begun."""
    clients = attackers()
    made = [await callback(house, clients[n % CLIENTS], f"u-{n}") for n in range(ATTACK)]
    return [house.complete(house.call(), one) for one in made]


async def refreshes(house: House) -> list[Coroutine[Any, Any, object]]:
    """Disclosures of tokens that have expired."""
    clients = attackers()
    made = [await expired_grant(house, clients[n % CLIENTS], f"u-{n}") for n in range(ATTACK)]
    return [house.token(grant.name) for grant in made]


async def both_registered(house: House, authority: str) -> None:
    """Both tenants at one server: what of the one hangs, and what of the other goes through."""
    for client in attackers():
        await register(house, client, token_endpoint=f"https://{authority}/hang")
    await register(house, THEIRS, token_endpoint=f"https://{authority}/token")
