"""Processes that use a spool and are killed: ``python -m tests.support.spool_child HOW FOLDER``.

``points``: for every call to the disk one process that dies at it, each in a sub folder of its own;
``hold``: one process that stores an answer, prints the spool's id, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from pathlib import Path

from tests.fakes.clock import FakeClock
from vault_service.adapters.clock import SystemEntropy
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.spool import FileSpool
from vault_service.adapters.spool.syscalls import Syscalls
from vault_service.telemetry import configure_logging

SLOTS = 16
ATTEMPT = uuid.UUID(int=1)
GRANT = uuid.UUID(int=2)
ENVELOPE = bytes(range(256)) * 128
MOMENTS = ("before", "half", "after")
_CALLS_MAX = 40


class DyingDisk(Syscalls):
    """Kills its process at the call with this number, counted from 1."""

    def __init__(self, number: int, moment: str) -> None:
        self._left = number
        self._moment = moment

    def _is_last(self) -> bool:
        self._left -= 1
        if self._left == 0 and self._moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._left == 0

    def _then(self, is_last: bool) -> None:
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)

    def allocate(self, handle: int, size_bytes: int) -> None:
        is_last = self._is_last()
        super().allocate(handle, size_bytes // 2 if is_last else size_bytes)
        self._then(is_last)

    def write(self, handle: int, data: bytes, offset: int) -> None:
        is_last = self._is_last()
        cut = 100 if is_last and self._moment == "half" else len(data)
        super().write(handle, data[:cut], offset)
        self._then(is_last)

    def sync(self, handle: int) -> None:
        is_last = self._is_last()
        super().sync(handle)
        self._then(is_last)

    def sync_file(self, handle: int) -> None:
        is_last = self._is_last()
        super().sync_file(handle)
        self._then(is_last)

    def sync_folder(self, folder: Path) -> None:
        is_last = self._is_last()
        super().sync_folder(folder)
        self._then(is_last)


async def _whole_way(point: Path, disk: Syscalls) -> None:
    def acknowledge(step: str) -> None:
        (point / "acknowledged").write_text(step)

    settings = SpoolSettings(point / "spool", SLOTS)
    spool = FileSpool(settings, FakeClock(), SystemEntropy(), disk)
    entry = await spool.reserve(ATTEMPT, "acme", GRANT)
    acknowledge("RESERVED")
    entry = await spool.mark_sent(entry)
    acknowledge("SENT")
    entry = await spool.store(entry, ENVELOPE)
    acknowledge("RECEIVED")
    await spool.free(entry)
    await spool.close()
    acknowledge("FREE")


def _points(outer: Path) -> None:
    for number in range(1, _CALLS_MAX):
        survived = 0
        for moment in MOMENTS:
            point = outer / f"{number}-{moment}"
            point.mkdir()
            child = os.fork()
            if child == 0:
                asyncio.run(_whole_way(point, DyingDisk(number, moment)))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            survived += status == 0
            if status not in (0, signal.SIGKILL):
                sys.exit(f"{point}: ended {status}")
        if survived:
            return
    sys.exit("the calls to the disk have no end")


async def _hold(folder: Path) -> None:
    spool = FileSpool(SpoolSettings(folder, SLOTS), FakeClock(), SystemEntropy())
    entry = await spool.mark_sent(await spool.reserve(ATTEMPT, "acme", GRANT))
    await spool.store(entry, ENVELOPE)
    print(spool.spool_id, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    configure_logging("error", json=False)
    if sys.argv[1] == "points":
        _points(Path(sys.argv[2]))
    else:
        asyncio.run(_hold(Path(sys.argv[2])))
