"""secret: opaque values at both levels."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tokenvault_client import (
    Secret,
    SecretValue,
    SecretVersion,
    TokenVaultClient,
    owner_name,
    secret_name,
    tenant_name,
)
from vault_service.cli.app import App, many, one
from vault_service.cli.connection import ClientOption, TenantArgument, YesOption, call
from vault_service.cli.inputs import ValueFileOption, value
from vault_service.cli.output import (
    EXIT_USAGE,
    confirm,
    fail,
    note,
    show,
    show_list,
    table,
    wants_json,
)

secret_app = App("Opaque secrets at both levels.")

SecretArgument = Annotated[str, typer.Argument(help="Secret id.")]
VersionArgument = Annotated[int, typer.Argument(min=1, help="Version, from 1.")]
_COLUMNS = ("SECRET", "VERSION", "STATE", "STORED", "EXPIRES", "DESTROYED")

OwnerOption = Annotated[str, typer.Option(help="Whose it is; the application's without it.")]


@dataclass(frozen=True, slots=True)
class DeletedSecret:
    """A secret that is gone."""

    name: str


@secret_app.does("put", one(SecretVersion))
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
    show(stored, f"{stored.secret} version {stored.version} stored")


@secret_app.does("get", one(SecretValue))
def secret_get(
    tenant: TenantArgument,
    secret: SecretArgument,
    client: ClientOption,
    owner: OwnerOption = "",
    version: Annotated[int, typer.Option(min=0, help="The newest where 0.")] = 0,
    reveal: Annotated[
        bool, typer.Option("--show", help="Write the value itself to stdout.")
    ] = False,
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
    if reveal and sys.stdout.isatty():
        note("the value stays in this terminal's memory of lines; --to FILE keeps it out")
    if reveal and not wants_json():
        sys.stdout.buffer.write(found.value)
        sys.stdout.buffer.flush()
        return
    show(found, lambda: _tell([found.secret_version]), reveal=reveal)


@secret_app.does("list", many("secrets", Secret))
def secret_list(tenant: TenantArgument, client: ClientOption, owner: OwnerOption = "") -> None:
    """List the application's secrets, or one owner's."""
    parent = owner_name(tenant, owner) if owner else tenant_name(tenant)

    async def work(vault: TokenVaultClient) -> list[Secret]:
        return [item async for item in vault.iter_secrets(parent)]

    show_list(
        "secrets",
        ("SECRET", "LATEST", "LABELS", "ETAG", "CHANGED"),
        call(client, work),
        lambda item: (
            item.name,
            str(item.latest_version),
            ",".join(f"{key}={text}" for key, text in sorted(item.labels.items())),
            item.etag,
            _shown(item.update_time),
        ),
    )


@secret_app.does("versions", many("secret_versions", SecretVersion))
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

    show_list("secret_versions", _COLUMNS, call(client, work), _cells)


@secret_app.does("destroy", one(SecretVersion))
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
    confirm(f"Destroy version {version} of {name} for ever?", yes=yes)
    gone = call(client, lambda vault: vault.destroy_secret_version(name, version))
    show(gone, lambda: _tell([gone]))


@secret_app.does("delete", one(DeletedSecret))
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
    confirm(f"Destroy all versions of {name} for ever?", yes=yes)
    call(client, lambda vault: vault.delete_secret(name, etag=etag))
    show(DeletedSecret(name), f"{name} deleted")


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


def _tell(versions: list[SecretVersion]) -> None:
    table(_COLUMNS, map(_cells, versions))


def _cells(item: SecretVersion) -> tuple[str, ...]:
    return (
        item.secret,
        str(item.version),
        item.state.name,
        _shown(item.create_time),
        _shown(item.expire_time),
        _shown(item.destroy_time),
    )


def _shown(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""


def _write_private(path: Path, content: bytes) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        fail(f"{path}: cannot be written: {error.strerror}")
