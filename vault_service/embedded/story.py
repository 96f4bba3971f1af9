"""The main job, shown once as its callers see it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tokenvault_client import (
    AccessToken,
    ClientAuthMethod,
    Grant,
    GrantState,
    NotAllowed,
    OAuthClient,
    Provider,
    RefreshClass,
    TokenVaultClient,
    grant_alias_name,
    oauth_client_name,
    provider_name,
    tenant_name,
)
from vault_service.embedded.browser import Browser
from vault_service.embedded.machine import EmbeddedError
from vault_service.embedded.settings_files import TENANT

OWNER = "ada"
LABEL = "calendar"
_MIN_TTL_S = 1.0
_EXPIRY_WAIT_MAX_S = 60.0
_RECORDS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class DemoProvider:
    """What the demo authorization server is reached by."""

    base_url: str
    client_id: str
    client_secret: str
    redirect_uri: str


def registration(provider: DemoProvider) -> tuple[Provider, OAuthClient]:
    """The demo authorization server and our OAuthClient there, as an operator puts them."""
    base = provider.base_url
    name = provider_name(TENANT, "demo-provider")
    return (
        Provider(
            name=name,
            issuer=base,
            authorization_endpoint=f"{base}/authorize",
            token_endpoint=f"{base}/token",
            revocation_endpoint=f"{base}/revoke",
            refresh_class=RefreshClass.S,
            requires_iss=True,
        ),
        OAuthClient(
            name=oauth_client_name(TENANT, "calendar"),
            provider=name,
            client_id=provider.client_id,
            auth_method=ClientAuthMethod.CLIENT_SECRET_BASIC,
            redirect_uris=(provider.redirect_uri,),
            scopes=("openid", "calendar.read"),
        ),
    )


class Story:
    """Consent, token, refresh, refusal and the record of it all."""

    def __init__(
        self,
        console: Console,
        clients: Mapping[str, Path],
        provider: DemoProvider,
        browser: Browser,
    ) -> None:
        self._console = console
        self._clients = clients
        self._provider = provider
        self._browser = browser
        self._alias = grant_alias_name(TENANT, OWNER, LABEL)

    def tell(self) -> None:
        """Perform it; raises EmbeddedError or the client's errors where a step fails."""
        asyncio.run(self._tell())

    async def _tell(self) -> None:
        async with (
            self._client("operator") as operator,
            self._client("calendar-app") as app,
            self._client("thief") as thief,
            self._client("auditor") as auditor,
        ):
            await self._register(operator)
            known = await self._known_grant(operator)
            if known is None:
                await self._consent(app)
                first = await self._token(app, "GetAccessToken")
                await self._expire(first)
            else:
                self._say("grant", f"yesterday's: {known.name}, generation {known.generation}")
            again = await self._token(app, "GetAccessToken")
            if not again.refreshed:
                await self._expire(again)
                again = await self._token(app, "GetAccessToken")
            if not again.refreshed:
                raise EmbeddedError("the token was not refreshed: see the log of the service")
            await self._refused(thief)
            await self._records(auditor)

    def _client(self, name: str) -> TokenVaultClient:
        return TokenVaultClient.from_file(self._clients[name])

    async def _register(self, operator: TokenVaultClient) -> None:
        provider, oauth_client = registration(self._provider)
        await operator.put_provider(provider)
        await operator.put_oauth_client(oauth_client, client_secret=self._provider.client_secret)
        self._say("registered", f"provider {provider.issuer} and our OAuthClient there")

    async def _known_grant(self, operator: TokenVaultClient) -> Grant | None:
        found: Grant | None = None
        async for grant in operator.iter_grants(tenant_name(TENANT), owner=OWNER):
            if grant.state is GrantState.ACTIVE:
                found = grant
        return found

    async def _consent(self, app: TokenVaultClient) -> None:
        redirect_uri = self._provider.redirect_uri
        started = await app.start_authorization(
            oauth_client_name(TENANT, "calendar"),
            owner=OWNER,
            redirect_uri=redirect_uri,
            label=LABEL,
        )
        self._say("authorization URL", f"{started.url.partition('?')[0]}?... (PKCE, state)")
        callback = self._browser.consent(started.url, user=OWNER)
        self._say("consent", f"{OWNER} allowed it; the browser came back with a code")
        completed = await app.complete_authorization(
            tenant_name(TENANT),
            state=callback.state,
            code=callback.code,
            iss=callback.iss,
            owner=OWNER,
            redirect_uri=redirect_uri,
        )
        self._say("grant", f"{completed.grant.name} {completed.grant.state.name}")

    async def _token(self, app: TokenVaultClient, step: str) -> AccessToken:
        token = await app.get_access_token(alias=self._alias, min_ttl_s=_MIN_TTL_S)
        left_s = (token.expire_time - datetime.now(UTC)).total_seconds()
        works = self._browser.works(f"{self._provider.base_url}/api/whoami", token.value)
        served = "REFRESHED behind the scenes" if token.refreshed else "FRESH"
        self._say(
            step,
            f"token {token.fingerprint}, {served}, {left_s:.1f} s left, "
            f"the provider's API {'accepts' if works else 'REFUSES'} it",
        )
        if not works:
            raise EmbeddedError("the provider's API refused a token that should be good")
        return token

    async def _expire(self, token: AccessToken) -> None:
        left_s = (token.expire_time - datetime.now(UTC)).total_seconds() + 0.1
        self._say("expiry", f"waiting {max(left_s, 0):.1f} s until that token is over")
        await asyncio.sleep(min(max(left_s, 0.0), _EXPIRY_WAIT_MAX_S))

    async def _refused(self, thief: TokenVaultClient) -> None:
        try:
            await thief.get_access_token(alias=self._alias, min_ttl_s=_MIN_TTL_S)
        except NotAllowed as refusal:
            self._say("thief", f"refused: {refusal.reason}")
            return
        raise EmbeddedError("a caller without permission got a token: the policy is wrong")

    async def _records(self, auditor: TokenVaultClient) -> None:
        page = await auditor.list_audit_records(tenant_name(TENANT), page_size=_RECORDS_SHOWN)
        self._say("record", "what the audit says of it, oldest first:")
        for record in reversed(page.items):
            when = f"{record.record_time:%H:%M:%S}" if record.record_time else ""
            rule = record.detail.get("policy_rule", "")
            caller = record.caller.rpartition("/")[2]
            what = f"{record.action} {record.reason}".strip()
            line = f"    {when}  {record.outcome.name:5}  {what:31} {caller:13} {rule}"
            self._console.print(escape(line), soft_wrap=True)

    def _say(self, step: str, text: str) -> None:
        self._console.print(f"  [bold]{step:18}[/] {escape(text)}", soft_wrap=True)
