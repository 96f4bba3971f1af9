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
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from vault_service.adapters.clock import SystemClock, SystemEntropy
from vault_service.adapters.spool.settings import SpoolSettings
from vault_service.adapters.spool.spool import FileSpool
from vault_service.domain.attempt import SpoolEntry
from vault_service.telemetry import configure_logging

Step = Callable[[], Awaitable[SpoolEntry]]

_ROUNDS = 15
_CALLS = 64
_ENVELOPE_BYTES = 2_048 + 101
_RESULT = Path(__file__).parent / "results" / "spool.json"


def main() -> None:
    """Measure, print, store."""
    configure_logging("warning", json=True)
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        medians = asyncio.run(_measured(Path(folder)))
        kind = _file_system(Path(folder))
    result = {
        "method": f"median of {_ROUNDS} interleaved rounds of {_CALLS} refreshes, envelope "
        f"{_ENVELOPE_BYTES} bytes; one by one, and {_CALLS} at a time; "
        "bare_sync: write and fdatasync of one page of a file that was written before",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "file_system": kind,
        "python": platform.python_version(),
        "microseconds_each": medians,
        "ratio_whole_to_bare_sync": round(medians["whole_one_by_one"] / medians["bare_sync"], 2),
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

    async def timed(name: str, how: str, steps: Sequence[Step]) -> list[SpoolEntry]:
        """All steps one after the other, or all at one moment."""
        started = time.perf_counter()
        if how == "one_by_one":
            done = [await step() for step in steps]
        else:
            done = list(await asyncio.gather(*(step() for step in steps)))
        used_us = (time.perf_counter() - started) / len(steps) * 1e6
        rounds.setdefault(f"{name}_{how}", []).append(used_us)
        return done

    async def reserve() -> SpoolEntry:
        return await spool.reserve(uuid.uuid4(), "acme", grant)

    async def whole() -> SpoolEntry:
        entry = await spool.store(await spool.mark_sent(await reserve()), envelope)
        await spool.free(entry)
        return entry

    for _ in range(_ROUNDS):
        bare_us = await asyncio.to_thread(_bare_sync_us, folder)
        rounds.setdefault("bare_sync", []).append(bare_us)
        for how in ("one_by_one", "batch"):
            await timed("whole", how, [whole] * _CALLS)
            reserved = await timed("reserve", how, [reserve] * _CALLS)
            sent = await timed("mark_sent", how, [partial(spool.mark_sent, e) for e in reserved])
            done = await timed("store", how, [partial(spool.store, e, envelope) for e in sent])
            for entry in done:
                await spool.free(entry)
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
