"""The command ``tokenvault``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from tokenvault_client import InvalidArgument
from vault_service.cli import (
    aliases,
    attempts,
    audit,
    completion,
    credentials,
    doctor,
    grants,
    operate,
    policy,
    providers,
    registry,
    secrets,
    spool,
    watch,
    webhooks,
)
from vault_service.cli.app import App
from vault_service.cli.connection import failure_of
from vault_service.cli.output import EXIT_REFUSED, EXIT_USAGE, Failure, Output, chosen, tell
from vault_service.telemetry import configure_logging

app = App()


@app.callback()
def before() -> None:
    """Keeps OAuth grants and secrets, and hands out short-lived tokens under policy."""
    # Commands speak to people; `serve` sets up the log of the service.
    configure_logging("warning", json=False)


operate.add_to(app)
doctor.add_to(app)
completion.add_to(app)
credentials.add_to(registry.client_app)
aliases.add_to(grants.grant_app)
watch.add_to(grants.grant_app)
app.add_typer(providers.provider_app, name="provider")
app.add_typer(registry.client_app, name="client")
app.add_typer(grants.grant_app, name="grant")
app.add_typer(grants.token_app, name="token")
app.add_typer(secrets.secret_app, name="secret")
app.add_typer(policy.policy_app, name="policy")
app.add_typer(webhooks.webhook_app, name="webhook")
app.add_typer(attempts.attempt_app, name="attempt")
app.add_typer(audit.audit_app, name="audit")
app.add_typer(spool.spool_app, name="spool")


def main() -> None:
    """Entry point of the distribution."""
    try:
        sys.exit(_json_run() if _asks_for_json(sys.argv[1:]) else app())
    except InvalidArgument as error:
        # An argument that cannot be part of any name: nothing was asked.
        tell(failure_of(error), str(error))
        sys.exit(EXIT_USAGE)


def _json_run() -> int:
    """As typer runs, but with its own errors as JSON too; returns the exit status."""
    chosen.set(Output.JSON)
    try:
        status = app(standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()
        tell(Failure("USAGE", message), message)
        return error.exit_code
    except typer.Abort:
        message = "a question was not answered; --file or --secret-file asks none"
        tell(Failure("ABORTED", message), message)
        return EXIT_REFUSED
    return status if isinstance(status, int) else 0


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Looked up before the arguments are parsed, since that is what may fail."""
    asked = os.environ.get("TOKENVAULT_OUTPUT", "")
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if argument == "--output":
            asked = following
        elif argument.startswith("--output="):
            asked = argument.removeprefix("--output=")
    return asked == Output.JSON
