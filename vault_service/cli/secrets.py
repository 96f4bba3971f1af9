"""secret: opaque values at both levels."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tokenvault_client import (
    Secret,
    SecretVersion,
    TokenVaultClient,
    owner_name,
    secret_name,
    tenant_name,
)
from vault_service.cli.connection import ClientOption, TenantArgument, call
from vault_service.cli.inputs import ValueFileOption, value
from vault_service.cli.output import EXIT_USAGE, fail, out, table

secret_app = typer.Typer(no_args_is_help=True, help="Opaque secrets at both levels.")

SecretArgument = Annotated[str, typer.Argument(help="Secret id.")]
VersionArgument = Annotated[int, typer.Argument(min=1, help="Version, from 1.")]
OwnerOption = Annotated[str, typer.Option(help="Whose it is; the application's without it.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@secret_app.command("put")
def secret_put(
    tenant: TenantArgument,
    secret: SecretArgument,
    client: ClientOption,
    owner: OwnerOption = "",
    file: ValueFileOption = None,
    trim: Annotated[bool, typer.Option("--trim", help="Take one end of line off.")] = False,
    label: Annotated[
        list[str] | None, typer.Option(help="name=value; name= takes it away. Repeatable.")
    ] = None,
    expire_time: Annotated[
        str, typer.Option(help="ISO 8601 with an offset, like 2030-01-31T00:00:00Z.")
    ] = "",
    etag: Annotated[str, typer.Option(help="Only if it is at this etag; 0: only a new one.")] = "",
    request_id: Annotated[str, typer.Option(help="The same id again stores nothing twice.")] = "",
) -> None:
    """Store a new version. The value never stands in arguments."""
    name, labels, expires = _name(tenant, secret, owner), _labels(label or []), _moment(expire_time)
    payload = value(file, trim=trim)
    stored = call(
        client,
        lambda vault: vault.put_secret(
            name,
            payload,
            etag=etag,
            request_id=request_id,
            labels=labels,
            expire_time=expires,
        ),
    )
    out.print(f"{stored.secret} version {stored.version} stored", soft_wrap=True)


@secret_app.command("get")
def secret_get(
    tenant: TenantArgument,
    secret: SecretArgument,
    client: ClientOption,
    owner: OwnerOption = "",
    version: Annotated[int, typer.Option(min=0, help="The newest where 0.")] = 0,
    show: Annotated[bool, typer.Option("--show", help="Write the value itself to stdout.")] = False,
    to: Annotated[
        Path | None, typer.Option(help="New file for the value, readable by you alone.")
    ] = None,
) -> None:
    """Get a value, which is on record; without --show or --to only what tells about it is shown."""
    name = _name(tenant, secret, owner)
    if to is not None and to.exists():
        fail(f"{to}: is there already", EXIT_USAGE)
    found = call(client, lambda vault: vault.get_secret_value(name, version=version))
    if to is not None:
        _write_private(to, found.value)
    if show:
        sys.stdout.buffer.write(found.value)
        sys.stdout.buffer.flush()
        return
    _print_versions([found.secret_version])


@secret_app.command("list")
def secret_list(tenant: TenantArgument, client: ClientOption, owner: OwnerOption = "") -> None:
    """List the application's secrets, or one owner's."""
    parent = owner_name(tenant, owner) if owner else tenant_name(tenant)

    async def work(vault: TokenVaultClient) -> list[Secret]:
        return [item async for item in vault.iter_secrets(parent)]

    table(
        ("SECRET", "LATEST", "LABELS", "ETAG", "CHANGED"),
        (
            (
                item.name,
                str(item.latest_version),
                ",".join(f"{key}={text}" for key, text in sorted(item.labels.items())),
                item.etag,
                _shown(item.update_time),
            )
            for item in call(client, work)
        ),
    )


@secret_app.command("versions")
def secret_versions(
    tenant: TenantArgument,
    secret: SecretArgument,
    client: ClientOption,
    owner: OwnerOption = "",
) -> None:
    """List a secret's versions, newest first, destroyed ones too."""
    name = _name(tenant, secret, owner)

    async def work(vault: TokenVaultClient) -> list[SecretVersion]:
        return [item async for item in vault.iter_secret_versions(name)]

    _print_versions(call(client, work))


@secret_app.command("destroy")
def secret_destroy(
    tenant: TenantArgument,
    secret: SecretArgument,
    version: VersionArgument,
    client: ClientOption,
    owner: OwnerOption = "",
    yes: YesOption = False,
) -> None:
    """Destroy the value of one version for ever."""
    name = _name(tenant, secret, owner)
    if not yes:
        typer.confirm(f"Destroy version {version} of {name} for ever?", abort=True)
    _print_versions([call(client, lambda vault: vault.destroy_secret_version(name, version))])


@secret_app.command("delete")
def secret_delete(
    tenant: TenantArgument,
    secret: SecretArgument,
    client: ClientOption,
    owner: OwnerOption = "",
    etag: Annotated[str, typer.Option(help="Only if it is at this etag.")] = "",
    yes: YesOption = False,
) -> None:
    """Destroy all versions of a secret, and take it out of lists."""
    name = _name(tenant, secret, owner)
    if not yes:
        typer.confirm(f"Destroy all versions of {name} for ever?", abort=True)
    call(client, lambda vault: vault.delete_secret(name, etag=etag))
    out.print(f"{name} deleted", soft_wrap=True)


def _name(tenant: str, secret: str, owner: str) -> str:
    return secret_name(tenant, secret, owner=owner or None)


def _labels(pairs: list[str]) -> Mapping[str, str]:
    if any("=" not in pair for pair in pairs):
        fail("--label takes name=value", EXIT_USAGE)
    return dict(pair.partition("=")[::2] for pair in pairs)


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--expire-time: {text!r} is not ISO 8601", EXIT_USAGE)
    if moment.tzinfo is None:
        fail("--expire-time wants an offset, like Z or +02:00", EXIT_USAGE)
    return moment


def _print_versions(versions: list[SecretVersion]) -> None:
    table(
        ("SECRET", "VERSION", "STATE", "STORED", "EXPIRES", "DESTROYED"),
        (
            (
                item.secret,
                str(item.version),
                item.state.name,
                _shown(item.create_time),
                _shown(item.expire_time),
                _shown(item.destroy_time),
            )
            for item in versions
        ),
    )


def _shown(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""


def _write_private(path: Path, content: bytes) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        fail(f"{path}: cannot be written: {error.strerror}")
