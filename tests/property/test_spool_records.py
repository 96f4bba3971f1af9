"""A spool's bytes: what was written is read, and damage is never read as another thing."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_service.adapters.spool.record import (
    ANSWER_AT,
    HEAD_BYTES,
    PAGE_BYTES,
    SLOT_BYTES,
    Mark,
    Record,
    parse,
    read_slot,
)
from vault_service.crypto.codec import ENVELOPE_MAX_BYTES
from vault_service.domain.attempt import SpoolKind
from vault_service.domain.names import require_id

SPOOL = uuid.UUID(int=7)
SLOT = 3
_IDS = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
_U64 = st.integers(0, 2**64 - 1)
_RECORDS = st.builds(
    Record, st.uuids(), st.integers(0, 65_535), _U64, st.sampled_from(Mark), st.uuids(), _IDS,
    st.uuids(), _U64, kind=st.sampled_from(SpoolKind),
).flatmap(
    lambda record: st.binary(min_size=1, max_size=9_000).map(
        lambda envelope: replace(record, envelope=envelope)
    )
    if record.mark is Mark.RECEIVED
    else st.just(record)
)  # fmt: skip
ENTRY = Record(
    SPOOL, SLOT, 5, Mark.RECEIVED, uuid.UUID(int=8), "acme", uuid.UUID(int=9), 1_800_000_000_000,
    b"a sealed answer",
)  # fmt: skip


def image(*records: Record) -> bytearray:
    """The bytes of one slot after these writes."""
    data = bytearray(SLOT_BYTES)
    for record in records:
        at = record.offset - record.slot * SLOT_BYTES
        data[at : at + len(record.serialize())] = record.serialize()
    return data


def at(mark: Mark, record: Record = ENTRY) -> Record:
    """The record of the same entry at another mark."""
    return replace(record, mark=mark, envelope=record.envelope if mark is Mark.RECEIVED else b"")


STEPS = (at(Mark.RESERVED), at(Mark.SENT), at(Mark.RECEIVED))


@given(_RECORDS)
def test_round_trip(record: Record) -> None:
    """A record reads as what was written, in whole pages, and in its own place only."""
    data = record.serialize()
    assert len(data) % PAGE_BYTES == 0
    assert parse(data, record.spool_id, record.slot) == record
    assert parse(data, record.spool_id, (record.slot + 1) % 65_536) is None
    assert parse(data, uuid.UUID(int=record.spool_id.int ^ 1), record.slot) is None


@given(st.binary(max_size=2 * PAGE_BYTES))
def test_nothing_else_parses(data: bytes) -> None:
    """Arbitrary bytes are no record."""
    assert parse(data, SPOOL, SLOT) is None


@given(_RECORDS, st.data())
def test_what_parses_serialises_back(record: Record, data: st.DataObject) -> None:
    """Whatever change of a record still parses is the same record: one record, one spelling."""
    written = bytearray(record.serialize())
    position = data.draw(st.integers(0, len(written) - 1))
    written[position] = data.draw(st.integers(0, 255))
    found = parse(bytes(written), record.spool_id, record.slot)
    assert found is None or found.serialize() == bytes(written)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_newest_mark_counts(count: int) -> None:
    """A slot is as far as its last whole record says."""
    slot = read_slot(bytes(image(*STEPS[:count])), SPOOL, SLOT)
    assert (slot.entry, slot.torn) == (STEPS[count - 1], ())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_flipped_bit(count: int) -> None:
    """One flipped bit makes at most an earlier mark of the entry that is as safe: an answer falls
    back to SENT, SENT stays SENT, and no envelope is another one."""
    whole = bytes(image(*STEPS[:count]))
    newest = STEPS[count - 1]
    allowed = {1: (None, at(Mark.SENT)), 2: (at(Mark.SENT),), 3: (ENTRY, at(Mark.SENT))}[count]
    for page in range(3):
        for offset in range(PAGE_BYTES):
            bits = range(8) if offset < HEAD_BYTES + 16 else (offset % 8,)
            for bit in bits:
                data = bytearray(whole)
                data[page * PAGE_BYTES + offset] ^= 1 << bit
                slot = read_slot(bytes(data), SPOOL, SLOT)
                assert slot.entry == newest or slot.entry in allowed, (page, offset, bit)
                assert slot.entry != newest or slot.torn or page == 2


def test_every_truncation() -> None:
    """A slot that is cut short shows an earlier mark, and never half an answer."""
    whole = bytes(image(*STEPS))
    ends = [*range(ANSWER_AT + PAGE_BYTES + 1), SLOT_BYTES]
    for end in ends:
        entry = read_slot(whole[:end], SPOOL, SLOT).entry
        if end >= ANSWER_AT + PAGE_BYTES:
            assert entry == ENTRY
        elif end > PAGE_BYTES:
            # A cut page is damage, and may have been SENT.
            assert entry == at(Mark.SENT)
        elif end == PAGE_BYTES:
            assert entry == at(Mark.RESERVED)
        else:
            assert entry is None


def test_a_freed_slot_is_free_and_the_next_use_hides_the_last() -> None:
    """FREE ends an entry whatever its marks say, and the marks of an older use do not count."""
    freed = image(*STEPS, at(Mark.FREE))
    assert read_slot(bytes(freed), SPOOL, SLOT).entry is None
    newer = replace(STEPS[0], use=6, attempt_id=uuid.UUID(int=99))
    assert read_slot(bytes(image(*STEPS, at(Mark.FREE), newer)), SPOOL, SLOT).entry == newer


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": ""}, {"tenant": "a" * 64}, {"tenant": "a\0"}, {"tenant": "ä"}, {"slot": 65_536},
        {"use": -1}, {"use": 2**64}, {"reserve_ms": -1}, {"envelope": b""}, {"mark": Mark.SENT},
        {"envelope": bytes(ENVELOPE_MAX_BYTES + 1)},
    ],
    ids=str,
)  # fmt: skip
def test_fields_beyond_their_bounds(changes: dict[str, object]) -> None:
    """What does not fit is refused rather than cut."""
    with pytest.raises(ValueError, match=r"fit|envelope|ascii"):
        replace(ENTRY, **changes).serialize()  # type: ignore[arg-type]


@given(_IDS)
def test_every_tenant_fits(tenant: str) -> None:
    """Whatever is a tenant's id has room in a record."""
    require_id(tenant, "Tenant")
    record = replace(ENTRY, tenant=tenant)
    assert parse(record.serialize(), SPOOL, SLOT) == record
