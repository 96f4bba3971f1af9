"""Disks that are full, read-only, failing or too slow, and folders that hold strange things."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import uuid
from pathlib import Path

import pytest

from tests.fakes.clock import FakeClock
from tests.support.small_disk import fill, small_disk
from vault_service.adapters.clock import SystemEntropy
from vault_service.adapters.spool.record import PAGE_BYTES, SLOT_BYTES
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.spool import FileSpool
from vault_service.adapters.spool.syscalls import Syscalls
from vault_service.domain import limits
from vault_service.domain.attempt import SpoolMark
from vault_service.domain.errors import Reason, VaultError
from vault_service.telemetry import configure_logging

SLOTS = 16
GRANT = uuid.uuid4()


class BadDisk(Syscalls):
    """Fails with ``error`` while it is set; hangs at a sync while ``go`` is not set."""

    def __init__(self) -> None:
        self.error = 0
        self.fails: tuple[str, ...] = ("write", "sync", "allocate")
        self.go = threading.Event()
        self.go.set()

    def _meet(self, call: str) -> None:
        if self.error and call in self.fails:
            raise OSError(self.error, os.strerror(self.error))

    def allocate(self, handle: int, size_bytes: int) -> None:
        self._meet("allocate")
        super().allocate(handle, size_bytes)

    def write(self, handle: int, data: bytes, offset: int) -> None:
        self._meet("write")
        super().write(handle, data, offset)

    def sync(self, handle: int) -> None:
        self.go.wait()
        self._meet("sync")
        super().sync(handle)


def spool_in(folder: Path, system: Syscalls | None = None, slots: int = SLOTS) -> FileSpool:
    """A process of its own."""
    return FileSpool(SpoolSettings(folder, slots), FakeClock(), SystemEntropy(), system)


async def _unreachable(spool: FileSpool, says: str) -> VaultError:
    with pytest.raises(VaultError) as refused:
        await spool.reserve(uuid.uuid4(), "acme", GRANT)
    assert refused.value.reason is Reason.STORE_UNREACHABLE
    assert says in refused.value.message
    assert refused.value.retry_after_s
    return refused.value


async def test_a_full_disk_is_met_at_start_and_not_later(tmp_path: Path) -> None:
    """A spool that does not fit is refused before anything is asked of a provider; with room the
    same process goes on, and a disk that fills up afterwards changes nothing for it."""
    with small_disk(tmp_path / "disk", "mode=0755") as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes(200_000))
        spool = spool_in(disk / "spool", slots=SLOTS)  # 1.2 MB on 1 MiB
        await _unreachable(spool, "is full")
        assert list((disk / "spool").glob("*.spool")) == []
        assert list((disk / "spool").glob("*.new")) == []
        await spool.close()
    with small_disk(tmp_path / "disk2", "mode=0755,size=2m") as disk:
        spool = spool_in(disk / "spool")
        await spool.open()
        fill(disk / "filler")
        for _ in range(SLOTS):
            entry = await spool.reserve(uuid.uuid4(), "acme", GRANT)
            await spool.store(await spool.mark_sent(entry), b"\1" * 65_637)
        await spool.close()


async def test_a_read_only_file_system(tmp_path: Path) -> None:
    """A file system that was mounted read-only is told as such."""
    with small_disk(tmp_path / "disk", "mode=0755,ro") as disk:
        spool = spool_in(disk / "spool")
        await _unreachable(spool, "read-only")
        await spool.close()


_ERRORS = {
    errno.ENOSPC: "is full", errno.EDQUOT: "quota", errno.EROFS: "read-only", errno.EIO: "fails",
    errno.EFBIG: "file sizes", errno.EACCES: "owner", errno.EPIPE: "refuses",
}  # fmt: skip


@pytest.mark.parametrize("code", _ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["write", "sync"])
async def test_each_step_says_what_the_disk_said(tmp_path: Path, code: int, call: str) -> None:
    """A refused step is STORE_UNREACHABLE and says what to do; when the disk is well again the
    same step succeeds, and no slot was lost."""
    disk = BadDisk()
    disk.fails = (call,)
    spool = spool_in(tmp_path / "spool", disk)
    entry = await spool.reserve(uuid.uuid4(), "acme", GRANT)
    disk.error = code
    await _unreachable(spool, _ERRORS[code])
    with pytest.raises(VaultError, match=_ERRORS[code]):
        await spool.mark_sent(entry)
    disk.error = 0
    sent = await spool.mark_sent(entry)
    disk.error = code
    with pytest.raises(VaultError, match=_ERRORS[code]):
        await spool.store(sent, b"sealed")
    disk.error = 0
    await spool.store(sent, b"sealed")
    for _ in range(SLOTS - 1):
        await spool.reserve(uuid.uuid4(), "acme", GRANT)
    await spool.close()
    again = spool_in(tmp_path / "spool")
    found = {each.attempt_id: each for each in await again.left_over()}
    assert found[entry.attempt_id].envelope == b"sealed"
    assert len(found) == SLOTS
    await again.close()


async def test_a_start_that_fails_is_tried_again(tmp_path: Path) -> None:
    """Where no spool could be made, the next call makes one; nothing is left of the first try."""
    disk = BadDisk()
    disk.error = errno.ENOSPC
    spool = spool_in(tmp_path / "spool", disk)
    with pytest.raises(VaultError):
        await spool.open()
    with pytest.raises(VaultError):
        _ = spool.spool_id
    assert list(spool.holds()) == []
    disk.error = 0
    entry = await spool.reserve(uuid.uuid4(), "acme", GRANT)
    assert entry.spool_id == spool.spool_id
    assert sorted(path.suffix for path in (tmp_path / "spool").iterdir()) == ["", ".spool"]
    await spool.close()


async def test_a_disk_that_hangs_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each caller waits for as long as one write may take and no longer, the loop never; when the
    disk moves again, what nobody waited for is free."""
    monkeypatch.setattr(limits, "SPOOL_LIMIT_S", 0.2)
    disk = BadDisk()
    spool = spool_in(tmp_path / "spool", disk)
    await spool.open()
    disk.go.clear()
    started = asyncio.get_running_loop().time()
    asked = [spool.reserve(uuid.uuid4(), "acme", GRANT) for _ in range(SLOTS)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert asyncio.get_running_loop().time() - started < 1
    assert all("in time" in str(answer) for answer in answers)
    disk.go.set()
    async with asyncio.timeout(5):
        while len(spool._free) < SLOTS:
            await asyncio.sleep(0.01)
    assert list(await spool.left_over()) == []
    await spool.close()


async def test_a_process_ends_while_its_disk_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end waits for a disk as long as a write may take, and then lets the lock go."""
    monkeypatch.setattr(limits, "SPOOL_LIMIT_S", 0.2)
    disk = BadDisk()
    spool = spool_in(tmp_path / "spool", disk)
    await spool.open()
    disk.go.clear()
    with pytest.raises(VaultError, match="in time"):
        await spool.reserve(uuid.uuid4(), "acme", GRANT)
    async with asyncio.timeout(2):
        await spool.close()
    after = spool_in(tmp_path / "spool")
    await after.open()
    assert len(list(after.holds())) == 1
    await after.close()
    disk.go.set()


async def test_a_caller_that_goes_takes_no_slot_along(tmp_path: Path) -> None:
    """A reservation whose caller was cancelled is given back."""
    disk = BadDisk()
    spool = spool_in(tmp_path / "spool", disk)
    await spool.open()
    disk.go.clear()
    task = asyncio.create_task(spool.reserve(uuid.uuid4(), "acme", GRANT))
    await asyncio.sleep(0.05)
    task.cancel()
    disk.go.set()
    await asyncio.gather(task, return_exceptions=True)
    for _ in range(SLOTS):
        await asyncio.sleep(0.02)
        await spool.reserve(uuid.uuid4(), "acme", GRANT)
    await spool.close()


async def test_a_deleted_spool_takes_nothing(tmp_path: Path) -> None:
    """What would be written into a file that nobody can find again is refused."""
    spool = spool_in(tmp_path / "spool")
    await spool.open()
    next((tmp_path / "spool").glob("*.spool")).unlink()
    await _unreachable(spool, "was removed")
    await spool.close()


async def test_damage_is_kept_and_never_stops_a_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slots full of nonsense are told, copied aside and used again; their sound neighbours keep
    their entries, and a damaged answer falls back to SENT."""
    configure_logging("info", True)  # to what is captured now, whatever other tests had chosen
    folder = tmp_path / "spool"
    spool = spool_in(folder)
    entries = [await spool.reserve(uuid.uuid4(), "acme", GRANT) for _ in range(3)]
    sent = [await spool.mark_sent(entry) for entry in entries]
    for entry in sent:
        await spool.store(entry, b"sealed")
    await spool.close()
    (path,) = folder.glob("*.spool")
    with path.open("r+b") as file:
        file.seek(entries[1].slot * SLOT_BYTES + 2 * PAGE_BYTES + 180)
        file.write(b"X")  # inside an answer
        file.seek(9 * SLOT_BYTES)
        file.write(os.urandom(SLOT_BYTES))
    again = spool_in(folder)
    found = {each.attempt_id: each for each in await again.left_over()}
    assert [found[each.attempt_id].mark for each in entries] == [
        SpoolMark.RECEIVED, SpoolMark.SENT, SpoolMark.RECEIVED,
    ]  # fmt: skip
    kept = sorted(folder.glob("*.damaged"))
    assert [each.stat().st_size for each in kept] == [SLOT_BYTES, SLOT_BYTES]
    assert all(each.stat().st_mode & 0o777 == 0o600 for each in kept)
    assert capsys.readouterr().err.count("spool_slot_damaged") == 2
    for _ in range(SLOTS - len(entries)):
        await again.reserve(uuid.uuid4(), "acme", GRANT)
    await again.close()
    third = spool_in(folder)
    await third.open()
    assert "spool_slot_damaged" not in capsys.readouterr().err
    await third.close()


async def test_strange_things_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    """A cut spool gives what it still has; links, folders, pipes and other names stay untouched."""
    folder = tmp_path / "spool"
    spool = spool_in(folder)
    entry = await spool.mark_sent(await spool.reserve(uuid.uuid4(), "acme", GRANT))
    await spool.close()
    (path,) = folder.glob("*.spool")
    os.truncate(path, SLOT_BYTES // 2)
    (folder / f"{uuid.uuid4()}.spool").symlink_to(path)
    (folder / f"{uuid.uuid4()}.spool").mkdir()
    os.mkfifo(folder / f"{uuid.uuid4()}.spool")
    (folder / f"{str(uuid.uuid4()).upper()}.spool").write_bytes(b"x")
    (folder / "notes.spool").write_bytes(b"x")
    again = spool_in(folder)
    (found,) = await again.left_over()
    assert (found.attempt_id, found.mark) == (entry.attempt_id, SpoolMark.SENT)
    assert again.spool_id != found.spool_id  # a whole one for new attempts
    await again.free(found)
    await again.close()


async def test_a_folder_full_of_spools_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that start in a loop fill no disk: the number of spools is bounded."""
    monkeypatch.setattr(limits, "SPOOLS_MAX", 2)
    spools = [spool_in(tmp_path / "spool") for _ in range(3)]
    await spools[0].open()
    await spools[1].open()
    with pytest.raises(VaultError, match="2 spools"):
        await spools[2].open()
    for spool in spools:
        await spool.close()


async def test_starting_together(tmp_path: Path) -> None:
    """Processes that start at one moment get one spool each, and no more the next time."""
    for _ in range(2):
        spools = [spool_in(tmp_path / "spool") for _ in range(4)]
        await asyncio.gather(*(spool.open() for spool in spools))
        assert len({spool.spool_id for spool in spools}) == 4
        for spool in spools:
            await spool.close()
    assert len(list((tmp_path / "spool").glob("*.spool"))) == 4


async def test_modes_and_blocks(tmp_path: Path) -> None:
    """The folder is 0700, its files 0600, and every block of a spool is allocated at once."""
    spool = spool_in(tmp_path / "spool")
    await spool.open()
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "spool").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    (path,) = (tmp_path / "spool").glob("*.spool")
    assert path.stat().st_size == SLOTS * SLOT_BYTES
    assert path.stat().st_blocks * 512 >= SLOTS * SLOT_BYTES
    await spool.close()
