"""Where the spools of this host are."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from vault_service.domain import limits


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """``folder`` is absolute; several processes of one host may share it.

    Raises ValueError for a folder that others could write or read, or that is not where its path
    says. One that is missing is made later, with mode 0700, in a folder that is there.
    """

    folder: Path
    slots: int = limits.SPOOL_SLOTS

    def __post_init__(self) -> None:
        if not limits.SPOOL_SLOTS_MIN <= self.slots <= limits.SPOOL_SLOTS_MAX:
            raise ValueError(
                f"spool.slots: {limits.SPOOL_SLOTS_MIN} to {limits.SPOOL_SLOTS_MAX} are possible"
            )
        if not self.folder.is_absolute() or ".." in self.folder.parts:
            raise ValueError("spool.path: must be absolute and without '..'")
        try:
            fault = _fault(self.folder)
        except OSError as error:
            fault = f"cannot be looked at: {error.strerror}"
        if fault:
            raise ValueError(f"spool.path: {self.folder} {fault}")


def _fault(folder: Path) -> str:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        above = folder.parent.stat()
        if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
            return "is missing, and anyone may write where it would be made"
        return ""
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link; name the folder itself"
    if not stat.S_ISDIR(found.st_mode):
        return "is not a folder"
    if found.st_uid != os.geteuid():
        return f"belongs to uid {found.st_uid}, and this is uid {os.geteuid()}"
    if found.st_mode & 0o077:
        return "is open to others; chmod 700 it"
    return ""
