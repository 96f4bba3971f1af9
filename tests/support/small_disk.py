"""A file system of a few MiB, which can be filled and widened. Only root can mount one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PAGE_BYTES = 4_096


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of a MiB, for this test alone."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size=1m,{options}", "tmpfs", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip("only root may mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(file: Path) -> None:
    """Take what is left of a disk."""
    with file.open("wb", buffering=0) as opened:
        for _ in range(10_000):
            try:
                opened.write(bytes(_PAGE_BYTES))
            except OSError:
                break
    assert os.statvfs(file).f_bavail == 0


def widen(folder: Path, size: str) -> None:
    """More room, while it is in use."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
