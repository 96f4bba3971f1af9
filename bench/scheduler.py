"""What a tick of the scheduler costs with 10^3, 10^5 and 10^6 grants, and a herd of 10,000 tokens
that end in the same second.

Rows are made by a generator on a real PostgreSQL (without fsync); the provider is simulated at the
port TokenEndpoint, in this process. Ticks of the three sizes are measured in interleaved rounds.
Prints and stores: python -m bench.scheduler
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.scheduler_rows import HERD_CLIENT, Filled
from bench.scheduler_side import Provider, Replica
from tests.support.postgres import DevPostgres
from vault_service.telemetry import configure_logging

_SIZES = (1_000, 100_000, 1_000_000)
_ROUNDS = 30
_DUE = 100
_HERD = 10_000
_RATE_PER_S = 120
_END_S = 300.0
_RESULT = Path(__file__).parent / "results" / "scheduler.json"


def main() -> None:
    """Measure, print, store."""
    configure_logging("error", json=True)
    # Short, since a socket's path has 107 bytes; open, since PostgreSQL may run as another user.
    directory = Path(tempfile.mkdtemp(prefix="tvb-"))
    directory.chmod(0o711)
    server = DevPostgres(directory)
    try:
        result = asyncio.run(_measured(server.start(), directory))
    finally:
        server.remove()
        shutil.rmtree(directory, ignore_errors=True)
    _RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


async def _measured(server: DevPostgres, directory: Path) -> dict[str, Any]:
    databases, seconds = [], {}
    for size in _SIZES:
        started = time.perf_counter()
        databases.append(await Filled.make(server, size))
        seconds[str(size)] = round(time.perf_counter() - started, 1)
    version = (await databases[0].sql("SHOW server_version"))[0][0]
    ticks = await _ticks(databases, directory)
    herd = await _herd(databases[-1], directory)
    for database in databases:
        await database.close()
    smallest, largest = (ticks[str(size)] for size in (_SIZES[0], _SIZES[-1]))
    return {
        "method": f"medians of {_ROUNDS} interleaved rounds; a tick takes, judges and writes back "
        f"what is due; load is that of the statement that takes (rows and buffers as PostgreSQL "
        f"counts them); herd: {_HERD} tokens of one second among 10^6 grants, all due at once "
        f"{_END_S:g} s before their end, two replicas in one process, provider of class S with "
        "20 ms at the port, real spool; PostgreSQL without fsync",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "python": platform.python_version(),
        "postgresql": version,
        "seconds_to_generate": seconds,
        "ticks": ticks,
        "ratio_1e6_to_1e3": {
            name: round(largest[name]["ms"] / smallest[name]["ms"], 2)
            for name in ("nothing_due", "due_100")
        },
        "herd": herd,
    }


async def _ticks(databases: Sequence[Filled], directory: Path) -> dict[str, dict[str, Any]]:
    replicas = {}
    for filled in databases:
        name = str(filled.size)
        replicas[name] = await Replica.make(filled, directory / name, Provider(), name)
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(_ROUNDS):
        for filled in databases:
            name = str(filled.size)
            for what, due in (("nothing_due", 0), ("due_100", _DUE)):
                await filled.make_due(due)
                used_ms = await replicas[name].tick_ms(due)
                times.setdefault((name, what), []).append(used_ms)
    measured: dict[str, dict[str, Any]] = {}
    for filled in databases:
        name = str(filled.size)
        measured[name] = {"process_rss_mb": _rss_mb()}
        for what, due in (("nothing_due", 0), ("due_100", _DUE)):
            await filled.make_due(due)
            ms = sorted(times[name, what])
            measured[name][what] = {
                "ms": round(statistics.median(ms), 2),
                "p95_ms": round(ms[int(len(ms) * 0.95)], 2),
                **await filled.load_of_take(),
            }
        await filled.make_due(0)
        await replicas[name].close()
    return measured


async def _herd(filled: Filled, directory: Path) -> dict[str, Any]:
    provider = Provider()
    names = ("herd-1", "herd-2")
    replicas = [await Replica.make(filled, directory / name, provider, name) for name in names]
    await filled.make_herd(replicas[0].envelopes, _HERD, _END_S, _RATE_PER_S)
    rss_before, before = _rss_mb(), await filled.database_counts()
    started = time.monotonic()
    tick_ms: list[float] = []

    async def work(replica: Replica) -> None:
        while len(provider.times) < _HERD and time.monotonic() - started < _END_S:
            used_ms = await replica.step_ms()
            tick_ms.append(used_ms)
            await asyncio.sleep(1.0)
        await replica.ended()

    rss: list[float] = []

    async def watch() -> None:
        while True:
            rss.append(_rss_mb())
            await asyncio.sleep(1.0)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(work(replica) for replica in replicas))
    watching.cancel()
    took_s = time.monotonic() - started
    after = await filled.database_counts()
    refreshed = [replica.ahead.counts.refreshed for replica in replicas]
    state = await filled.herd_state()
    for replica in replicas:
        await replica.close()
    return {
        "client": HERD_CLIENT,
        "budget_per_s": _RATE_PER_S,
        "background_share_per_s": _RATE_PER_S // 2,
        "seconds": round(took_s, 1),
        "requests": len(provider.times),
        "refresh_tokens_presented_twice": len(provider.times) - len(provider.presented),
        "requests_in_the_busiest_second": _busiest(provider.times, 1.0),
        "requests_in_the_busiest_10_s": _busiest(provider.times, 10.0),
        "refreshed_by_replica": refreshed,
        "new_tokens_stored_before_the_end": state["in_time"],
        "left_to_callers": sum(replica.ahead.counts.left_to_callers for replica in replicas),
        "step_ms_median": round(statistics.median(tick_ms), 1),
        "step_ms_max": round(max(tick_ms), 1),
        "rss_mb_before": rss_before,
        "rss_mb_max": max(rss),
        "database_per_refresh": {
            name: round((after[name] - before[name]) / len(provider.times), 1) for name in before
        },
    }


def _busiest(times: Sequence[float], window_s: float) -> int:
    """The most requests in any window of this length."""
    ordered, first, most = sorted(times), 0, 0
    for last, moment in enumerate(ordered):
        while ordered[first] <= moment - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


if __name__ == "__main__":
    main()
