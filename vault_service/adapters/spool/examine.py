"""The spool's folder as the doctor looks at it: ours alone, and on a disk that remembers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.domain.finding import Finding, failed, ok, warning

_CHECK: Final = "spool"
_MOUNTS: Final = Path("/proc/self/mounts")
_FORGETFUL: Final = frozenset({"tmpfs", "ramfs"})
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "9p", "fuse.sshfs"})


def examine_spool(folder: Path, slots: int) -> Iterator[Finding]:
    """By the rules with which the service opens it, and by what its mount promises."""
    make = f"as the user that serves: mkdir -m 0700 {folder}"
    try:
        SpoolSettings(folder, slots)
    except ValueError as error:
        yield failed(_CHECK, str(error), make)
        return
    kind = _file_system(folder)
    if kind in _FORGETFUL:
        advice = "put spool.path on a disk that outlives the process and the host's restart"
        yield warning(_CHECK, f"{folder} is on {kind}, which forgets", advice)
    elif kind in _REMOTE:
        advice = "put spool.path on a local or block file system: locks and syncs differ here"
        yield warning(_CHECK, f"{folder} is on {kind}", advice)
    else:
        yield ok(_CHECK, f"{folder} is on {kind or 'a disk'}, for {slots} refreshes at a time")


def _file_system(folder: Path) -> str:
    """The type of the mount that a folder is on; "" where the system does not tell."""
    try:
        mounts = [line.split()[1:3] for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return ""
    real = folder.resolve()
    found = [(len(point), kind) for point, kind in mounts if real.is_relative_to(point)]
    return max(found, default=(0, ""))[1]
