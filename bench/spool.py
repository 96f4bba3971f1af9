"""What the spool costs a refresh, and what it saves that many writes share one sync.

Interleaved rounds in one process, on the disk of the folder given (or of the temporary files);
prints and stores medians and ratios: python -m bench.spool [FOLDER]
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from vault_service.adapters.clock import SystemClock, SystemEntropy
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.spool import FileSpool
from vault_service.domain.attempt import SpoolEntry
from vault_service.telemetry import configure_logging

_ROUNDS = 15
_CALLS = 64
_ENVELOPE_BYTES = 2_048 + 101
_RESULT = Path(__file__).parent / "results" / "spool.json"


def main() -> None:
    """Measure, print, store."""
    configure_logging("warning", json=True)
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        medians = asyncio.run(_measured(Path(folder)))
        bare_us = statistics.median(_bare_sync_us(Path(folder)) for _ in range(_ROUNDS))
        kind = _file_system(Path(folder))
    result = {
        "method": f"median of {_ROUNDS} interleaved rounds of {_CALLS} refreshes, envelope "
        f"{_ENVELOPE_BYTES} bytes; one by one, and {_CALLS} at a time",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "file_system": kind,
        "python": platform.python_version(),
        "microseconds_each": medians | {"bare_write_and_fdatasync_4096": round(bare_us, 1)},
        "ratio_store_batch": round(medians["store_one_by_one"] / medians["store_batch"], 2),
        "ratio_whole_batch": round(medians["whole_one_by_one"] / medians["whole_batch"], 2),
    }
    _RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


async def _measured(folder: Path) -> dict[str, float]:
    spool = FileSpool(SpoolSettings(folder / "spool", 256), SystemClock(), SystemEntropy())
    await spool.open()
    envelope, grant = os.urandom(_ENVELOPE_BYTES), uuid.uuid4()
    rounds: dict[str, list[float]] = {}

    async def timed(name: str, steps: list[Callable[[], Awaitable[SpoolEntry]]]) -> None:
        """All steps one after the other, or all at one moment."""
        started = time.perf_counter()
        if name.endswith("one_by_one"):
            done = [await step() for step in steps]
        else:
            done = list(await asyncio.gather(*(step() for step in steps)))
        rounds.setdefault(name, []).append((time.perf_counter() - started) / len(steps) * 1e6)
        for entry in done:
            await spool.free(entry)

    async def whole() -> SpoolEntry:
        entry = await spool.reserve(uuid.uuid4(), "acme", grant)
        entry = await spool.store(await spool.mark_sent(entry), envelope)
        await spool.free(entry)
        return entry

    for _ in range(_ROUNDS):
        for how in ("one_by_one", "batch"):
            await timed(f"whole_{how}", [whole] * _CALLS)
            entries = [
                await spool.mark_sent(await spool.reserve(uuid.uuid4(), "acme", grant))
                for _ in range(_CALLS)
            ]
            await timed(
                f"store_{how}",
                [lambda entry=entry: spool.store(entry, envelope) for entry in entries],  # type: ignore[misc]
            )
    await spool.close()
    return {name: round(statistics.median(times), 1) for name, times in rounds.items()}


def _bare_sync_us(folder: Path) -> float:
    path = folder / "bare"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(handle, bytes(_CALLS * 4_096), 0)
        os.fsync(handle)
        page = os.urandom(4_096)
        started = time.perf_counter()
        for number in range(_CALLS):
            os.pwrite(handle, page, number * 4_096)
            os.fdatasync(handle)
        return (time.perf_counter() - started) / _CALLS * 1e6
    finally:
        os.close(handle)
        path.unlink()


def _file_system(folder: Path) -> str:
    """The kind of the mount that holds the folder."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(point), kind) for point, kind in mounts if str(folder).startswith(point)]
    return max(above)[1]


if __name__ == "__main__":
    main()
