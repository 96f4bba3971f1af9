"""ports.Spool on this host's disk. See ``record`` for the bytes and what a crash leaves of them."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from vault_service.adapters.spool.disk import Disk, closed, not_open, too_slow, unreachable, within
from vault_service.adapters.spool.file import SpoolFile
from vault_service.adapters.spool.folder import Loaded, SpoolFolder
from vault_service.adapters.spool.record import Mark, Record
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.syscalls import Syscalls
from vault_service.crypto.codec import ENVELOPE_MAX_BYTES
from vault_service.domain import limits
from vault_service.domain.attempt import SpoolEntry, SpoolKind, SpoolMark
from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import Clock, Entropy
from vault_service.telemetry import get_logger

T = TypeVar("T")

_log = get_logger("spool")


@dataclass(slots=True, eq=False)
class _Held:
    """One entry of a spool that we have locked."""

    file: SpoolFile
    record: Record  # as it is on disk, without the envelope
    is_busy: bool  # a task of this process is at work on it


class FileSpool:
    """One spool of our own, and those of processes that are gone while they have entries.

    Nothing is touched before ``open``; where that fails the next call tries it again.
    """

    def __init__(
        self,
        settings: SpoolSettings,
        clock: Clock,
        entropy: Entropy,
        system: Syscalls | None = None,
    ) -> None:
        self._clock = clock
        self._folder = SpoolFolder(settings, entropy, system or Syscalls())
        # One thread looks and reads, another one writes: a long look delays no write.
        self._look = ThreadPoolExecutor(1, thread_name_prefix="spool-look")
        self._disk = Disk()
        self._looks: dict[str, asyncio.Task[Any]] = {}
        self._own: SpoolFile | None = None
        self._free: deque[int] = deque()
        self._use = 0
        self._adopted: dict[uuid.UUID, SpoolFile] = {}
        self._held: dict[tuple[uuid.UUID, int], _Held] = {}
        self._leaving: set[_Held] = set()  # their FREE is not written yet
        self._is_closed = False

    async def open(self) -> None:
        """Lock the spool of this process, or make one. STORE_UNREACHABLE."""
        if self._is_closed:
            raise closed()
        if self._own is None:
            await self._looked("open", self._open)

    async def close(self) -> None:
        """Finish the writes that wait and give every lock back; entries stay for the next one."""
        self._is_closed = True
        await self._disk.close()
        looks = [look for look in self._looks.values() if not look.done()]
        if looks:
            await asyncio.wait(looks, timeout=limits.SPOOL_LIMIT_S)
        self._look.shutdown(wait=False, cancel_futures=True)
        for file in (self._own, *self._adopted.values()):
            if file is not None:
                file.close()
        self._own = None
        self._adopted.clear()
        self._held.clear()

    @property
    def spool_id(self) -> uuid.UUID:
        """Of the spool that this process writes. STORE_UNREACHABLE when it has none yet."""
        return self._mine().spool_id

    def slots(self) -> tuple[int, int] | None:
        """Slots of our own that are taken and that are free; None while there is no spool."""
        if self._own is None:
            return None
        taken = sum(held.file is self._own for held in self._held.values())
        return taken, len(self._free)

    async def reserve(
        self,
        attempt_id: uuid.UUID,
        tenant: str,
        grant_id: uuid.UUID,
        kind: SpoolKind = SpoolKind.REFRESH,
    ) -> SpoolEntry:
        """A slot with room for the largest answer, marked RESERVED."""
        await self.open()
        own = self._mine()
        if not self._free:
            raise VaultError(
                Reason.OVERLOADED,
                "every slot of the spool has an answer that the database has not taken",
                retry_after_s=limits.RETRY_AFTER_S,
            )
        slot = self._free.popleft()
        self._use += 1
        reserve_ms = int(self._clock.now().timestamp() * 1_000)
        record = Record(
            own.spool_id, slot, self._use, Mark.RESERVED, attempt_id, tenant, grant_id, reserve_ms,
            kind=kind,
        )  # fmt: skip
        held = self._held[own.spool_id, slot] = _Held(own, record, is_busy=True)
        try:
            await self._write(held, record)
        except BaseException:
            # Nobody will free it. Should its record still reach the disk, this one is behind it.
            self._free_slot(held)
            raise
        return _entry(record)

    async def mark_sent(self, entry: SpoolEntry) -> SpoolEntry:
        """From here on the request may be on its way."""
        held = self._find(entry)
        if held.record.mark is not Mark.SENT:
            _expect(held, Mark.RESERVED)
            await self._write(held, replace(held.record, mark=Mark.SENT))
        return replace(entry, mark=SpoolMark.SENT)

    async def store(self, entry: SpoolEntry, envelope: bytes) -> SpoolEntry:
        """The sealed answer, marked RECEIVED. PAYLOAD_TOO_LARGE beyond the largest envelope."""
        if not 0 < len(envelope) <= ENVELOPE_MAX_BYTES:
            raise VaultError(Reason.PAYLOAD_TOO_LARGE, "no envelope has this size")
        held = self._find(entry)
        _expect(held, Mark.SENT)
        record = replace(held.record, mark=Mark.RECEIVED, envelope=envelope)
        await self._write(held, record)
        return replace(entry, mark=SpoolMark.RECEIVED, envelope=envelope)

    async def free(self, entry: SpoolEntry) -> None:
        """The slot may be used again; does nothing for an entry that is free already."""
        held = self._held.get((entry.spool_id, entry.slot))
        if held is not None and held.record.attempt_id == entry.attempt_id:
            self._free_slot(held)

    def leave(self, entry: SpoolEntry) -> None:
        """No task of this process is at work on it any more: ``left_over`` has it from now on."""
        held = self._held.get((entry.spool_id, entry.slot))
        if held is not None and held.record.attempt_id == entry.attempt_id:
            held.is_busy = False

    async def left_over(self) -> Sequence[SpoolEntry]:
        """Entries that no task of this process is at work on."""
        await self.open()
        await self._looked("adopt", self._adopt)
        return await self._looked("read", self._read)

    def holds(self) -> Sequence[uuid.UUID]:
        """The spools that this process has locked, its own first."""
        own = [] if self._own is None else [self._own.spool_id]
        return [*own, *self._adopted]

    def _mine(self) -> SpoolFile:
        if self._is_closed or self._own is None:
            raise closed() if self._is_closed else not_open()
        return self._own

    def _find(self, entry: SpoolEntry) -> _Held:
        held = self._held.get((entry.spool_id, entry.slot))
        if self._is_closed:
            raise closed()
        if held is None or held.record.attempt_id != entry.attempt_id:
            raise VaultError(Reason.INTERNAL, "this entry of the spool was freed already")
        return held

    async def _write(self, held: _Held, record: Record) -> None:
        done = self._disk.submit(held.file, record, durable=True)

        def written(done: asyncio.Future[None]) -> None:
            # Here and not below: it may reach the disk after its waiter has gone.
            if not done.cancelled() and done.exception() is None:
                held.record = replace(record, envelope=b"") if record.envelope else record

        done.add_done_callback(written)
        await within(done, limits.SPOOL_LIMIT_S)

    def _free_slot(self, held: _Held) -> None:
        record = replace(held.record, mark=Mark.FREE, envelope=b"")
        self._held.pop((record.spool_id, record.slot), None)
        self._leaving.add(held)
        try:
            done = self._disk.submit(held.file, record, durable=False)
        except VaultError:
            # It stays marked until the slot is used again; recovery may look at it once more.
            self._left(held)
        else:
            done.add_done_callback(lambda _: self._left(held))

    def _left(self, held: _Held) -> None:
        self._leaving.discard(held)
        if held.file is self._own:
            self._free.append(held.record.slot)
        elif not any(other.file is held.file for other in (*self._held.values(), *self._leaving)):
            self._let_go(held.file)

    def _let_go(self, file: SpoolFile) -> None:
        if self._adopted.pop(file.spool_id, None) is not None:
            # In the thread that reads, so that no read meets a closed file.
            self._look.submit(file.close)

    async def _looked(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """One look of a kind at a time: who comes later, or gave up before, shares it."""
        task = self._looks.get(name)
        if task is None or task.done():
            task = self._looks[name] = asyncio.create_task(work())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(limits.SPOOL_START_LIMIT_S):
                result: T = await asyncio.shield(task)
                return result
        except TimeoutError:
            raise too_slow() from None
        except OSError as error:
            raise unreachable(error) from error
        except ValueError as error:
            raise VaultError(Reason.STORE_UNREACHABLE, str(error), retry_after_s=5.0) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._look, work)

    async def _open(self) -> None:
        loaded = await self._in_thread(self._folder.open_own)
        self._own, self._use = loaded.file, loaded.last_use
        self._free = deque(loaded.free)
        self._take_in(loaded)
        _log.info("spool_opened", file=loaded.file.path.name, count=len(loaded.entries))

    async def _adopt(self) -> None:
        held = [self._mine().path, *(file.path for file in self._adopted.values())]
        for loaded in await self._in_thread(lambda: self._folder.adopt(held)):
            self._adopted[loaded.file.spool_id] = loaded.file
            self._take_in(loaded)

    def _take_in(self, loaded: Loaded) -> None:
        for record in loaded.entries:
            key = (record.spool_id, record.slot)
            self._held[key] = _Held(loaded.file, replace(record, envelope=b""), is_busy=False)

    async def _read(self) -> list[SpoolEntry]:
        idle = [held for held in self._held.values() if not held.is_busy]

        def read() -> list[SpoolEntry]:
            # An adopted spool is closed by this thread only, after these reads.
            return [_entry(found) for held in idle if (found := _read_again(held)) is not None]

        return await self._in_thread(read)


def _read_again(held: _Held) -> Record | None:
    found = held.file.read(held.record.slot).entry
    return found if found is not None and found.use == held.record.use else None


def _expect(held: _Held, mark: Mark) -> None:
    if held.record.mark is not mark:
        raise VaultError(
            Reason.INTERNAL, f"this entry of the spool is {held.record.mark.name}, not {mark.name}"
        )


def _entry(record: Record) -> SpoolEntry:
    return SpoolEntry(
        spool_id=record.spool_id,
        slot=record.slot,
        attempt_id=record.attempt_id,
        tenant=record.tenant,
        grant_id=record.grant_id,
        mark=SpoolMark(record.mark.value),
        envelope=record.envelope or None,
        kind=record.kind,
    )
