"""The command ``tokenvault``."""

from __future__ import annotations

import typer

from vault_service.cli import audit, grants, operate, registry
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
app.add_typer(registry.provider_app, name="provider")
app.add_typer(registry.client_app, name="client")
app.add_typer(grants.grant_app, name="grant")
app.add_typer(grants.token_app, name="token")
app.add_typer(audit.audit_app, name="audit")


def main() -> None:
    """Entry point of the distribution."""
    app()
