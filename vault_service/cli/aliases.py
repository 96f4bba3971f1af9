"""grant alias and grant delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from tokenvault_client import Grant, grant_alias_name, grant_name
from vault_service.cli.app import App, one
from vault_service.cli.connection import ClientOption, TenantArgument, YesOption, call
from vault_service.cli.output import confirm, show

alias_app = App("Callers' own names for grants.")

OwnerArgument = Annotated[str, typer.Argument(help="Owner of the alias.")]
LabelArgument = Annotated[str, typer.Argument(help="Label of the alias.")]
GrantArgument = Annotated[str, typer.Argument(help="UUID of the grant.")]


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias, and the grant that it points at; "" where it is gone."""

    alias: str
    grant: str


def add_to(grant_app: App) -> None:
    """Register the commands under ``grant``."""
    grant_app.add_typer(alias_app, name="alias")
    grant_app.does("delete", one(Grant))(grant_delete)


@alias_app.does("link", one(Alias))
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
    show(Alias(alias, grant.name), f"{alias} points at {grant.name}")


@alias_app.does("unlink", one(Alias))
def alias_unlink(
    tenant: TenantArgument, owner: OwnerArgument, label: LabelArgument, client: ClientOption
) -> None:
    """Take an alias away; the grant stays."""
    alias = grant_alias_name(tenant, owner, label)
    call(client, lambda vault: vault.unlink_alias(alias))
    show(Alias(alias, ""), f"{alias} is gone")


def grant_delete(
    tenant: TenantArgument,
    grant_id: GrantArgument,
    client: ClientOption,
    yes: YesOption = False,
) -> None:
    """Revoke a grant, and take it and its aliases out of every list."""
    name = grant_name(tenant, grant_id)
    confirm(f"End {name} for good and take it out of lists?", yes=yes)
    gone = call(client, lambda vault: vault.delete_grant(name))
    show(gone, f"{gone.name} deleted, at the provider: {gone.provider_revocation.name}")
