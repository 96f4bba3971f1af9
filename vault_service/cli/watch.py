"""grant watch: what happens to grants, as it happens."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from tokenvault_client import GrantEvent, TokenVaultClient, WatchStep, tenant_name
from vault_service.cli.app import App, one
from vault_service.cli.connection import ClientOption, TenantArgument, call
from vault_service.cli.output import err, show, wants_json
from vault_service.cli.webhooks import KindOption, event_kinds


def add_to(grant_app: App) -> None:
    """Register the command under ``grant``."""
    grant_app.does("watch", one(WatchStep))(grant_watch)


def grant_watch(
    tenant: TenantArgument,
    client: ClientOption,
    owner: Annotated[str, typer.Option(help="Only this owner's.")] = "",
    kind: KindOption = None,
    cursor: Annotated[str, typer.Option(help="Go on from here; else from now.")] = "",
    count: Annotated[int, typer.Option(help="End after so many events; 0: never.", min=0)] = 0,
) -> None:
    """Print events as they come, one a line, until Ctrl-C; the last cursor goes to stderr. With
    JSON every line has its cursor."""
    last, kinds = cursor, event_kinds(kind)

    async def work(vault: TokenVaultClient) -> None:
        nonlocal last
        left = count
        async for step in vault.watch_grants(
            tenant_name(tenant), cursor=cursor, owner=owner, kinds=kinds
        ):
            last = step.cursor
            if step.event is not None:
                show(step, _told(step.event))
                left -= 1
                if left == 0:
                    return

    try:
        with contextlib.suppress(KeyboardInterrupt):
            call(client, work)
    finally:
        if last and not wants_json():
            err.print(f"cursor: {last}", markup=False, soft_wrap=True)


def _told(event: GrantEvent) -> str:
    moment = event.event_time.isoformat(timespec="seconds") if event.event_time else ""
    cause = "" if event.cause.name == "UNSPECIFIED" else event.cause.name
    facts = (moment, event.kind.name, event.grant, event.owner, event.state.name, cause)
    return " ".join(filter(None, facts))
