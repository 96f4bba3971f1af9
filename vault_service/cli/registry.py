"""provider and client: the registry of authorization servers and our registrations there."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tokenvault_client import (
    ClientAuthMethod,
    OAuthClient,
    Provider,
    RefreshClass,
    TokenVaultClient,
    oauth_client_name,
    provider_name,
    tenant_name,
)
from vault_service.cli.app import App, many, one
from vault_service.cli.connection import ClientOption, TenantArgument, call
from vault_service.cli.inputs import SecretFileOption, client_secret
from vault_service.cli.output import EXIT_USAGE, fail, show, show_list

provider_app = App("Authorization servers.")
client_app = App("Our registrations at providers.")


class ClassChoice(StrEnum):
    """Refresh classes on the command line."""

    N = "N"
    M = "M"
    G = "G"
    S = "S"


class AuthChoice(StrEnum):
    """Client authentication on the command line."""

    BASIC = "basic"
    POST = "post"


@provider_app.does("put", one(Provider))
def provider_put(
    tenant: TenantArgument,
    provider: Annotated[str, typer.Argument(help="Provider id.")],
    client: ClientOption,
    issuer: Annotated[str, typer.Option(help="Issuer identifier, an https URL.")],
    authorization_endpoint: Annotated[str, typer.Option(help="Where browsers consent.")],
    token_endpoint: Annotated[str, typer.Option(help="Where tokens are made.")],
    revocation_endpoint: Annotated[str, typer.Option(help="RFC 7009; empty: none.")] = "",
    refresh_class: Annotated[
        ClassChoice, typer.Option(help="What a refresh does to the old refresh token.")
    ] = ClassChoice.S,
    grace_s: Annotated[int, typer.Option(help="Seconds of grace, class G only.")] = 0,
    subject_from: Annotated[
        str, typer.Option(help="id_token:{claim} or response:{member}.")
    ] = "id_token:sub",
    requires_iss: Annotated[bool, typer.Option(help="The server always sends iss.")] = False,
    param: Annotated[
        list[str] | None, typer.Option(help="Extra authorization parameter, name=value.")
    ] = None,
) -> None:
    """Create or replace a provider."""
    wanted = Provider(
        name=provider_name(tenant, provider),
        issuer=issuer,
        authorization_endpoint=authorization_endpoint,
        token_endpoint=token_endpoint,
        revocation_endpoint=revocation_endpoint,
        refresh_class=RefreshClass[refresh_class.value],
        grace_s=grace_s,
        authorization_params=_pairs(param or []),
        subject_from=subject_from,
        requires_iss=requires_iss,
    )
    stored = call(client, lambda vault: vault.put_provider(wanted))
    show(stored, f"{stored.name} stored, etag {stored.etag}")


@provider_app.does("list", many("providers", Provider))
def provider_list(tenant: TenantArgument, client: ClientOption) -> None:
    """List a tenant's providers."""

    async def work(vault: TokenVaultClient) -> list[Provider]:
        return [item async for item in vault.iter_providers(tenant_name(tenant))]

    show_list(
        "providers",
        ("NAME", "CLASS", "ISSUER", "TOKEN ENDPOINT"),
        call(client, work),
        lambda item: (item.name, item.refresh_class.name, item.issuer, item.token_endpoint),
    )


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


def _pairs(params: list[str]) -> dict[str, str]:
    pairs = dict(param.partition("=")[::2] for param in params)
    if not all(pairs) or any("=" not in param for param in params):
        fail("--param takes name=value", EXIT_USAGE)
    return pairs
