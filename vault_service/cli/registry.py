"""client: the registry of our registrations at providers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from tokenvault_client import (
    ClientAuthMethod,
    OAuthClient,
    oauth_client_name,
    provider_name,
)
from vault_service.cli.app import App, one
from vault_service.cli.connection import ClientOption, TenantArgument, call
from vault_service.cli.inputs import SecretFileOption, client_secret, pairs
from vault_service.cli.output import EXIT_USAGE, fail, show

client_app = App("Our registrations at providers.")


class AuthChoice(StrEnum):
    """Client authentication on the command line."""

    BASIC = "basic"
    POST = "post"
    NONE = "none"


_METHODS: Final = {
    AuthChoice.BASIC: ClientAuthMethod.CLIENT_SECRET_BASIC,
    AuthChoice.POST: ClientAuthMethod.CLIENT_SECRET_POST,
    AuthChoice.NONE: ClientAuthMethod.NONE,
}


@client_app.does("put", one(OAuthClient))
def client_put(
    tenant: TenantArgument,
    oauth_client: Annotated[str, typer.Argument(help="OAuthClient id.")],
    client: ClientOption,
    provider: Annotated[str, typer.Option(help="Provider id.")],
    client_id: Annotated[str, typer.Option(help="As the provider issued it.")],
    redirect_uri: Annotated[list[str], typer.Option(help="Exact redirect URI; repeatable.")],
    scope: Annotated[list[str] | None, typer.Option(help="Default scope; repeatable.")] = None,
    auth: Annotated[
        AuthChoice,
        typer.Option(help="How we authenticate; none: a public client, without a secret."),
    ] = AuthChoice.BASIC,
    token_param: Annotated[
        list[str] | None, typer.Option(help="Extra parameter of token requests, name=value.")
    ] = None,
    secret_file: SecretFileOption = None,
    keep_secret: Annotated[bool, typer.Option(help="Keep the stored secret.")] = False,
) -> None:
    """Create or replace an OAuthClient. The secret never stands in arguments."""
    wanted = OAuthClient(
        name=oauth_client_name(tenant, oauth_client),
        provider=provider_name(tenant, provider),
        client_id=client_id,
        auth_method=_METHODS[auth],
        redirect_uris=tuple(redirect_uri),
        scopes=tuple(scope or ()),
        token_params=pairs("--token-param", token_param or []),
    )
    public = auth is AuthChoice.NONE
    if public and secret_file is not None:
        fail("a public client (--auth none) has no secret: leave --secret-file out", EXIT_USAGE)
    secret = "" if keep_secret or public else client_secret(secret_file)
    stored = call(client, lambda vault: vault.put_oauth_client(wanted, client_secret=secret))
    show(stored, f"{stored.name} stored, etag {stored.etag}")
