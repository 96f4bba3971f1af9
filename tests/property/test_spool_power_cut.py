"""A power cut at any moment of any sequence of steps, tearing what was not synced in any way."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from vault_service.adapters.spool.record import SLOT_BYTES, Mark, Record, Slot, read_slot

SPOOL = uuid.UUID(int=7)
_SECTOR_BYTES = 512


@dataclass
class _Disk:
    """One slot on a disk that orders nothing and tears anywhere between two syncs."""

    synced: bytearray = field(default_factory=lambda: bytearray(SLOT_BYTES))
    waiting: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        self.waiting.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.waiting:
            self.synced[offset : offset + len(data)] = data
        self.waiting.clear()

    def cut(self, data: st.DataObject) -> None:
        """Of each sector that was not synced any one version remains, one sector even in parts."""
        for offset, written in self.waiting:
            for start in range(0, len(written), _SECTOR_BYTES):
                piece = written[start : start + _SECTOR_BYTES]
                fate = data.draw(st.sampled_from(["old", "new", "torn"]))
                size = {"old": 0, "new": len(piece)}.get(fate, -1)
                if size < 0:
                    size = data.draw(st.integers(0, len(piece)))
                self.synced[offset + start : offset + start + size] = piece[:size]
        self.waiting.clear()

    def slot(self) -> Slot:
        return read_slot(bytes(self.synced), SPOOL, 0)


class _Process:
    """Takes the steps as the adapter does, and knows what may be found after each."""

    def __init__(self) -> None:
        self.disk = _Disk()
        self.use = 0
        self.newest: Record | None = None  # as acknowledged
        self.under_way: Record | None = None
        self.freed: list[Record] = []  # with all their marks

    def next_record(self, step: str, envelope: bytes) -> Record | None:
        newest = self.newest
        if newest is None:
            self.use += 1
            return Record(
                SPOOL, 0, self.use, Mark.RESERVED, uuid.UUID(int=self.use), "acme",
                uuid.UUID(int=1), 0,
            )  # fmt: skip
        if step == "free":
            return replace(newest, mark=Mark.FREE, envelope=b"")
        if newest.mark is Mark.RESERVED:
            return replace(newest, mark=Mark.SENT)
        if newest.mark is Mark.SENT:
            return replace(newest, mark=Mark.RECEIVED, envelope=envelope)
        return None

    def take(self, record: Record, *, whole: bool) -> None:
        """A step; not ``whole``: the cut comes before it returns."""
        self.disk.write(record.offset, record.serialize())
        if record.mark is Mark.FREE:
            assert self.newest is not None
            self.freed.append(self.newest)
            self.newest = None
            return
        self.under_way = record
        if whole:
            self.disk.sync()
            self.newest, self.under_way = record, None

    def allowed(self, found: Record | None) -> bool:
        """Whether this may be found after a cut."""
        if found is not None and found == self.under_way:
            return True
        if self.newest is not None:
            return found == self.newest
        # Nothing is promised of the slot: an entry that was freed may show once more.
        return found is None or any(
            found == each or (found.use == each.use and not found.envelope) for each in self.freed
        )


@settings(max_examples=500)
@given(st.data())
def test_no_cut_loses_a_mark_or_shows_half_an_answer(data: st.DataObject) -> None:
    """What a step acknowledged is found after a cut, exactly; what was under way is found whole or
    as it was before; mended, the slot goes on like any other."""
    process = _Process()
    for _ in range(data.draw(st.integers(1, 3))):
        for _ in range(data.draw(st.integers(0, 8))):
            step = data.draw(st.sampled_from(["on", "on", "free"]))
            record = process.next_record(step, data.draw(st.binary(min_size=1, max_size=600)))
            if record is not None:
                process.take(record, whole=True)
        last = process.next_record("on", b"cut short" * 600)
        if last is not None and data.draw(st.booleans()):
            process.take(last, whole=False)
        process.disk.cut(data)
        slot = process.disk.slot()
        assert process.allowed(slot.entry), (slot.entry, process.newest, process.under_way)
        for offset, repaired in slot.repairs():
            process.disk.write(offset, repaired)
        process.disk.sync()
        mended = process.disk.slot()
        assert mended.torn == ()
        assert mended.entry == slot.entry
        process.newest, process.under_way = slot.entry, None
        process.use = max(process.use, slot.record.use if slot.record else 0)
