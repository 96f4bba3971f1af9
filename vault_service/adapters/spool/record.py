"""The bytes of a spool. Strict: one record, one spelling.

A spool is one preallocated file ``<spool id>.spool`` of equal slots of 19 pages of 4,096 bytes:

page     holds                    written by
0        RESERVED, or FREE        reserve, free
1        SENT                     mark_sent
2 to 18  RECEIVED with its answer store

Each record stands alone and has pages of its own, so no write touches an older mark. Big-endian:

off len  field
0    4   "TVSP"
4    1   version: 01 of a refresh, 02 of the exchange of a code
5    1   mark: 0 FREE, 1 RESERVED, 2 SENT, 3 RECEIVED
6    2   slot
8    8   use: counts the reservations of this spool; the records of one entry have one
16  16   spool id
32  16   attempt id
48  16   grant id; of version 02 the authorization's
64   8   milliseconds since 1970 when it was reserved
72   4   n, bytes of envelope: 0 but for RECEIVED, there at most 65,637
76   1   t, characters of the tenant's id, 1 to 63
77  63   the tenant's id in ASCII, zeros behind it
140 32   SHA-256 of bytes 0 to 139 and of all that follows
172  n   the envelope, or zeros up to the end of the page

``read_slot`` says what a slot holds: of the records that are whole, those with the highest use
count, and of them FREE above all others, then the highest mark. What follows for a crash or a
power cut, which may leave any part of a write that did not return:

- A torn RESERVED shows nothing, or an entry that was freed before: nothing was sent then.
- A torn SENT beside a whole RESERVED counts as SENT. Nothing was sent yet, but nobody can know.
- A torn RECEIVED counts as SENT: never half an answer.
- A torn FREE shows the entry that was freed once more, which the port allows.

A release that knows version 01 only takes a record of 02 for a torn one: it keeps a copy of the
slot and frees nothing by mistake.

The envelope is sealed; what stands in the clear are ids, the time and the size.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from vault_service.crypto.codec import ENVELOPE_MAX_BYTES
from vault_service.domain import limits
from vault_service.domain.attempt import SpoolKind

PAGE_BYTES: Final = 4_096
_MAGIC: Final = b"TVSP"
_FIELDS: Final = struct.Struct(">4sBBHQ16s16s16sQIB63s")
_SUM_BYTES: Final = 32
HEAD_BYTES: Final = _FIELDS.size + _SUM_BYTES
ANSWER_AT: Final = 2 * PAGE_BYTES
ANSWER_BYTES: Final = -(-(HEAD_BYTES + ENVELOPE_MAX_BYTES) // PAGE_BYTES) * PAGE_BYTES
SLOT_BYTES: Final = ANSWER_AT + ANSWER_BYTES
SLOTS_MAX: Final = 65_535
_ZEROS: Final = bytes(PAGE_BYTES)


class Mark(Enum):
    """What one record says. The first three are those of ``domain.attempt.SpoolMark``."""

    RESERVED = 1
    SENT = 2
    RECEIVED = 3
    FREE = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One record; ``envelope`` is empty but for RECEIVED."""

    spool_id: uuid.UUID
    slot: int
    use: int
    mark: Mark
    attempt_id: uuid.UUID
    tenant: str
    grant_id: uuid.UUID
    reserve_ms: int
    envelope: bytes = b""
    kind: SpoolKind = SpoolKind.REFRESH

    @property
    def offset(self) -> int:
        """Where it is written, in bytes from the start of the file."""
        page = {Mark.FREE: 0, Mark.RESERVED: 0, Mark.SENT: 1, Mark.RECEIVED: 2}[self.mark]
        return self.slot * SLOT_BYTES + page * PAGE_BYTES

    def serialize(self) -> bytes:
        """Whole pages. ValueError for a field beyond its bounds."""
        tenant = self.tenant.encode("ascii")
        if not 0 < len(tenant) <= limits.ID_MAX_CHARS or b"\0" in tenant:
            raise ValueError("the tenant's id does not fit the record")
        if len(self.envelope) > ENVELOPE_MAX_BYTES or (
            bool(self.envelope) != (self.mark is Mark.RECEIVED)
        ):
            raise ValueError("RECEIVED has an envelope of at most 65,637 bytes, no other mark one")
        try:
            fields = _FIELDS.pack(
                _MAGIC, self.kind.value, self.mark.value, self.slot, self.use, self.spool_id.bytes,
                self.attempt_id.bytes, self.grant_id.bytes, self.reserve_ms, len(self.envelope),
                len(tenant), tenant,
            )  # fmt: skip
        except struct.error as error:
            raise ValueError(f"a number does not fit the record: {error}") from None
        filled = HEAD_BYTES + len(self.envelope)
        rest = self.envelope + bytes(-filled % PAGE_BYTES)
        return fields + hashlib.sha256(fields + rest).digest() + rest


@dataclass(frozen=True, slots=True)
class Slot:
    """What one slot holds: its newest record, and whether a part of it is neither old nor new."""

    record: Record | None  # None: it was never used, or nothing in it can be read
    torn: tuple[int, ...] = ()  # the pages that are neither empty nor a record

    @property
    def entry(self) -> Record | None:
        """The record, if an attempt has the slot."""
        return None if self.record is None or self.record.mark is Mark.FREE else self.record

    def repairs(self) -> list[tuple[int, bytes]]:
        """Writes (offset in the slot, bytes) that leave the same entry and nothing torn."""
        writes = []
        for page in self.torn:
            is_sent = self.record is not None and page == 1 and self.record.mark is Mark.SENT
            data = self.record.serialize() if self.record is not None and is_sent else _ZEROS
            writes.append((page * PAGE_BYTES, data))
        return writes


def parse(data: bytes, spool_id: uuid.UUID, slot: int) -> Record | None:
    """The record at the start of ``data``, or None where it is not whole or belongs elsewhere."""
    if len(data) < PAGE_BYTES:
        return None
    magic, version, mark, number, use, spool, attempt, grant, reserve_ms, size, chars, tenant = (
        _FIELDS.unpack_from(data)
    )
    end = -(-(HEAD_BYTES + size) // PAGE_BYTES) * PAGE_BYTES
    if (magic, number, spool) != (_MAGIC, slot, spool_id.bytes):
        return None
    if size > ENVELOPE_MAX_BYTES or mark > Mark.RECEIVED.value or end > len(data):
        return None
    fields, rest = data[: _FIELDS.size], data[HEAD_BYTES:end]
    if hashlib.sha256(fields + rest).digest() != data[_FIELDS.size : HEAD_BYTES]:
        return None
    try:
        record = Record(
            spool_id, slot, use, Mark(mark), uuid.UUID(bytes=attempt),
            tenant[:chars].decode("ascii"), uuid.UUID(bytes=grant), reserve_ms, rest[:size],
            SpoolKind(version),
        )  # fmt: skip
        # Whatever else would have been written differently is no record of ours.
        return record if record.serialize() == data[:end] else None
    except ValueError:
        return None


def read_slot(data: bytes, spool_id: uuid.UUID, slot: int) -> Slot:
    """What the slot whose bytes are ``data`` holds; missing bytes count as never written."""
    pages = (
        (data[:PAGE_BYTES], (Mark.FREE, Mark.RESERVED)),
        (data[PAGE_BYTES:ANSWER_AT], (Mark.SENT,)),
        (data[ANSWER_AT:SLOT_BYTES], (Mark.RECEIVED,)),
    )
    found: list[Record] = []
    torn: list[int] = []
    for number, (page, marks) in enumerate(pages):
        record = parse(page, spool_id, slot)
        if record is not None and record.mark in marks:
            found.append(record)
        elif page[:PAGE_BYTES].strip(b"\0"):
            torn.append(number)
    if not found:
        return Slot(None, tuple(torn))
    newest = max(found, key=lambda record: (record.use, _RANK[record.mark]))
    if newest.mark is Mark.RESERVED and 1 in torn:
        newest = replace(newest, mark=Mark.SENT)
    return Slot(newest, tuple(torn))


_RANK: Final = {Mark.RESERVED: 1, Mark.SENT: 2, Mark.RECEIVED: 3, Mark.FREE: 4}
