"""What is asked of the disk, in one place, so that each of it can be made to fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 1_048_576


class Syscalls:
    """The system's own; every method raises OSError."""

    def allocate(self, handle: int, size_bytes: int) -> None:
        """Blocks for the whole file, full of zeros: a full disk is met here and not at a write.

        The zeros are written: a block that is only reserved costs its first sync a commit of the
        file system's journal.
        """
        os.posix_fallocate(handle, 0, size_bytes)
        zeros = bytes(_CHUNK_BYTES)
        for offset in range(0, size_bytes, _CHUNK_BYTES):
            Syscalls.write(self, handle, zeros[: size_bytes - offset], offset)

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
