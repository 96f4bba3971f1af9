"""spool: what waits on this host's disk for the database, and what a dead host left behind."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vault_service.app import admin, spools
from vault_service.cli.operate import ConfigOption
from vault_service.cli.output import EXIT_CONFIG, EXIT_USAGE, fail, out, table
from vault_service.config import Config, ConfigInvalid, faults, load
from vault_service.domain.errors import VaultError

spool_app = typer.Typer(
    no_args_is_help=True, help="Refreshes on this host's disk that the database has not taken."
)

PathOption = Annotated[
    Path | None, typer.Option("--path", help="The folder; else spool.path of the configuration.")
]


class Form(Enum):
    """How a list is printed."""

    TABLE = "table"
    JSON = "json"


@spool_app.command("list")
def spool_list(
    config: ConfigOption = None,
    path: PathOption = None,
    output: Annotated[Form, typer.Option("--output", help="For people, or for programs.")] = (
        Form.TABLE
    ),
) -> None:
    """List spools and their entries: names, marks and ages, never what a provider answered."""
    try:
        found = spools.look(_folder(config, path))
    except spools.SpoolRefused as error:
        fail(str(error))
    if output is Form.JSON:
        out.print(json.dumps([_as_json(spool) for spool in found]), markup=False, soft_wrap=True)
        return
    table(
        ("SPOOL", "IN USE", "ENTRIES", "SLOTS", "DAMAGED"),
        (
            (
                str(spool.spool_id),
                "yes" if spool.is_locked else "no",
                str(len(spool.entries)),
                str(spool.slots),
                str(spool.damaged),
            )
            for spool in found
        ),
    )
    entries = [(spool, entry) for spool in found for entry in spool.entries]
    if entries:
        out.print()
        now = datetime.now(UTC)
        table(
            ("ATTEMPT", "GRANT", "MARK", "AGE", "SPOOL"),
            (
                (
                    str(entry.attempt_id),
                    f"tenants/{entry.tenant}/grants/{entry.grant_id}",
                    entry.mark.name,
                    f"{max(0, int((now - entry.reserve_time).total_seconds()))} s",
                    str(spool.spool_id),
                )
                for spool, entry in entries
            ),
        )


@spool_app.command("replay")
def spool_replay(
    source: Annotated[
        Path, typer.Option("--from", help="Spool folder of a dead host, as mounted or copied here.")
    ],
    config: ConfigOption = None,
    path: PathOption = None,
) -> None:
    """Copy a dead host's spools to this one's; the service that runs here replays them at once."""
    try:
        taken = spools.bring(source, _folder(config, path))
    except spools.SpoolRefused as error:
        fail(str(error))
    for spool in taken:
        out.print(f"{spool.spool_id} taken over, {len(spool.entries)} entries", soft_wrap=True)


@spool_app.command("abandon")
def spool_abandon(
    spool_id: Annotated[uuid.UUID, typer.Argument(help="A spool that will never come back.")],
    config: ConfigOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Give up a spool: recovery stops waiting for it. Answers that only it has are lost.

    For class S providers that means new consents. Without this, recovery waits ten minutes.
    """
    loaded = _load(config)
    found = faults(loaded, serving=False)
    if found:
        fail("\n".join(found), EXIT_CONFIG)
    folder = loaded.spool.path
    if folder is not None and (folder / f"{spool_id}.spool").exists():
        fail(f"{spool_id} is in {folder}: the service replays it, there is nothing to give up")
    if not yes:
        typer.confirm(f"Give up what only spool {spool_id} knows?", abort=True)
    try:
        is_new = asyncio.run(admin.abandon_spool(loaded, spool_id))
    except VaultError as error:
        fail(str(error))
    out.print(f"spools/{spool_id} " + ("abandoned" if is_new else "was abandoned already"))


def _folder(config: Path | None, path: Path | None) -> Path:
    if path is not None:
        return path.absolute()
    if config is None:
        fail("name the folder by --path, or the configuration by --config", EXIT_USAGE)
    folder = _load(config).spool.path
    if folder is None:
        fail("spool.path is not in this configuration; name the folder by --path", EXIT_CONFIG)
    return folder


def _load(path: Path | None) -> Config:
    try:
        return load(path)
    except ConfigInvalid as error:
        fail(str(error), EXIT_CONFIG)


def _as_json(spool: spools.SeenSpool) -> dict[str, object]:
    return {
        "spool_id": str(spool.spool_id),
        "is_locked": spool.is_locked,
        "slots": spool.slots,
        "damaged": spool.damaged,
        "entries": [
            {
                "attempt_id": str(entry.attempt_id),
                "grant": f"tenants/{entry.tenant}/grants/{entry.grant_id}",
                "mark": entry.mark.name,
                "reserve_time": entry.reserve_time.isoformat(),
            }
            for entry in spool.entries
        ],
    }
