"""grant and token: consent, what there is, and its end."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from tokenvault_client import (
    AccessToken,
    Authorization,
    CompletedAuthorization,
    Grant,
    GrantState,
    TokenVaultClient,
    grant_alias_name,
    grant_name,
    oauth_client_name,
    tenant_name,
)
from vault_service.cli.app import App, many, one
from vault_service.cli.callback import Callback, CallbackListener, is_loopback
from vault_service.cli.connection import ClientOption, TenantArgument, YesOption, call
from vault_service.cli.output import (
    EXIT_USAGE,
    confirm,
    err,
    fail,
    note,
    show,
    show_list,
    table,
    wants_json,
)

grant_app = App("What resource owners gave us.")
token_app = App("Short-lived access tokens.")


class StateChoice(StrEnum):
    """States of grants on the command line."""

    ACTIVE = "ACTIVE"
    REAUTHORIZATION_REQUIRED = "REAUTHORIZATION_REQUIRED"
    REVOKED = "REVOKED"


@grant_app.does("start", one(Authorization, CompletedAuthorization))
def grant_start(
    tenant: TenantArgument,
    oauth_client: Annotated[str, typer.Argument(help="OAuthClient id.")],
    client: ClientOption,
    owner: Annotated[str, typer.Option(help="Whose consent it is.")],
    redirect_uri: Annotated[str, typer.Option(help="One of the OAuthClient's.")],
    scope: Annotated[list[str] | None, typer.Option(help="Scope; repeatable.")] = None,
    label: Annotated[str, typer.Option(help="Label of the alias.")] = "",
) -> None:
    """Print the authorization URL; with a loopback redirect URI, wait for the consent too."""
    listener = CallbackListener(redirect_uri) if is_loopback(redirect_uri) else None

    async def start(vault: TokenVaultClient) -> Authorization:
        return await vault.start_authorization(
            oauth_client_name(tenant, oauth_client),
            owner=owner,
            redirect_uri=redirect_uri,
            scopes=scope or (),
            label=label,
        )

    started = call(client, start)
    show(started, started.url, reveal=True)
    if listener is None:
        return
    err.print("Open it in a browser; waiting for the callback (Ctrl-C to leave it) ...")
    callback = listener.wait(state=started.state)

    async def complete(vault: TokenVaultClient) -> CompletedAuthorization:
        return await _complete(vault, tenant, owner, redirect_uri, callback)

    completed = call(client, complete)
    show(completed, f"{completed.grant.name}\n{completed.alias}")


async def _complete(
    vault: TokenVaultClient, tenant: str, owner: str, redirect_uri: str, callback: Callback
) -> CompletedAuthorization:
    return await vault.complete_authorization(
        tenant_name(tenant),
        state=callback.state,
        code=callback.code,
        iss=callback.iss,
        error=callback.error,
        owner=owner,
        redirect_uri=redirect_uri,
    )


@grant_app.does("list", many("grants", Grant))
def grant_list(
    tenant: TenantArgument,
    client: ClientOption,
    owner: Annotated[str, typer.Option(help="Only this owner's.")] = "",
    state: Annotated[StateChoice | None, typer.Option(help="Only those in this state.")] = None,
) -> None:
    """List grants, without tokens."""
    only = GrantState[state.name] if state else GrantState.UNSPECIFIED

    async def work(vault: TokenVaultClient) -> list[Grant]:
        found = vault.iter_grants(tenant_name(tenant), owner=owner, state=only)
        return [item async for item in found]

    show_list(
        "grants",
        ("GRANT", "OWNER", "OAUTH CLIENT", "STATE", "GENERATION", "SUBJECT"),
        call(client, work),
        lambda item: (
            item.name,
            item.owner,
            item.oauth_client.rpartition("/")[2],
            item.state.name,
            str(item.generation),
            item.subject,
        ),
    )


@grant_app.does("revoke", one(Grant))
def grant_revoke(
    tenant: TenantArgument,
    grant_id: Annotated[str, typer.Argument(help="UUID of the grant.")],
    client: ClientOption,
    yes: YesOption = False,
) -> None:
    """End a grant for good, here and at the provider."""
    name = grant_name(tenant, grant_id)
    confirm(f"End {name} for good?", yes=yes)
    ended = call(client, lambda vault: vault.revoke_grant(name))
    show(
        ended,
        f"{ended.name} {ended.state.name}, at the provider: {ended.provider_revocation.name}",
    )


@token_app.does("get", one(AccessToken))
def token_get(
    tenant: TenantArgument,
    client: ClientOption,
    grant: Annotated[str, typer.Option(help="UUID of a grant; or --owner and --label.")] = "",
    owner: Annotated[str, typer.Option(help="Owner of the alias.")] = "",
    label: Annotated[str, typer.Option(help="Label of the alias.")] = "",
    min_ttl_s: Annotated[float | None, typer.Option(help="Seconds it must live on.")] = None,
    reveal: Annotated[bool, typer.Option("--show", help="Print the token itself.")] = False,
) -> None:
    """Get an access token; what is printed tells about it, and with --show the token."""
    if bool(grant) == bool(owner and label):
        fail("give --grant, or --owner with --label", EXIT_USAGE)

    async def work(vault: TokenVaultClient) -> AccessToken:
        if grant:
            name = grant_name(tenant, grant)
            return await vault.get_access_token(grant=name, min_ttl_s=min_ttl_s)
        alias = grant_alias_name(tenant, owner, label)
        return await vault.get_access_token(alias=alias, min_ttl_s=min_ttl_s)

    token = call(client, work)
    if reveal and sys.stdout.isatty():
        note("the token stays in this terminal's memory of lines until it expires")
    if reveal and not wants_json():
        typer.echo(token.value)
        return
    show(token, lambda: _tell(token), reveal=reveal)


def _tell(token: AccessToken) -> None:
    table(
        ("GRANT", "TYPE", "EXPIRES", "SERVED", "FINGERPRINT"),
        [
            (
                token.grant,
                token.token_type,
                token.expire_time.isoformat(timespec="seconds"),
                "REFRESHED" if token.refreshed else "FRESH",
                token.fingerprint,
            )
        ],
    )
