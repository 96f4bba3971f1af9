"""spool: what waits on this host's disk for the database, and what a dead host left behind."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from vault_service.app import spools
from vault_service.cli.app import App, many, one
from vault_service.cli.connection import YesOption
from vault_service.cli.operate import ConfigOption, load_admin, load_or_fail, run
from vault_service.cli.output import (
    EXIT_CONFIG,
    EXIT_USAGE,
    confirm,
    fail,
    out,
    show,
    show_items,
    table,
)
from vault_service.domain.attempt import SpoolKind
from vault_service.domain.consent import authorization_name

spool_app = App("Refreshes and consents on this host's disk that the database has not taken.")

PathOption = Annotated[
    Path | None, typer.Option("--path", help="The folder; else spool.path of the configuration.")
]


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """One refresh, or the exchange of a code: whose, and how far it came. Never what came back."""

    attempt_id: str
    grant: str
    mark: str
    reserve_time: datetime


@dataclass(frozen=True, slots=True)
class Spool:
    """One spool of the folder; a locked one is in use by a process."""

    spool_id: str
    is_locked: bool
    slots: int
    damaged: int
    entries: tuple[SpoolEntry, ...]


@dataclass(frozen=True, slots=True)
class AbandonedSpool:
    """A spool that recovery waits for no more, and whether that is new."""

    spool_id: str
    is_new: bool


@spool_app.does("list", many("spools", Spool))
def spool_list(config: ConfigOption = None, path: PathOption = None) -> None:
    """List spools and their entries: names, marks and ages, never what a provider answered."""
    try:
        found = [_seen(spool) for spool in spools.look(_folder(config, path))]
    except spools.SpoolRefused as error:
        fail(str(error))
    show_items("spools", found, lambda: _tell(found))


@spool_app.does("replay", many("spools", Spool))
def spool_replay(
    source: Annotated[
        Path, typer.Option("--from", help="Spool folder of a dead host, as mounted or copied here.")
    ],
    config: ConfigOption = None,
    path: PathOption = None,
) -> None:
    """Copy a dead host's spools to this one's; the service that runs here replays them at once."""
    try:
        taken = [_seen(spool) for spool in spools.bring(source, _folder(config, path))]
    except spools.SpoolRefused as error:
        fail(str(error))
    show_items("spools", taken, lambda: _tell_taken(taken))


@spool_app.does("abandon", one(AbandonedSpool))
def spool_abandon(
    spool_id: Annotated[uuid.UUID, typer.Argument(help="A spool that will never come back.")],
    config: ConfigOption = None,
    yes: YesOption = False,
) -> None:
    """Give up a spool: recovery stops waiting for it. Answers that only it has are lost.

    For class S providers that means new consents. Without this, recovery waits ten minutes.
    """
    # Here and not above: its login to transit takes half a second of imports.
    from vault_service.app import admin

    loaded = load_admin(config)
    folder = loaded.spool.path
    if folder is not None and (folder / f"{spool_id}.spool").exists():
        fail(f"{spool_id} is in {folder}: the service replays it, there is nothing to give up")
    confirm(f"Give up what only spool {spool_id} knows?", yes=yes)
    is_new = run(admin.abandon_spool(loaded, spool_id))
    said = "abandoned" if is_new else "was abandoned already"
    show(AbandonedSpool(str(spool_id), is_new), f"spools/{spool_id} {said}")


def _seen(spool: spools.SeenSpool) -> Spool:
    return Spool(
        spool_id=str(spool.spool_id),
        is_locked=spool.is_locked,
        slots=spool.slots,
        damaged=spool.damaged,
        entries=tuple(
            SpoolEntry(
                attempt_id=str(entry.attempt_id),
                grant=_whose(entry),
                mark=entry.mark.name,
                reserve_time=entry.reserve_time,
            )
            for entry in spool.entries
        ),
    )


def _whose(entry: spools.SeenEntry) -> str:
    """The grant, or of an exchange the authorization that may become one."""
    if entry.kind is SpoolKind.CONSENT:
        return authorization_name(entry.tenant, entry.grant_id)
    return f"tenants/{entry.tenant}/grants/{entry.grant_id}"


def _tell(found: list[Spool]) -> None:
    table(
        ("SPOOL", "IN USE", "ENTRIES", "SLOTS", "DAMAGED"),
        (
            (
                spool.spool_id,
                "yes" if spool.is_locked else "no",
                str(len(spool.entries)),
                str(spool.slots),
                str(spool.damaged),
            )
            for spool in found
        ),
    )
    entries = [(spool, entry) for spool in found for entry in spool.entries]
    if not entries:
        return
    out.print()
    now = datetime.now(UTC)
    table(
        ("ATTEMPT", "GRANT", "MARK", "AGE", "SPOOL"),
        (
            (
                entry.attempt_id,
                entry.grant,
                entry.mark,
                f"{max(0, int((now - entry.reserve_time).total_seconds()))} s",
                spool.spool_id,
            )
            for spool, entry in entries
        ),
    )


def _tell_taken(taken: list[Spool]) -> None:
    for spool in taken:
        out.print(f"{spool.spool_id} taken over, {len(spool.entries)} entries", soft_wrap=True)


def _folder(config: Path | None, path: Path | None) -> Path:
    if path is not None:
        return path.absolute()
    if config is None:
        fail("name the folder by --path, or the configuration by --config", EXIT_USAGE)
    folder = load_or_fail(config).spool.path
    if folder is None:
        fail("spool.path is not in this configuration; name the folder by --path", EXIT_CONFIG)
    return folder
