"""dev, serve, migrate and tenant: what runs beside the servers, with a configuration file."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from vault_service.app import admin
from vault_service.cli.output import EXIT_CONFIG, fail, out
from vault_service.config import Config, ConfigInvalid, faults, load
from vault_service.domain.errors import VaultError
from vault_service.embedded.machine import EmbeddedError

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="TOKENVAULT_CONFIG", help="TOML file; else TOKENVAULT_* variables."
    ),
]

tenant_app = typer.Typer(no_args_is_help=True, help="Tenants (admin configuration).")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(dev)
    app.command()(serve)
    app.command()(migrate)
    app.add_typer(tenant_app, name="tenant")


def dev(
    once: Annotated[bool, typer.Option("--once", help="Show the main job and exit.")] = False,
    state_dir: Annotated[
        Path, typer.Option("--state-dir", help="Keys, data and logs of the embedded servers.")
    ] = Path(".tokenvault"),
) -> None:
    """Run all of it here: embedded OpenBao and PostgreSQL, and the main job shown once."""
    # Here and not above: what serves in production has no embedded servers.
    from vault_service.embedded.dev import Dev

    try:
        Dev(state_dir, out).run(once=once)
    except EmbeddedError as error:
        fail(str(error))


def serve(
    config: ConfigOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what is wrong, start nothing.")
    ] = False,
) -> None:
    """Serve until SIGTERM. Exits 78 when the configuration is wrong."""
    # Here and not above: the whole service is a second of imports that no other command needs.
    from vault_service.app.serve import check as check_config
    from vault_service.app.serve import serve as run_service

    loaded = _load(config)
    try:
        if check:
            asyncio.run(check_config(loaded))
            out.print("configuration is sound")
        else:
            asyncio.run(run_service(loaded))
    except ConfigInvalid as error:
        fail(str(error), EXIT_CONFIG)
    except OSError as error:
        fail(str(error))


def migrate(
    config: ConfigOption = None,
    print_roles: Annotated[
        bool, typer.Option("--print-roles", help="Print the SQL a superuser runs once before.")
    ] = False,
) -> None:
    """Bring the database up to date (as the role that owns the tables)."""
    if print_roles:
        out.print(admin.roles_sql(), markup=False, soft_wrap=True)
        return
    applied = _run(admin.run_migrations(_load_admin(config)))
    out.print("\n".join(f"applied {name}" for name in applied) or "nothing to do")


@tenant_app.command("create")
def tenant_create(
    tenant: Annotated[str, typer.Argument(help="Lower-case id, at most 63 characters.")],
    config: ConfigOption = None,
) -> None:
    """Make a tenant: its key in transit, then its row. Again it changes nothing."""
    created = _run(admin.create_tenant(_load_admin(config), tenant))
    out.print(f"tenants/{tenant} " + ("created" if created else "was there already"))


def _load(path: Path | None) -> Config:
    try:
        return load(path)
    except ConfigInvalid as error:
        fail(str(error), EXIT_CONFIG)


def _load_admin(path: Path | None) -> Config:
    config = _load(path)
    found = faults(config, serving=False)
    if found:
        fail("\n".join(found), EXIT_CONFIG)
    return config


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except (VaultError, admin.MigrationsMissing) as error:
        fail(str(error))
