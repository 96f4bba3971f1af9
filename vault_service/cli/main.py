"""The command ``tokenvault``."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from tokenvault_client import InvalidArgument
from vault_service.cli import (
    aliases,
    audit,
    credentials,
    grants,
    operate,
    providers,
    registry,
    secrets,
    spool,
    watch,
    webhooks,
)
from vault_service.cli.output import EXIT_USAGE, err
from vault_service.telemetry import configure_logging

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def before() -> None:
    """Keeps OAuth grants and secrets, and hands out short-lived tokens under policy."""
    # Commands speak to people; `serve` sets up the log of the service.
    configure_logging("warning", json=False)


operate.add_to(app)
credentials.add_to(registry.client_app)
aliases.add_to(grants.grant_app)
watch.add_to(grants.grant_app)
app.add_typer(providers.provider_app, name="provider")
app.add_typer(registry.client_app, name="client")
app.add_typer(grants.grant_app, name="grant")
app.add_typer(grants.token_app, name="token")
app.add_typer(secrets.secret_app, name="secret")
app.add_typer(webhooks.webhook_app, name="webhook")
app.add_typer(audit.audit_app, name="audit")
app.add_typer(spool.spool_app, name="spool")


def main() -> None:
    """Entry point of the distribution."""
    try:
        app()
    except InvalidArgument as error:
        # An argument that cannot be part of any name: nothing was asked.
        err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(EXIT_USAGE)
