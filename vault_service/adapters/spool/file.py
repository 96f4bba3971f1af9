"""One spool: a locked file. Everything here blocks and runs in a thread; OSError passes through.

The lock is flock(2) on the file itself: the kernel gives it back when the process ends, however it
ends. A file gets its name only when it is whole and locked, so that no sibling finds it half made.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vault_service.adapters.spool.record import (
    ANSWER_AT,
    PAGE_BYTES,
    SLOT_BYTES,
    SLOTS_MAX,
    Record,
    Slot,
    read_slot,
)
from vault_service.adapters.spool.syscalls import Syscalls
from vault_service.domain import limits

SUFFIX: Final = ".spool"
NEW_SUFFIX: Final = ".new"
DAMAGED_SUFFIX: Final = ".damaged"
LOCK_NAME: Final = "lock"


class SpoolFile:
    """An open spool whose lock is ours until ``close``."""

    def __init__(self, path: Path, spool_id: uuid.UUID, handle: int, system: Syscalls) -> None:
        self.path = path
        self.spool_id = spool_id
        self.handle = handle
        self._system = system
        self.size_bytes = os.fstat(handle).st_size
        # A file that was cut may hold the head of one slot more.
        self.slots = min(-(-self.size_bytes // SLOT_BYTES), SLOTS_MAX)

    @classmethod
    def create(cls, folder: Path, spool_id: uuid.UUID, slots: int, system: Syscalls) -> SpoolFile:
        """A new one, all its blocks allocated, on disk under its name."""
        path = folder / f"{spool_id}{SUFFIX}"
        partial = folder / f"{spool_id}{NEW_SUFFIX}"
        handle = os.open(
            partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            system.allocate(handle, slots * SLOT_BYTES)
            system.sync_file(handle)
            partial.rename(path)
            system.sync_folder(folder)
            return cls(path, spool_id, handle, system)
        except BaseException:
            partial.unlink(missing_ok=True)
            os.close(handle)
            raise

    @classmethod
    def take(cls, path: Path, system: Syscalls) -> SpoolFile | None:
        """Lock one that is there. None: another process has it, or it is no spool of ours."""
        spool_id = spool_id_of(path)
        if spool_id is None:
            return None
        try:
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return None
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, handle):
                return cls(path, spool_id, handle, system)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        return None

    @property
    def is_lost(self) -> bool:
        """Whether somebody has deleted it: what is written now would be found by nobody."""
        return os.fstat(self.handle).st_nlink == 0

    def read(self, slot: int, *, whole: bool = True) -> Slot:
        """One slot; without ``whole`` only its marks when it was never used since it was made."""
        start = slot * SLOT_BYTES
        if not whole:
            marks = os.pread(self.handle, ANSWER_AT + PAGE_BYTES, start)
            if not marks.strip(b"\0"):
                return Slot(None)
        return read_slot(os.pread(self.handle, SLOT_BYTES, start), self.spool_id, slot)

    def write(self, record: Record) -> None:
        """Not on disk before the next ``sync``."""
        self._system.write(self.handle, record.serialize(), record.offset)

    def sync(self) -> None:
        """What was written is on disk."""
        self._system.sync(self.handle)

    def keep_evidence(self, slot: int) -> None:
        """A copy of a damaged slot beside the spool, for people; the same damage is kept once."""
        data = os.pread(self.handle, SLOT_BYTES, slot * SLOT_BYTES)
        digest = hashlib.sha256(data).hexdigest()[:16]
        path = self.path.with_name(f"{self.spool_id}-{slot}-{digest}{DAMAGED_SUFFIX}")
        kept = sum(1 for each in self.path.parent.iterdir() if each.suffix == DAMAGED_SUFFIX)
        if path.exists() or kept >= limits.SPOOL_DAMAGED_MAX:
            return
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            self._system.write(handle, data, 0)
            self._system.sync_file(handle)
        finally:
            os.close(handle)

    def repair(self, slot: int, found: Slot) -> None:
        """Leave the same entry and no torn page."""
        for offset, data in found.repairs():
            self._system.write(self.handle, data, slot * SLOT_BYTES + offset)
        self._system.sync(self.handle)

    def close(self) -> None:
        """Give the lock back. A write that comes later fails, whoever has the number by then."""
        handle, self.handle = self.handle, -1
        os.close(handle)


@contextlib.contextmanager
def folder_lock(folder: Path, *, wait: bool) -> Iterator[bool]:
    """One process at a time looks for free spools: else two at once find each other's locks and
    both make new ones. Says whether it was free; with ``wait`` it always is in the end."""
    handle = os.open(
        folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def spool_id_of(path: Path) -> uuid.UUID | None:
    """The id in the name of a spool, or None for other files."""
    if path.suffix != SUFFIX:
        return None
    try:
        found = uuid.UUID(path.stem)
    except ValueError:
        return None
    return found if str(found) == path.stem else None


def _is_at(path: Path, handle: int) -> bool:
    # Between open and lock its holder may have moved or deleted it.
    try:
        there, ours = path.lstat(), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
