"""ports.Spool: one suite for the fake and for the spool on a real disk."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.spool import FakeSpool, FakeSpoolFolder
from vault_service.adapters.clock import SystemEntropy
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.spool import FileSpool
from vault_service.crypto.codec import ENVELOPE_MAX_BYTES
from vault_service.domain.attempt import SpoolEntry, SpoolKind, SpoolMark
from vault_service.domain.errors import Reason, VaultError
from vault_service.ports import Spool

SLOTS = 16
ATTEMPT, OTHER = uuid.uuid4(), uuid.uuid4()
GRANT = uuid.uuid4()


class Host(Protocol):
    """A disk, and processes that begin and end on it."""

    async def begin(self) -> Spool: ...

    async def end(self, spool: Spool) -> None: ...


class _FakeHost:
    def __init__(self) -> None:
        self._folder = FakeSpoolFolder()

    async def begin(self) -> Spool:
        return FakeSpool(self._folder, SLOTS)

    async def end(self, spool: Spool) -> None:
        assert isinstance(spool, FakeSpool)
        spool.crash()


class _RealHost:
    def __init__(self, folder: Path) -> None:
        self._settings = SpoolSettings(folder, SLOTS)
        self.spools: list[FileSpool] = []

    async def begin(self) -> Spool:
        spool = FileSpool(self._settings, FakeClock(), SystemEntropy())
        self.spools.append(spool)
        await spool.open()
        return spool

    async def end(self, spool: Spool) -> None:
        assert isinstance(spool, FileSpool)
        self.spools.remove(spool)
        await spool.close()


@pytest.fixture(params=["fake", "disk"])
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Host]:
    if request.param == "fake":
        yield _FakeHost()
        return
    real = _RealHost(tmp_path / "spool")
    yield real
    for spool in real.spools:
        await spool.close()


async def _reserve(spool: Spool, attempt_id: uuid.UUID = ATTEMPT) -> SpoolEntry:
    return await spool.reserve(attempt_id, "acme", GRANT)


async def _reach(spool: Spool, mark: SpoolMark, attempt_id: uuid.UUID = ATTEMPT) -> SpoolEntry:
    entry = await _reserve(spool, attempt_id)
    if mark is not SpoolMark.RESERVED:
        entry = await spool.mark_sent(entry)
    if mark is SpoolMark.RECEIVED:
        entry = await spool.store(entry, b"sealed")
    return entry


@pytest.mark.parametrize("mark", SpoolMark)
async def test_the_next_process_finds_what_the_last_one_left(host: Host, mark: SpoolMark) -> None:
    """An entry outlives its process as it stood: ids, mark, and the answer byte for byte."""
    first = await host.begin()
    entry = await _reach(first, mark)
    assert (entry.spool_id, entry.mark) == (first.spool_id, mark)
    await host.end(first)
    second = await host.begin()
    assert second.spool_id == entry.spool_id
    assert list(await second.left_over()) == [entry]
    assert list(second.holds()) == [entry.spool_id]


async def test_what_a_task_is_at_work_on_is_not_left_over(host: Host) -> None:
    """A process finds none of its own new entries, until a task leaves one without an end."""
    spool = await host.begin()
    entry = await _reach(spool, SpoolMark.SENT)
    assert list(await spool.left_over()) == []
    spool.leave(entry)
    assert list(await spool.left_over()) == [entry]
    received = await spool.store(entry, b"late")
    assert list(await spool.left_over()) == [received]


async def test_free_entries_are_gone(host: Host) -> None:
    """A freed entry is found by nobody, and freeing it again does nothing."""
    first = await host.begin()
    entry = await _reach(first, SpoolMark.RECEIVED)
    await first.free(entry)
    await first.free(entry)
    await host.end(first)
    second = await host.begin()
    assert list(await second.left_over()) == []


async def test_every_slot_taken_is_overloaded(host: Host) -> None:
    """When every slot is taken the next one is OVERLOADED; a freed slot makes room."""
    spool = await host.begin()
    entries = await asyncio.gather(*(_reserve(spool, uuid.uuid4()) for _ in range(SLOTS)))
    assert len({entry.slot for entry in entries}) == SLOTS
    with pytest.raises(VaultError) as refused:
        await _reserve(spool)
    assert refused.value.reason is Reason.OVERLOADED
    await spool.free(entries[3])
    for _ in range(100):  # freeing does not wait for the disk
        await asyncio.sleep(0.01)
        try:
            again = await _reserve(spool)
            break
        except VaultError:
            continue
    assert again.slot == entries[3].slot


async def test_a_living_sibling_keeps_its_entries(host: Host) -> None:
    """Processes of one folder have spools of their own, and leave each other's alone."""
    first, second = await host.begin(), await host.begin()
    assert first.spool_id != second.spool_id
    await _reach(first, SpoolMark.SENT)
    assert list(await second.left_over()) == []
    assert list(second.holds()) == [second.spool_id]


async def test_a_dead_siblings_entries_are_adopted_and_let_go(host: Host) -> None:
    """The spool of a process that is gone is held until its entries are freed, then released."""
    first, second = await host.begin(), await host.begin()
    left = first.spool_id
    entries = [await _reach(first, SpoolMark.RECEIVED), await _reach(first, SpoolMark.SENT, OTHER)]
    await host.end(first)
    found = await second.left_over()
    assert sorted(found, key=lambda entry: entry.slot) == entries
    assert list(second.holds()) == [second.spool_id, left]
    sent = next(entry for entry in found if entry.mark is SpoolMark.SENT)
    received = await second.store(sent, b"asked again")
    assert received in await second.left_over()
    for entry in found:
        assert left in second.holds()
        await second.free(entry)
    async with asyncio.timeout(5):
        while left in second.holds():
            await asyncio.sleep(0.01)
    third = await host.begin()
    assert third.spool_id == left
    assert list(await third.left_over()) == []


async def test_a_restart_takes_the_spool_with_entries(host: Host) -> None:
    """Of two free spools a new process takes the one that has something to recover."""
    first, second = await host.begin(), await host.begin()
    entry = await _reach(second, SpoolMark.SENT)
    await host.end(first)
    await host.end(second)
    third = await host.begin()
    assert third.spool_id == entry.spool_id


async def test_steps_in_order_only(host: Host) -> None:
    """An answer needs SENT before it, and neither mark follows an answer or a freed entry."""
    spool = await host.begin()
    entry = await _reserve(spool)
    with pytest.raises(VaultError) as early:
        await spool.store(entry, b"sealed")
    sent = await spool.mark_sent(entry)
    assert await spool.mark_sent(sent) == sent
    await spool.store(sent, b"sealed")
    with pytest.raises(VaultError) as twice:
        await spool.store(sent, b"other")
    with pytest.raises(VaultError) as back:
        await spool.mark_sent(sent)
    await spool.free(sent)
    with pytest.raises(VaultError) as gone:
        await spool.mark_sent(sent)
    refused = (early, twice, back, gone)
    assert {each.value.reason for each in refused} == {Reason.INTERNAL}


async def test_sizes(host: Host) -> None:
    """The largest envelope has room; a larger one and none at all are refused."""
    spool = await host.begin()
    entry = await _reach(spool, SpoolMark.SENT)
    for envelope in (b"", bytes(ENVELOPE_MAX_BYTES + 1)):
        with pytest.raises(VaultError) as refused:
            await spool.store(entry, envelope)
        assert refused.value.reason is Reason.PAYLOAD_TOO_LARGE
    largest = b"\xff" * ENVELOPE_MAX_BYTES
    assert (await spool.store(entry, largest)).envelope == largest
    spool.leave(entry)
    (found,) = await spool.left_over()
    assert found.envelope == largest


async def test_an_old_entry_frees_no_new_one(host: Host) -> None:
    """An entry that was freed has no power over the attempt that has its slot now."""
    spool = await host.begin()
    entries = [await _reserve(spool, uuid.uuid4()) for _ in range(SLOTS)]
    await spool.free(entries[0])
    await asyncio.sleep(0.1)
    new = await _reserve(spool)
    assert new.slot == entries[0].slot
    await spool.free(entries[0])
    spool.leave(new)
    assert list(await spool.left_over()) == [new]


async def test_an_ended_process_writes_nothing(host: Host) -> None:
    """After its end a spool refuses every step and holds nothing."""
    spool = await host.begin()
    entry = await _reserve(spool)
    await host.end(spool)
    for step in (spool.mark_sent(entry), _reserve(spool, OTHER), spool.left_over()):
        with pytest.raises(VaultError) as refused:
            await step
        assert refused.value.reason is Reason.STORE_UNREACHABLE
    await spool.free(entry)
    assert list(spool.holds()) == []


async def test_kind_outlives_the_process(host: Host) -> None:
    """After a crash, at every mark, an entry still says which kind of answer it waits for."""
    spool = await host.begin()
    reserved = await spool.reserve(ATTEMPT, "acme", GRANT, SpoolKind.CONSENT)
    other = await spool.reserve(OTHER, "acme", GRANT)
    received = await spool.store(await spool.mark_sent(reserved), b"sealed")
    assert (received.kind, other.kind) == (SpoolKind.CONSENT, SpoolKind.REFRESH)
    await host.end(spool)
    found = {entry.attempt_id: entry for entry in await (await host.begin()).left_over()}
    assert (found[ATTEMPT].kind, found[ATTEMPT].mark) == (SpoolKind.CONSENT, SpoolMark.RECEIVED)
    assert found[OTHER].kind is SpoolKind.REFRESH
