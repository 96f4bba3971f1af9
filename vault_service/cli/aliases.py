"""grant alias and grant delete."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenvault_client import grant_alias_name, grant_name
from vault_service.cli.connection import ClientOption, TenantArgument, call
from vault_service.cli.output import out

alias_app = typer.Typer(no_args_is_help=True, help="Callers' own names for grants.")

OwnerArgument = Annotated[str, typer.Argument(help="Owner of the alias.")]
LabelArgument = Annotated[str, typer.Argument(help="Label of the alias.")]
GrantArgument = Annotated[str, typer.Argument(help="UUID of the grant.")]


def add_to(grant_app: typer.Typer) -> None:
    """Register the commands under ``grant``."""
    grant_app.add_typer(alias_app, name="alias")
    grant_app.command("delete")(grant_delete)


@alias_app.command("link")
def alias_link(
    tenant: TenantArgument,
    owner: OwnerArgument,
    label: LabelArgument,
    grant_id: GrantArgument,
    client: ClientOption,
) -> None:
    """Point a new alias at a grant; one that points elsewhere stays."""
    alias, name = grant_alias_name(tenant, owner, label), grant_name(tenant, grant_id)
    grant = call(client, lambda vault: vault.link_alias(alias, name))
    out.print(f"{alias} points at {grant.name}", soft_wrap=True)


@alias_app.command("unlink")
def alias_unlink(
    tenant: TenantArgument, owner: OwnerArgument, label: LabelArgument, client: ClientOption
) -> None:
    """Take an alias away; the grant stays."""
    alias = grant_alias_name(tenant, owner, label)
    call(client, lambda vault: vault.unlink_alias(alias))
    out.print(f"{alias} is gone", soft_wrap=True)


def grant_delete(
    tenant: TenantArgument,
    grant_id: GrantArgument,
    client: ClientOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Revoke a grant, and take it and its aliases out of every list."""
    name = grant_name(tenant, grant_id)
    if not yes:
        typer.confirm(f"End {name} for good and take it out of lists?", abort=True)
    gone = call(client, lambda vault: vault.delete_grant(name))
    out.print(f"{gone.name} deleted, at the provider: {gone.provider_revocation.name}")
