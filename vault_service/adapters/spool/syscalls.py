"""What is asked of the disk, in one place, so that each of it can be made to fail."""

from __future__ import annotations

import os
from pathlib import Path


class Syscalls:
    """The system's own; every method raises OSError."""

    def allocate(self, handle: int, size_bytes: int) -> None:
        """Blocks for the whole file: a full disk is met here and not at a write."""
        os.posix_fallocate(handle, 0, size_bytes)

    def write(self, handle: int, data: bytes, offset: int) -> None:
        """All of it."""
        view = memoryview(data)
        while view:
            written = os.pwrite(handle, view, offset)
            view, offset = view[written:], offset + written

    def sync(self, handle: int) -> None:
        """The file's bytes are on disk (fdatasync(2))."""
        os.fdatasync(handle)

    def sync_file(self, handle: int) -> None:
        """Its bytes, its size and its blocks are on disk (fsync(2))."""
        os.fsync(handle)

    def sync_folder(self, folder: Path) -> None:
        """The names in the folder are on disk."""
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
