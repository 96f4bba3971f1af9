"""How commands reach a running service: one small TOML file with target and certificate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from tokenvault_client import ConfigurationError, InvalidArgument, TokenVaultClient, TokenVaultError
from vault_service.cli.output import EXIT_REFUSED, EXIT_USAGE, Failure, fail, refuse

T = TypeVar("T")

ClientOption = Annotated[
    Path,
    typer.Option(
        "--client",
        envvar="TOKENVAULT_CLIENT",
        help="TOML file: target, ca_file, certificate_file, key_file.",
    ),
]
TenantArgument = Annotated[str, typer.Argument(help="Tenant id.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def call(client_file: Path, work: Callable[[TokenVaultClient], Awaitable[T]]) -> T:
    """Run ``work`` with a client; a refusal is printed with its reason and ends the command."""

    async def run() -> T:
        async with TokenVaultClient.from_file(client_file) as vault:
            return await work(vault)

    try:
        return asyncio.run(run())
    except ConfigurationError as error:
        fail(str(error), EXIT_USAGE)
    except TokenVaultError as error:
        # Without a request id nothing was asked: the arguments are wrong, not the service's mind.
        local = isinstance(error, InvalidArgument) and not error.request_id
        refuse(failure_of(error), str(error), EXIT_USAGE if local else EXIT_REFUSED)


def failure_of(error: TokenVaultError) -> Failure:
    """What the service or the connection said, for programs."""
    return Failure(
        reason=error.reason,
        message=error.message,
        code=error.code.name,
        metadata=error.metadata,
        retry_after_s=error.retry_after_s,
        request_id=error.request_id,
    )
