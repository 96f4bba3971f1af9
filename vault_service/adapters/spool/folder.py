"""The spools of one folder: taking, making and reading them. Blocks; OSError passes through."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from vault_service.adapters.spool.file import NEW_SUFFIX, SUFFIX, SpoolFile, folder_lock
from vault_service.adapters.spool.record import SLOT_BYTES, Record
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.syscalls import Syscalls
from vault_service.domain import limits
from vault_service.ports import Entropy
from vault_service.telemetry import get_logger

_log = get_logger("spool")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A spool whose lock is ours, and what was in it; envelopes stay on disk."""

    file: SpoolFile
    entries: list[Record]
    free: list[int]
    last_use: int


class SpoolFolder:
    """All of it runs in one thread."""

    def __init__(self, settings: SpoolSettings, entropy: Entropy, system: Syscalls) -> None:
        self._settings = settings
        self._entropy = entropy
        self._system = system
        self._seen_empty: dict[Path, tuple[int, int, int]] = {}

    def open_own(self) -> Loaded:
        """The first unlocked spool that has entries, else the first that has none, else a new one.

        ValueError when the folder is no longer one that only we can write.
        """
        folder = self._settings.folder
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            self._system.sync_folder(folder.parent)
        SpoolSettings(folder, self._settings.slots)  # it is looked at again: it may be new
        with folder_lock(folder, wait=True):
            self._clear_unfinished()
            return self._first_unlocked() or self._make()

    def _first_unlocked(self) -> Loaded | None:
        spare: Loaded | None = None
        for path in self._paths():
            found = self._take(path)
            if found is None:
                continue
            if found.file.size_bytes != self._settings.slots * SLOT_BYTES:
                found.file.close()  # of another size: only emptied, by ``adopt``
            elif found.entries or spare is None:
                if spare is not None:
                    spare.file.close()
                spare = found
                if found.entries:
                    break
            else:
                found.file.close()
        return spare

    def adopt(self, held: Collection[Path]) -> list[Loaded]:
        """Lock the spools of processes that are gone, if anything is in them."""
        with folder_lock(self._settings.folder, wait=False) as is_ours:
            return self._adopt(held) if is_ours else []

    def _adopt(self, held: Collection[Path]) -> list[Loaded]:
        adopted = []
        for path in self._paths():
            if path in held or self._stamp(path) == self._seen_empty.get(path, ()):
                continue
            found = self._take(path)
            if found is None:
                continue
            if found.entries:
                adopted.append(found)
                _log.warning("spool_adopted", file=path.name, count=len(found.entries))
                continue
            stamp = self._stamp(path)
            if stamp:
                self._seen_empty[path] = stamp
            found.file.close()
        return adopted

    def _make(self) -> Loaded:
        if len(self._paths()) >= limits.SPOOLS_MAX:
            raise OSError(errno.EMFILE, f"the folder has {limits.SPOOLS_MAX} spools in use")
        slots = self._settings.slots
        file = SpoolFile.create(self._settings.folder, self._entropy.uuid7(), slots, self._system)
        return Loaded(file, [], list(range(slots)), 0)

    def _take(self, path: Path) -> Loaded | None:
        try:
            file = SpoolFile.take(path, self._system)
        except OSError as error:
            # One file that nobody may open must not keep the others from being found.
            _log.warning("spool_unreadable", file=path.name, error=error)
            return None
        if file is None:
            return None
        try:
            return _load(file)
        except OSError as error:
            file.close()
            _log.warning("spool_unreadable", file=path.name, error=error)
            return None

    def _paths(self) -> list[Path]:
        return sorted(path for path in self._settings.folder.iterdir() if path.suffix == SUFFIX)

    def _stamp(self, path: Path) -> tuple[int, int, int] | tuple[()]:
        try:
            found = path.lstat()
        except FileNotFoundError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _clear_unfinished(self) -> None:
        for path in self._settings.folder.glob(f"*{NEW_SUFFIX}"):
            with contextlib.suppress(OSError):
                handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    # Locked: a sibling is at work on it right now.
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(handle)


def _load(file: SpoolFile) -> Loaded:
    entries: list[Record] = []
    free: list[int] = []
    last_use = 0
    for number in range(file.slots):
        slot = file.read(number, whole=False)
        if slot.record is not None:
            last_use = max(last_use, slot.record.use)
        is_sound = not slot.torn or _set_right(file, number)
        entry = slot.entry
        if entry is not None:
            entries.append(entry)
        elif is_sound:
            free.append(number)
    return Loaded(file, entries, free, last_use)


def _set_right(file: SpoolFile, number: int) -> bool:
    """Keep the evidence of a torn slot, then mend it; False where the disk takes neither."""
    slot = file.read(number)
    _log.error(
        "spool_slot_damaged",
        file=file.path.name,
        count=len(slot.torn),
        attempt=None if slot.entry is None else slot.entry.attempt_id,
    )
    try:
        file.keep_evidence(number)
        file.repair(number, slot)
    except OSError as error:
        _log.warning("spool_not_mended", file=file.path.name, error=error)
        return False
    return True
