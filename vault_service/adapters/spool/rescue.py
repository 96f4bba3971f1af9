"""What an operator does with spools beside the service: look, and bring one from a dead host.

Blocks; OSError passes through. Nothing here shows what an envelope holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vault_service.adapters.spool.file import (
    DAMAGED_SUFFIX,
    LOCK_NAME,
    NEW_SUFFIX,
    SUFFIX,
    spool_id_of,
)
from vault_service.adapters.spool.record import SLOT_BYTES, read_slot
from vault_service.adapters.spool.syscalls import Syscalls
from vault_service.domain.attempt import SpoolKind, SpoolMark

_LOOKS = 3  # a slot that is being written reads as torn; a moment later it is whole


class SpoolRefused(Exception):
    """It cannot be done; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class SeenEntry:
    """One entry, without what came back."""

    slot: int
    attempt_id: uuid.UUID
    tenant: str
    grant_id: uuid.UUID
    mark: SpoolMark
    reserve_time: datetime
    kind: SpoolKind


@dataclass(frozen=True, slots=True)
class SeenSpool:
    """One spool of a folder."""

    spool_id: uuid.UUID
    is_locked: bool  # a process that lives has it
    slots: int
    entries: tuple[SeenEntry, ...]
    damaged: int  # slots that are torn now, and copies of earlier ones


def look(folder: Path) -> list[SeenSpool]:
    """The spools of a folder. SpoolRefused when it is none."""
    if not folder.is_dir():
        raise SpoolRefused(f"{folder} is not a folder")
    names = sorted(folder.iterdir())
    kept = [path.name for path in names if path.suffix == DAMAGED_SUFFIX]
    found = []
    for path in names:
        spool_id = spool_id_of(path)
        if spool_id is not None and stat.S_ISREG(path.lstat().st_mode):
            found.append(_look_at(path, spool_id, kept))
    return found


def bring(source: Path, folder: Path) -> list[SeenSpool]:
    """Copy the spools of ``source`` that have entries into the service's folder.

    Whole or not at all, each under its own id; a running service adopts it within moments. The
    source stays as it is. SpoolRefused when one is in use, is there already, or has nothing.
    """
    if not folder.is_dir():
        raise SpoolRefused(f"{folder} is not there; start the service once, or name its folder")
    if source.resolve() == folder.resolve():
        raise SpoolRefused("these are the service's own spools: it replays them by itself")
    wanted = [spool for spool in look(source) if spool.entries]
    if not wanted:
        raise SpoolRefused(f"no spool in {source} has an entry; nothing is lost there")
    for spool in wanted:
        if (folder / f"{spool.spool_id}{SUFFIX}").exists():
            raise SpoolRefused(f"{spool.spool_id} is in {folder} already")
        if spool.is_locked:
            raise SpoolRefused(f"a process that lives uses {spool.spool_id}; stop it first")
    for spool in wanted:
        _copy(source / f"{spool.spool_id}{SUFFIX}", folder, spool)
    return wanted


def _look_at(path: Path, spool_id: uuid.UUID, kept: list[str]) -> SeenSpool:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        slots = -(-os.fstat(handle).st_size // SLOT_BYTES)
        entries = []
        damaged = sum(name.startswith(f"{spool_id}-") for name in kept)
        for number in range(slots):
            for _ in range(_LOOKS):
                slot = read_slot(
                    os.pread(handle, SLOT_BYTES, number * SLOT_BYTES), spool_id, number
                )
                if not slot.torn:
                    break
            damaged += bool(slot.torn)
            if slot.entry is not None:
                record = slot.entry
                entries.append(
                    SeenEntry(
                        slot=number,
                        attempt_id=record.attempt_id,
                        tenant=record.tenant,
                        grant_id=record.grant_id,
                        mark=SpoolMark(record.mark.value),
                        reserve_time=datetime.fromtimestamp(record.reserve_ms / 1_000, UTC),
                        kind=record.kind,
                    )
                )
        return SeenSpool(spool_id, _is_locked(path, handle), slots, tuple(entries), damaged)
    finally:
        os.close(handle)


def _is_locked(path: Path, handle: int) -> bool:
    with _folder_still(path.parent):
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(handle, fcntl.LOCK_UN)
        return False


@contextmanager
def _folder_still(folder: Path) -> Iterator[None]:
    """No process looks for a free spool meanwhile, and finds one locked by this look."""
    try:
        handle = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:  # no service was ever here: nothing to disturb
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _copy(path: Path, folder: Path, expected: SeenSpool) -> None:
    system = Syscalls()
    target = folder / path.name
    partial = target.with_suffix(NEW_SUFFIX)
    handle = os.open(
        partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        # Locked until it has its name: the service clears away what nobody is at work on.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with path.open("rb") as source, os.fdopen(os.dup(handle), "wb") as sink:
            shutil.copyfileobj(source, sink)
        if os.geteuid() == 0:  # the service is another user, and must be able to open it
            owner = folder.stat()
            os.fchown(handle, owner.st_uid, owner.st_gid)
        system.sync_file(handle)
        if _look_at(partial, expected.spool_id, []).entries != expected.entries:
            raise SpoolRefused(f"{path} changed while it was copied; stop what uses it")
        os.link(partial, target)  # unlike a rename it replaces nothing
        system.sync_folder(folder)
    finally:
        partial.unlink(missing_ok=True)
        os.close(handle)
