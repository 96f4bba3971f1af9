"""ports.Spool in memory: a folder outlives its processes, and a disk fails when told."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from tests.fakes.clock import FakeEntropy
from vault_service.crypto.codec import ENVELOPE_MAX_BYTES
from vault_service.domain.attempt import SpoolEntry, SpoolKind, SpoolMark
from vault_service.domain.errors import Reason, VaultError

_seeds = itertools.count(1)


class SpoolFault(Enum):
    DISK_FULL = 1  # nothing can be reserved; what has a slot goes on
    IO_ERROR = 2  # every write fails and leaves nothing
    LATE = 3  # every write fails and reaches the disk all the same


class FakeSpoolFolder:
    """The disk of one host."""

    def __init__(self) -> None:
        self.entropy = FakeEntropy(next(_seeds))  # no two hosts give one id to two spools
        self.entries: dict[uuid.UUID, dict[int, SpoolEntry]] = {}
        self.locked: set[uuid.UUID] = set()


class FakeSpool:
    """The spool of one process. ``crash`` ends the process, also in the middle of a step."""

    def __init__(self, folder: FakeSpoolFolder | None = None, slots: int = 256) -> None:
        self.folder = folder or FakeSpoolFolder()
        self.fault: SpoolFault | None = None
        self._slots = slots
        free = [each for each in self.folder.entries if each not in self.folder.locked]
        full = [each for each in free if self.folder.entries[each]]
        self._id = next(iter(full or free), None) or self.folder.entropy.uuid7()
        self.folder.entries.setdefault(self._id, {})
        self.folder.locked.add(self._id)
        self._adopted: list[uuid.UUID] = []
        self._busy: set[tuple[uuid.UUID, int]] = set()
        self._is_closed = False

    def crash(self) -> None:
        self._is_closed = True
        self.folder.locked -= {self._id, *self._adopted}

    @property
    def spool_id(self) -> uuid.UUID:
        return self._id

    async def reserve(
        self,
        attempt_id: uuid.UUID,
        tenant: str,
        grant_id: uuid.UUID,
        kind: SpoolKind = SpoolKind.REFRESH,
    ) -> SpoolEntry:
        self._require_open()
        if self.fault is SpoolFault.DISK_FULL:
            raise _refused(Reason.STORE_UNREACHABLE)
        mine = self.folder.entries[self._id]
        slot = next((each for each in range(self._slots) if each not in mine), None)
        if slot is None:
            raise _refused(Reason.OVERLOADED)
        entry = SpoolEntry(
            self._id, slot, attempt_id, tenant, grant_id, SpoolMark.RESERVED, None, kind
        )
        if self.fault is None:
            self._busy.add((self._id, slot))
            mine[slot] = entry
            return entry
        raise _refused(Reason.STORE_UNREACHABLE)

    async def mark_sent(self, entry: SpoolEntry) -> SpoolEntry:
        found = self._find(entry)
        if found.mark is SpoolMark.RECEIVED:
            raise _refused(Reason.INTERNAL)
        return self._write(replace(found, mark=SpoolMark.SENT))

    async def store(self, entry: SpoolEntry, envelope: bytes) -> SpoolEntry:
        if not 0 < len(envelope) <= ENVELOPE_MAX_BYTES:
            raise _refused(Reason.PAYLOAD_TOO_LARGE)
        found = self._find(entry)
        if found.mark is not SpoolMark.SENT:
            raise _refused(Reason.INTERNAL)
        return self._write(replace(found, mark=SpoolMark.RECEIVED, envelope=envelope))

    async def free(self, entry: SpoolEntry) -> None:
        held = self.folder.entries.get(entry.spool_id, {})
        found = held.get(entry.slot)
        if self._is_closed or found is None or found.attempt_id != entry.attempt_id:
            return
        del held[entry.slot]
        self._busy.discard((entry.spool_id, entry.slot))
        if entry.spool_id in self._adopted and not held:
            self._adopted.remove(entry.spool_id)
            self.folder.locked.discard(entry.spool_id)

    def leave(self, entry: SpoolEntry) -> None:
        self._busy.discard((entry.spool_id, entry.slot))

    async def left_over(self) -> Sequence[SpoolEntry]:
        self._require_open()
        for each, held in self.folder.entries.items():
            if held and each not in self.folder.locked:
                self.folder.locked.add(each)
                self._adopted.append(each)
        return [
            entry
            for each in self.holds()
            for entry in self.folder.entries[each].values()
            if (each, entry.slot) not in self._busy
        ]

    def holds(self) -> Sequence[uuid.UUID]:
        return [] if self._is_closed else [self._id, *self._adopted]

    def _find(self, entry: SpoolEntry) -> SpoolEntry:
        self._require_open()
        found = self.folder.entries.get(entry.spool_id, {}).get(entry.slot)
        if found is None or found.attempt_id != entry.attempt_id:
            raise _refused(Reason.INTERNAL)
        return found

    def _write(self, entry: SpoolEntry) -> SpoolEntry:
        if self.fault in (None, SpoolFault.LATE, SpoolFault.DISK_FULL):
            self.folder.entries[entry.spool_id][entry.slot] = entry
        if self.fault in (SpoolFault.LATE, SpoolFault.IO_ERROR):
            raise _refused(Reason.STORE_UNREACHABLE)
        return entry

    def _require_open(self) -> None:
        if self._is_closed:
            raise _refused(Reason.STORE_UNREACHABLE)


def _refused(reason: Reason) -> VaultError:
    return VaultError(reason, "the fake spool was told so, or asked out of order")
