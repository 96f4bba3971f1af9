"""What the vault's operator and callers do with a server: register it, and consent there."""

from __future__ import annotations

from typing import Any, TypedDict

import tokenvault_client as sdk
from tests.support.authserver.behaviour import Behaviour, RefreshClass
from tests.support.authserver.service import CLIENT_ID, CLIENT_SECRET
from tests.support.oidc import REDIRECT_URI
from vault_service.embedded.settings_files import TENANT


class Completion(TypedDict):
    """What a callback brings and the caller's session knows: keywords of the client's method."""

    state: str
    code: str
    owner: str


class VaultSide:
    """One realm of a server as the vault sees it. Realm "" is at the root, "x" under /x."""

    def __init__(self, host_port: str, realm: str = "", behaviour: Behaviour | None = None) -> None:
        self.host_port = host_port
        self.realm_name = realm
        self._behaviour = behaviour or Behaviour()
        suffix = f"{host_port.rpartition(':')[2]}{f'-{realm}' if realm else ''}"
        self.issuer = f"https://{host_port}{f'/{realm}' if realm else ''}"
        self.name = sdk.provider_name(TENANT, f"scripted-{suffix}")
        self.oauth_client = sdk.oauth_client_name(TENANT, f"scripted-{suffix}")

    @property
    def behaviour(self) -> Behaviour:
        """What the vault is told of it."""
        return self._behaviour

    async def register(self, operator: sdk.TokenVaultClient, **more: Any) -> None:
        """Put the provider, of the class it has, and our registration there.

        ``more``: fields of the provider, such as ``revocation_endpoint``.
        """
        behaviour = self.behaviour
        is_graced = behaviour.refresh_class is RefreshClass.G
        fields = {
            "refresh_class": sdk.RefreshClass[behaviour.refresh_class],
            "grace_s": int(behaviour.grace_s) if is_graced else 0,
            "subject_from": "response:user",
            **more,
        }
        await operator.put_provider(
            sdk.Provider(
                name=self.name,
                issuer=self.issuer,
                authorization_endpoint=f"{self.issuer}/authorize",
                token_endpoint=f"{self.issuer}/token",
                **fields,
            )
        )
        await operator.put_oauth_client(
            sdk.OAuthClient(
                name=self.oauth_client,
                provider=self.name,
                client_id=CLIENT_ID,
                redirect_uris=(REDIRECT_URI,),
                scopes=("calendar",),
            ),
            client_secret=CLIENT_SECRET,
        )

    async def start(
        self,
        app: sdk.TokenVaultClient,
        owner: str,
        *,
        redirect_uri: str = REDIRECT_URI,
        timeout_s: float | None = None,
    ) -> sdk.Authorization:
        """A consent begun; there is no page to see: any code ``{user}.{anything}`` ends it."""
        return await app.start_authorization(
            self.oauth_client,
            owner=owner,
            redirect_uri=redirect_uri,
            label="calendar",
            timeout_s=timeout_s,
        )

    def completion(
        self, started: sdk.Authorization, owner: str, *, life_s: int | None = None
    ) -> Completion:
        """The callback of a consent that was begun; ``life_s`` of its first access token."""
        life = "" if life_s is None else f"~{life_s}"
        return {
            "state": started.state,
            "code": f"{owner}.{started.state[:16]}{life}",
            "owner": owner,
        }

    async def consent(
        self, app: sdk.TokenVaultClient, owner: str, *, life_s: int | None = None
    ) -> sdk.CompletedAuthorization:
        """A whole consent; ``life_s`` 0 gives an access token that is stale on arrival."""
        started = await self.start(app, owner)
        completion = self.completion(started, owner, life_s=life_s)
        return await app.complete_authorization(sdk.tenant_name(TENANT), **completion)
