"""serve, migrate, tenant and dev: what runs beside the servers, with a configuration file."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from vault_service.cli.app import App, one
from vault_service.cli.output import (
    EXIT_CONFIG,
    EXIT_USAGE,
    Failure,
    err,
    fail,
    out,
    refuse,
    show,
    wants_json,
    working,
)
from vault_service.config import Config, ConfigInvalid, faults, load
from vault_service.domain.errors import VaultError
from vault_service.embedded.machine import EmbeddedError

if TYPE_CHECKING:
    from vault_service.embedded.devca import IssuedCertificate
    from vault_service.embedded.settings_files import SettingsFiles

T = TypeVar("T")

_NOTHING = "nothing to do"

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="TOKENVAULT_CONFIG", help="TOML file; else TOKENVAULT_* variables."
    ),
]

tenant_app = App("Tenants (admin configuration).")


@dataclass(frozen=True, slots=True)
class DevEnvironment:
    """Files of the development environment that is up."""

    state_dir: str
    config_file: str
    admin_config_file: str
    client_files: Mapping[str, str]  # by the caller's name
    provider_certificate_file: str  # for providers of one's own, "" where none is allowed
    provider_key_file: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The configuration has no fault that can be seen before serving."""

    sound: bool


@dataclass(frozen=True, slots=True)
class Migrated:
    """Names of the migrations that were applied now; with --print-roles, the SQL of the roles."""

    applied: tuple[str, ...]
    roles_sql: str


@dataclass(frozen=True, slots=True)
class CreatedTenant:
    """A tenant, and whether it was created now."""

    name: str
    created: bool


def add_to(app: App) -> None:
    """Register the commands."""
    app.does("dev", one(DevEnvironment))(dev)
    app.does("serve", one(Checked))(serve)
    app.does("migrate", one(Migrated))(migrate)
    app.add_typer(tenant_app, name="tenant")


def dev(
    once: Annotated[bool, typer.Option("--once", help="Show the main job and exit.")] = False,
    state_dir: Annotated[
        Path, typer.Option("--state-dir", help="Keys, data and logs of the embedded servers.")
    ] = Path(".tokenvault"),
    allow_provider: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-provider",
            metavar="HOST:PORT",
            help="A provider of your own on this machine that may be called; any number.",
        ),
    ] = None,
) -> None:
    """Run all of it here: embedded OpenBao and PostgreSQL, and the main job shown once."""
    # Here and not above: what serves in production has no embedded servers.
    from vault_service.embedded.dev import Dev
    from vault_service.embedded.own_providers import own_providers

    try:
        allowed = own_providers(allow_provider or ())
    except ValueError as error:
        fail(f"--allow-provider {error}", EXIT_USAGE)
    environment = Dev(state_dir, err if wants_json() else out, allowed)

    def tell(files: SettingsFiles) -> None:
        if wants_json():
            show(_environment(state_dir, files, environment.provider_certificate), "")

    try:
        environment.run(once=once, ready=tell)
    except EmbeddedError as error:
        fail(str(error))


def _environment(
    state_dir: Path, files: SettingsFiles, issued: IssuedCertificate | None
) -> DevEnvironment:
    return DevEnvironment(
        state_dir=str(state_dir),
        config_file=str(files.serve),
        admin_config_file=str(files.admin),
        client_files={name: str(path) for name, path in files.clients.items()},
        provider_certificate_file=str(issued.certificate_file) if issued else "",
        provider_key_file=str(issued.key_file) if issued else "",
    )


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

    loaded = load_or_fail(config)
    try:
        if check:
            asyncio.run(check_config(loaded))
            show(Checked(True), "configuration is sound")
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
    from vault_service.app import admin

    if print_roles:
        show(Migrated((), admin.roles_sql()), admin.roles_sql())
        return
    loaded = load_admin(config)
    with working("connecting ...") as at:
        work = admin.run_migrations(loaded, lambda name: at(f"applying {name} ..."))
        applied = tuple(run(work))
    show(Migrated(applied, ""), "\n".join(f"applied {name}" for name in applied) or _NOTHING)


@tenant_app.does("create", one(CreatedTenant))
def tenant_create(
    tenant: Annotated[str, typer.Argument(help="Lower-case id, at most 63 characters.")],
    config: ConfigOption = None,
) -> None:
    """Make a tenant: its key in transit, then its row. Again it changes nothing."""
    from vault_service.app import admin

    created = run(admin.create_tenant(load_admin(config), tenant))
    name = f"tenants/{tenant}"
    show(CreatedTenant(name, created), f"{name} {'created' if created else 'was there already'}")


def load_or_fail(path: Path | None) -> Config:
    """The configuration; exits 78 where it cannot be read."""
    try:
        return load(path)
    except ConfigInvalid as error:
        fail(str(error), EXIT_CONFIG)


def load_admin(path: Path | None) -> Config:
    """The configuration of what an operator runs by hand; exits 78 where it is not sound."""
    config = load_or_fail(path)
    found = faults(config, serving=False)
    if found:
        fail("\n".join(found), EXIT_CONFIG)
    return config


def run(work: Coroutine[Any, Any, T]) -> T:
    """Work on the servers; a refusal is printed and ends the command."""
    from vault_service.app import admin

    try:
        return asyncio.run(work)
    except VaultError as error:
        failure = Failure(
            reason=error.reason.name,
            message=error.message,
            code=error.code.name,
            metadata=error.metadata,
            retry_after_s=error.retry_after_s,
        )
        refuse(failure, str(error))
    except admin.MigrationsMissing as error:
        fail(str(error))
