"""One tenant's refresh, alone and beside what another tenant lets hang, with shares and without.

289 exchanges of codes of one tenant hang at a provider for some seconds each, or the look-ups of
eight names do. Meanwhile another tenant's refresh, or a request to another name, is timed. Without
shares is what this was before ADR 0027: whoever comes takes one of 100 connections, and look-ups
use the eight threads of one executor. The whole service over fakes, with the real HTTP client and a
TLS server in one process. Believe the ratios of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.get_access_token import _commit, _machine
from tests.fakes.https_server import DevCertificates, make_certificates, serve
from tests.support.house import House
from tests.support.two_tenants import (
    THEIRS,
    OverEgress,
    Provider,
    both_registered,
    exchanges,
    expired_grant,
)
from vault_service.adapters.oauth.token_endpoint import OAuthTokenEndpoint
from vault_service.domain import limits
from vault_service.egress.client import HttpClient
from vault_service.egress.guard import EgressGuard
from vault_service.egress.lookups import Lookups
from vault_service.egress.resolver import Lookup
from vault_service.usecases.shares import Shares

_RESULT = Path(__file__).parent / "results" / "tenants.json"
_CONNECTIONS_BEFORE = 100
_THREADS_BEFORE = 8
_SILENT = 8
_Rounds = dict[str, list[float]]


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--hang-s", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        certificates = make_certificates(Path(folder))
        refresh = asyncio.run(_rounds(_refresh_ms, certificates, options))
        lookup = asyncio.run(_rounds(_lookup_ms, certificates, options))
    result = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "method": f"{options.rounds} interleaved rounds, medians in ms and medians of the rounds' "
        f"ratios to alone; each hanging request or look-up takes {options.hang_s:g} s; timed when "
        "as many hang as may",
        "machine": _machine(),
        "python": platform.python_version(),
        "refresh_beside_289_hanging_exchanges": _judged(refresh),
        "request_beside_8_silent_lookups": _judged(lookup),
    }
    _RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


async def _rounds(
    timed: Callable[[DevCertificates, bool, bool, float], Awaitable[float]],
    certificates: DevCertificates,
    options: argparse.Namespace,
) -> _Rounds:
    kinds = {"alone": (False, True), "shares": (True, True), "no_shares": (True, False)}
    rounds: _Rounds = {kind: [] for kind in kinds}
    for number in range(options.rounds):
        # Each kind comes first now and then: who is first finds caches cold.
        for kind in (*kinds,) if number % 2 else reversed(kinds):
            attacked, shared = kinds[kind]
            taken = await timed(certificates, attacked, shared, options.hang_s)
            rounds[kind].append(taken)
    return rounds


def _judged(rounds: _Rounds) -> dict[str, Any]:
    def ratio(kind: str) -> float:
        pairs = zip(rounds[kind], rounds["alone"], strict=True)
        return round(statistics.median(mine / alone for mine, alone in pairs), 2)

    return {
        "ms": {kind: round(statistics.median(each), 2) for kind, each in rounds.items()},
        "ratio_to_alone": {"before": ratio("no_shares"), "after": ratio("shares")},
        "wanted": "after <= 2",
    }


class _Slow(Provider):
    """Lets go of each request by itself."""

    def __init__(self, hang_s: float) -> None:
        super().__init__()
        self._hang_s = hang_s

    async def wait(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.let.wait(), self._hang_s)


async def _refresh_ms(
    certificates: DevCertificates, attacked: bool, shared: bool, hang_s: float
) -> float:
    provider = _Slow(hang_s)
    async with serve(provider, certificates) as server:
        endpoint = OverEgress()
        house = House(endpoint=endpoint)
        house.spool._slots = limits.SPOOL_SLOTS_MAX  # connections are what is short
        await both_registered(house, server.authority)
        theirs = await expired_grant(house, THEIRS)
        attack = await exchanges(house) if attacked else []
        http = HttpClient(EgressGuard([server.authority]), certificates.ca_file)
        endpoint.real = OAuthTokenEndpoint(http, house.clock)
        if not shared:
            http._pool._places = asyncio.Semaphore(_CONNECTIONS_BEFORE)
        with nullcontext() if shared else patch.object(Shares, "_may_enter", lambda *_: True):
            tasks = [asyncio.create_task(one) for one in attack]
            if tasks:
                at_once = limits.CONSENT_PLACES_MAX // 2
                await provider.hang(at_once if shared else _CONNECTIONS_BEFORE)
            began = time.perf_counter()
            await house.token(theirs.name)
            taken_ms = (time.perf_counter() - began) * 1e3
            provider.let.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await house.flights.drain(0)
        await http.close()
    return taken_ms


async def _lookup_ms(
    certificates: DevCertificates, attacked: bool, shared: bool, hang_s: float
) -> float:
    over = threading.Event()

    def resolve(host: str, port: int) -> Sequence[str]:
        if host.startswith("silent"):
            over.wait(hang_s)
        return ["127.0.0.1"]

    async with serve(Provider(), certificates) as server:
        theirs = f"pinned.test:{server.port}"
        silent = [f"silent-{number}.test:{server.port}" for number in range(_SILENT)]
        lookup = Lookups(resolve) if shared else _in_one_executor(resolve)
        guard = EgressGuard([theirs, *silent])
        http = HttpClient(guard, certificates.ca_file, lookup=lookup)
        names = silent if attacked else []
        tasks = [asyncio.create_task(http.post_form(f"https://{one}/x", {})) for one in names]
        await asyncio.sleep(0)
        began = time.perf_counter()
        await http.post_form(f"https://{theirs}/token", {})
        taken_ms = (time.perf_counter() - began) * 1e3
        over.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await http.close()
    return taken_ms


def _in_one_executor(resolve: Callable[[str, int], Sequence[str]]) -> Lookup:
    threads = ThreadPoolExecutor(_THREADS_BEFORE)

    async def lookup(host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, resolve, host, port)

    return lookup


if __name__ == "__main__":
    main()
