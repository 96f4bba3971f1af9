"""webhook: endpoints that are told what happens to grants, and what they did not take."""

from __future__ import annotations

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
from vault_service.cli.connection import ClientOption, TenantArgument, call
from vault_service.cli.inputs import SecretFileOption, client_secret
from vault_service.cli.output import EXIT_USAGE, fail, out, table

webhook_app = typer.Typer(no_args_is_help=True, help="Endpoints that are told of grants.")

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


@webhook_app.command("put")
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
    out.print(f"{stored.name} {stored.state.name}", markup=False, soft_wrap=True)
    if stored.overlap_end_time:
        until = stored.overlap_end_time.isoformat(timespec="seconds")
        out.print(f"the secret before signs too until {until}", markup=False, soft_wrap=True)


@webhook_app.command("list")
def webhook_list(tenant: TenantArgument, client: ClientOption) -> None:
    """List webhooks, without their secrets."""

    async def work(vault: TokenVaultClient) -> list[Webhook]:
        return [item async for item in vault.iter_webhooks(tenant_name(tenant))]

    table(
        ("WEBHOOK", "STATE", "KINDS", "URL"),
        (
            (
                item.name,
                item.state.name,
                ",".join(kind.name for kind in item.kinds) or "all",
                item.url,
            )
            for item in call(client, work)
        ),
    )


@webhook_app.command("delete")
def webhook_delete(
    tenant: TenantArgument,
    webhook: WebhookArgument,
    client: ClientOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a webhook, its dead letters and what is on its way to it."""
    name = webhook_name(tenant, webhook)
    if not yes:
        typer.confirm(f"Delete {name} and its dead letters?", abort=True)
    call(client, lambda vault: vault.delete_webhook(name))
    out.print(f"{name} is gone", soft_wrap=True)


@webhook_app.command("dead-letters")
def webhook_dead_letters(
    tenant: TenantArgument, webhook: WebhookArgument, client: ClientOption
) -> None:
    """List what could not be delivered, oldest first."""
    name = webhook_name(tenant, webhook)

    async def work(vault: TokenVaultClient) -> list[DeadLetter]:
        return [item async for item in vault.iter_dead_letters(name)]

    table(
        ("EVENT", "KIND", "GRANT", "ATTEMPTS", "WHY"),
        (
            (item.id, item.kind.name, item.grant, str(item.attempts), item.detail)
            for item in call(client, work)
        ),
    )


@webhook_app.command("redeliver")
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
    out.print(f"{count} on their way again")
