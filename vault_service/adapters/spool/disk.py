"""Writes in the order they were asked for, off the event loop, many to one sync.

A disk that hangs holds one thread and no caller: each waits ``limits.SPOOL_LIMIT_S`` and gets
STORE_UNREACHABLE. The write itself goes on, and what comes later stays behind it in the queue.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from vault_service.adapters.spool.file import SpoolFile
from vault_service.adapters.spool.record import Record
from vault_service.domain import limits
from vault_service.domain.errors import Reason, VaultError

_RETRY_S: Final = 5.0  # nothing about a disk gets better within a second
_SAYS: Final = {
    errno.ENOSPC: "the disk of the spool is full: free some space there",
    errno.EDQUOT: "the disk of the spool is full: its quota is used up",
    errno.EFBIG: "the spool may not be as large as configured: raise the limit on file sizes",
    errno.EROFS: "the file system of the spool is mounted read-only: look at the system's log",
    errno.EIO: "the disk of the spool fails: look at the system's log",
    errno.EACCES: "the spool may not be written by this user: look at the owner of its folder",
    errno.EPERM: "the spool may not be written by this user: look at the owner of its folder",
    errno.ENOENT: "the folder or the file of the spool was removed: restart the service",
}


def unreachable(error: OSError) -> VaultError:
    """STORE_UNREACHABLE that says what to do."""
    says = _SAYS.get(error.errno or 0, f"the disk of the spool refuses ({error.strerror})")
    return VaultError(Reason.STORE_UNREACHABLE, says, retry_after_s=_RETRY_S)


def too_slow() -> VaultError:
    """STORE_UNREACHABLE of a disk that hangs."""
    return VaultError(
        Reason.STORE_UNREACHABLE,
        "the disk of the spool does not answer in time: look at its load and the system's log",
        retry_after_s=_RETRY_S,
    )


def closed() -> VaultError:
    """STORE_UNREACHABLE of a process that is about to end."""
    return VaultError(
        Reason.STORE_UNREACHABLE, "the spool is closed: this process ends", retry_after_s=_RETRY_S
    )


def not_open() -> VaultError:
    """STORE_UNREACHABLE of a process that has no spool yet."""
    return VaultError(
        Reason.STORE_UNREACHABLE, "the spool could not be opened yet", retry_after_s=_RETRY_S
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    file: SpoolFile
    record: Record
    is_durable: bool
    done: asyncio.Future[None]


class Disk:
    """One queue, one thread. ``submit`` and ``write`` belong to one event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool-write")
        self._waiting: deque[_Write] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._is_closed = False

    def submit(self, file: SpoolFile, record: Record, *, durable: bool) -> asyncio.Future[None]:
        """Done when it is written, and on disk if ``durable``; fails with VaultError.

        OVERLOADED when too much waits, STORE_UNREACHABLE when closed.
        """
        if self._is_closed:
            raise closed()
        if len(self._waiting) >= limits.SPOOL_QUEUE_MAX:
            raise VaultError(
                Reason.OVERLOADED, "too many writes wait for the spool", retry_after_s=_RETRY_S
            )
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.add_done_callback(_retrieve)
        self._waiting.append(_Write(file, record, durable, done))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run())
        return done

    async def close(self) -> None:
        """Write what waits, for as long as one write may take, and end."""
        self._is_closed = True
        if self._pump is not None:
            _, hanging = await asyncio.wait({self._pump}, timeout=limits.SPOOL_LIMIT_S)
            for pump in hanging:
                pump.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            size = min(len(self._waiting), limits.SPOOL_BATCH_MAX)
            batch = [self._waiting.popleft() for _ in range(size)]
            errors = await loop.run_in_executor(self._thread, _flush, batch)
            for write, error in zip(batch, errors, strict=True):
                if write.done.done():
                    continue
                if error is None:
                    write.done.set_result(None)
                else:
                    write.done.set_exception(unreachable(error))


async def within(done: asyncio.Future[None], limit_s: float) -> None:
    """Wait for it so long; who stops waiting does not stop it. STORE_UNREACHABLE."""
    try:
        async with asyncio.timeout(limit_s):
            await asyncio.shield(done)
    except TimeoutError:
        raise too_slow() from None


def _retrieve(done: asyncio.Future[None]) -> None:
    # Its waiter may have gone; the failure then belongs to nobody.
    if not done.cancelled():
        done.exception()


def _flush(batch: Sequence[_Write]) -> list[OSError | None]:
    errors: list[OSError | None] = [_attempt(lambda w=w: _write(w)) for w in batch]  # type: ignore[misc]
    for file in {write.file for write in batch if write.is_durable}:
        failed = _attempt(file.sync)
        if failed is not None:
            # All of them write their bytes anew: after a failed sync the kernel calls pages
            # clean that never reached the disk.
            errors = [
                error or (failed if write.file is file and write.is_durable else None)
                for write, error in zip(batch, errors, strict=True)
            ]
    return errors


def _write(write: _Write) -> None:
    if write.file.is_lost:
        raise FileNotFoundError(errno.ENOENT, "deleted")
    write.file.write(write.record)


def _attempt(work: Callable[[], None]) -> OSError | None:
    try:
        work()
    except OSError as error:
        return error
    return None
