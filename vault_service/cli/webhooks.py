"""webhook: endpoints that are told what happens to grants, and what they did not take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from tokenvault_client import (
    DeadLetter,
    GrantEventKind,
    TokenVaultClient,
    Webhook,
    tenant_name,
    webhook_name,
)
from vault_service.cli.app import App, many, one
from vault_service.cli.connection import ClientOption, TenantArgument, YesOption, call
from vault_service.cli.inputs import SecretFileOption, client_secret
from vault_service.cli.output import EXIT_USAGE, confirm, fail, show, show_list

webhook_app = App("Endpoints that are told of grants.")


@dataclass(frozen=True, slots=True)
class DeletedWebhook:
    """A webhook that is gone."""

    webhook: str


@dataclass(frozen=True, slots=True)
class Redelivered:
    """How many dead letters are on their way again."""

    webhook: str
    count: int


WebhookArgument = Annotated[str, typer.Argument(help="Webhook id.")]
KindOption = Annotated[
    list[str] | None, typer.Option("--kind", help="Kind of event; repeatable. Else all.")
]


def event_kinds(names: list[str] | None) -> tuple[GrantEventKind, ...]:
    """The kinds by their names, in any case."""
    known = {kind.value for kind in GrantEventKind} - {"UNSPECIFIED"}
    wanted = [name.upper().replace("-", "_") for name in names or ()]
    if not known.issuperset(wanted):
        fail(f"--kind is one of {', '.join(sorted(known))}", EXIT_USAGE)
    return tuple(map(GrantEventKind, wanted))


@webhook_app.does("put", one(Webhook))
def webhook_put(
    tenant: TenantArgument,
    webhook: WebhookArgument,
    url: Annotated[str, typer.Argument(help="https URL of the endpoint.")],
    client: ClientOption,
    kind: KindOption = None,
    secret_file: SecretFileOption = None,
    keep_secret: Annotated[
        bool, typer.Option("--keep-secret", help="Of one that exists: keep its secret.")
    ] = False,
) -> None:
    """Create a webhook, or replace its URL, kinds and secret ("whsec_" and base64)."""
    wanted = Webhook(name=webhook_name(tenant, webhook), url=url, kinds=event_kinds(kind))
    secret = "" if keep_secret else client_secret(secret_file)
    stored = call(client, lambda vault: vault.put_webhook(wanted, secret=secret))
    told = f"{stored.name} {stored.state.name}"
    if stored.overlap_end_time:
        until = stored.overlap_end_time.isoformat(timespec="seconds")
        told += f"\nthe secret before signs too until {until}"
    show(stored, told)


@webhook_app.does("list", many("webhooks", Webhook))
def webhook_list(tenant: TenantArgument, client: ClientOption) -> None:
    """List webhooks, without their secrets."""

    async def work(vault: TokenVaultClient) -> list[Webhook]:
        return [item async for item in vault.iter_webhooks(tenant_name(tenant))]

    show_list(
        "webhooks",
        ("WEBHOOK", "STATE", "KINDS", "URL"),
        call(client, work),
        lambda item: (
            item.name,
            item.state.name,
            ",".join(kind.name for kind in item.kinds) or "all",
            item.url,
        ),
    )


@webhook_app.does("delete", one(DeletedWebhook))
def webhook_delete(
    tenant: TenantArgument,
    webhook: WebhookArgument,
    client: ClientOption,
    yes: YesOption = False,
) -> None:
    """Delete a webhook, its dead letters and what is on its way to it."""
    name = webhook_name(tenant, webhook)
    confirm(f"Delete {name} and its dead letters?", yes=yes)
    call(client, lambda vault: vault.delete_webhook(name))
    show(DeletedWebhook(name), f"{name} is gone")


@webhook_app.does("dead-letters", many("dead_letters", DeadLetter))
def webhook_dead_letters(
    tenant: TenantArgument, webhook: WebhookArgument, client: ClientOption
) -> None:
    """List what could not be delivered, oldest first."""
    name = webhook_name(tenant, webhook)

    async def work(vault: TokenVaultClient) -> list[DeadLetter]:
        return [item async for item in vault.iter_dead_letters(name)]

    show_list(
        "dead_letters",
        ("EVENT", "KIND", "GRANT", "ATTEMPTS", "WHY"),
        call(client, work),
        lambda item: (item.id, item.kind.name, item.grant, str(item.attempts), item.detail),
    )


@webhook_app.does("redeliver", one(Redelivered))
def webhook_redeliver(
    tenant: TenantArgument,
    webhook: WebhookArgument,
    client: ClientOption,
    event: Annotated[
        list[str] | None, typer.Option(help="UUID of an event; repeatable. Else all.")
    ] = None,
) -> None:
    """Send dead letters again."""
    name = webhook_name(tenant, webhook)
    count = call(client, lambda vault: vault.redeliver_dead_letters(name, ids=event or ()))
    show(Redelivered(name, count), f"{count} on their way again")
