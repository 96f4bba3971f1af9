"""Processes with a spool that are killed: what the next one, or a sibling, finds."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.clock import FakeClock
from tests.support.spool_child import ATTEMPT, ENVELOPE, GRANT, MOMENTS, SLOTS
from vault_service.adapters.clock import SystemEntropy
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.spool import FileSpool
from vault_service.domain.attempt import SpoolEntry, SpoolMark

_ROOT = Path(__file__).parents[2]
_EXPECTED = {
    # what was acknowledged last: the marks that may be found after it, None for no entry
    None: (None, SpoolMark.RESERVED),
    "RESERVED": (SpoolMark.RESERVED, SpoolMark.SENT),
    "SENT": (SpoolMark.SENT, SpoolMark.RECEIVED),
    "RECEIVED": (SpoolMark.RECEIVED, None),
    "FREE": (None,),
}


def _spool(folder: Path) -> FileSpool:
    return FileSpool(SpoolSettings(folder, SLOTS), FakeClock(), SystemEntropy())


def _child(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.spool_child", *arguments],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def holding(folder: Path) -> Iterator[tuple[subprocess.Popen[str], uuid.UUID]]:
    """A process that lives and has one answer in its spool."""
    child = _child("hold", str(folder))
    try:
        assert child.stdout is not None
        yield child, uuid.UUID(child.stdout.readline().strip())
    finally:
        child.kill()
        child.communicate()


def _die_everywhere(outer: Path) -> list[Path]:
    child = _child("points", str(outer))
    child.communicate(timeout=60)
    assert child.returncode == 0
    return sorted(outer.iterdir())


async def _found(folder: Path) -> SpoolEntry | None:
    spool = _spool(folder)
    try:
        found = await spool.left_over()
        assert len(found) <= 1
        for entry in found:
            assert (entry.attempt_id, entry.tenant, entry.grant_id) == (ATTEMPT, "acme", GRANT)
            assert entry.envelope == (ENVELOPE if entry.mark is SpoolMark.RECEIVED else None)
        again = await spool.reserve(uuid.uuid4(), "acme", GRANT)
        await spool.free(again)
        return found[0] if found else None
    finally:
        await spool.close()


async def test_killed_at_every_call_to_the_disk(tmp_path: Path) -> None:
    """Whatever a step acknowledged is found after kill -9 at any later call, and never half an
    answer; what was not finished is cleared away, and the spool works on."""
    points = _die_everywhere(tmp_path)
    # Made: folder, blocks, file, name; then a write and a sync for each mark, and one to free.
    assert len(points) >= 11 * len(MOMENTS)
    seen = set()
    for point in points:
        told = point / "acknowledged"
        acknowledged = told.read_text() if told.exists() else None
        entry = await _found(point / "spool")
        mark = entry.mark if entry is not None else None
        assert mark in _EXPECTED[acknowledged], (point.name, acknowledged, mark)
        seen.add((acknowledged, mark))
        assert list((point / "spool").glob("*.new")) == []
    assert {acknowledged for acknowledged, _ in seen} == set(_EXPECTED)
    assert ("SENT", SpoolMark.SENT) in seen
    assert ("SENT", SpoolMark.RECEIVED) in seen


async def test_a_sibling_adopts_the_spool_of_a_killed_process(tmp_path: Path) -> None:
    """While it lives its answer is its own; after kill -9 the sibling has it, whole."""
    folder = tmp_path / "spool"
    sibling = _spool(folder)
    await sibling.open()
    with holding(folder) as (child, spool_id):
        assert spool_id != sibling.spool_id
        assert list(await sibling.left_over()) == []
        child.send_signal(signal.SIGKILL)
        child.wait()
        (entry,) = await sibling.left_over()
    assert (entry.spool_id, entry.mark, entry.envelope) == (spool_id, SpoolMark.RECEIVED, ENVELOPE)
    assert list(sibling.holds()) == [sibling.spool_id, spool_id]
    await sibling.close()


async def test_the_next_process_takes_the_spool_of_a_killed_one(tmp_path: Path) -> None:
    """A restart after kill -9 writes the same spool and finds what was left in it."""
    folder = tmp_path / "spool"
    with holding(folder) as (_, spool_id):
        pass
    spool = _spool(folder)
    (entry,) = await spool.left_over()
    assert spool.spool_id == spool_id == entry.spool_id
    await spool.close()
    assert len(list(folder.glob("*.spool"))) == 1
