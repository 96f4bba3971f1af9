"""client: the registry of our registrations at providers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tokenvault_client import (
    ClientAuthMethod,
    OAuthClient,
    oauth_client_name,
    provider_name,
)
from vault_service.cli.app import App, one
from vault_service.cli.connection import ClientOption, TenantArgument, call
from vault_service.cli.inputs import SecretFileOption, client_secret
from vault_service.cli.output import show

client_app = App("Our registrations at providers.")


class AuthChoice(StrEnum):
    """Client authentication on the command line."""

    BASIC = "basic"
    POST = "post"


@client_app.does("put", one(OAuthClient))
def client_put(
    tenant: TenantArgument,
    oauth_client: Annotated[str, typer.Argument(help="OAuthClient id.")],
    client: ClientOption,
    provider: Annotated[str, typer.Option(help="Provider id.")],
    client_id: Annotated[str, typer.Option(help="As the provider issued it.")],
    redirect_uri: Annotated[list[str], typer.Option(help="Exact redirect URI; repeatable.")],
    scope: Annotated[list[str] | None, typer.Option(help="Default scope; repeatable.")] = None,
    auth: Annotated[AuthChoice, typer.Option(help="How we authenticate.")] = AuthChoice.BASIC,
    secret_file: SecretFileOption = None,
    keep_secret: Annotated[bool, typer.Option(help="Keep the stored secret.")] = False,
) -> None:
    """Create or replace an OAuthClient. The secret never stands in arguments."""
    wanted = OAuthClient(
        name=oauth_client_name(tenant, oauth_client),
        provider=provider_name(tenant, provider),
        client_id=client_id,
        auth_method=(
            ClientAuthMethod.CLIENT_SECRET_BASIC
            if auth is AuthChoice.BASIC
            else ClientAuthMethod.CLIENT_SECRET_POST
        ),
        redirect_uris=tuple(redirect_uri),
        scopes=tuple(scope or ()),
    )
    secret = "" if keep_secret else client_secret(secret_file)
    stored = call(client, lambda vault: vault.put_oauth_client(wanted, client_secret=secret))
    show(stored, f"{stored.name} stored, etag {stored.etag}")
