"""client credential, suspend and resume, and the list of registrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from tokenvault_client import (
    ClientHold,
    OAuthClient,
    TokenVaultClient,
    oauth_client_name,
    tenant_name,
)
from vault_service.cli.app import App, many, one
from vault_service.cli.connection import ClientOption, TenantArgument, YesOption, call
from vault_service.cli.inputs import SecretFileOption, client_secret
from vault_service.cli.output import confirm, show, show_list

credential_app = App("Client secrets that overlap.")
hold_app = App("Pauses that providers asked for.")


@dataclass(frozen=True, slots=True)
class Cleared:
    """What came of ending a pause."""

    oauth_client: str
    cleared: bool


OAuthClientArgument = Annotated[str, typer.Argument(help="OAuthClient id.")]


def add_to(client_app: App) -> None:
    """Register the commands under ``client``."""
    client_app.add_typer(credential_app, name="credential")
    client_app.add_typer(hold_app, name="hold")
    client_app.does("list", many("oauth_clients", OAuthClient))(client_list)
    client_app.does("suspend", one(OAuthClient))(client_suspend)
    client_app.does("resume", one(OAuthClient))(client_resume)


@credential_app.does("add", one(OAuthClient))
def credential_add(
    tenant: TenantArgument,
    oauth_client: OAuthClientArgument,
    client: ClientOption,
    secret_file: SecretFileOption = None,
) -> None:
    """Add a client secret beside the others; the newest one is used."""
    name, secret = oauth_client_name(tenant, oauth_client), client_secret(secret_file)
    _tell(call(client, lambda vault: vault.add_client_credential(name, secret)))


@credential_app.does("retire", one(OAuthClient))
def credential_retire(
    tenant: TenantArgument,
    oauth_client: OAuthClientArgument,
    version: Annotated[int, typer.Argument(help="Its version, as `client list` shows it.")],
    client: ClientOption,
    yes: YesOption = False,
) -> None:
    """Destroy one client secret; the last one cannot be retired."""
    name = oauth_client_name(tenant, oauth_client)
    confirm(f"Destroy credential {version} of {name}?", yes=yes)
    _tell(call(client, lambda vault: vault.retire_client_credential(name, version)))


def client_list(tenant: TenantArgument, client: ClientOption) -> None:
    """List a tenant's OAuthClients, without their secrets."""

    async def work(vault: TokenVaultClient) -> list[OAuthClient]:
        return [item async for item in vault.iter_oauth_clients(tenant_name(tenant))]

    show_list(
        "oauth_clients",
        ("NAME", "PROVIDER", "CLIENT ID", "CREDENTIALS", "SUSPENDED"),
        call(client, work),
        lambda item: (
            item.name,
            item.provider.rpartition("/")[2],
            item.client_id,
            _versions(item),
            item.suspend_time.isoformat(timespec="seconds") if item.suspend_time else "",
        ),
    )


def client_suspend(
    tenant: TenantArgument,
    oauth_client: OAuthClientArgument,
    client: ClientOption,
    yes: YesOption = False,
) -> None:
    """Kill switch: no consent, no refresh and no token of its grants until it is resumed."""
    name = oauth_client_name(tenant, oauth_client)
    confirm(f"Refuse everything that uses {name}?", yes=yes)
    suspended = call(client, lambda vault: vault.suspend_oauth_client(name))
    since = suspended.suspend_time
    shown = since.isoformat(timespec="seconds") if since else "?"
    show(suspended, f"{name} suspended since {shown}")


def client_resume(
    tenant: TenantArgument, oauth_client: OAuthClientArgument, client: ClientOption
) -> None:
    """End a suspension."""
    name = oauth_client_name(tenant, oauth_client)
    resumed = call(client, lambda vault: vault.resume_oauth_client(name))
    show(resumed, f"{name} in service")


@hold_app.does("list", many("client_holds", ClientHold))
def hold_list(tenant: TenantArgument, client: ClientOption) -> None:
    """List the OAuthClients of which no refresh is sent because their provider asked for it."""
    show_list(
        "client_holds",
        ("OAUTH CLIENT", "UNTIL"),
        call(client, lambda vault: vault.list_client_holds(tenant_name(tenant))),
        lambda hold: (
            hold.oauth_client,
            hold.end_time.isoformat(timespec="seconds") if hold.end_time else "",
        ),
    )


@hold_app.does("clear", one(Cleared))
def hold_clear(
    tenant: TenantArgument,
    oauth_client: OAuthClientArgument,
    client: ClientOption,
    why: Annotated[str, typer.Option(help="For the record: why it is ended.")],
    yes: YesOption = False,
) -> None:
    """End a pause that a provider asked for; every replica asks it again within a second."""
    name = oauth_client_name(tenant, oauth_client)
    confirm(f"Ask the provider of {name} again now?", yes=yes)
    cleared = call(client, lambda vault: vault.clear_client_hold(name, why))
    show(Cleared(name, cleared), f"{name} {'asks again' if cleared else 'was not held'}")


def _tell(changed: OAuthClient) -> None:
    show(changed, f"{changed.name} credentials (the first is used): {_versions(changed)}")


def _versions(client: OAuthClient) -> str:
    return ", ".join(str(one.version) for one in client.credentials)
