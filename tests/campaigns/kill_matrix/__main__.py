"""``python -m tests.campaigns.kill_matrix``: chunks until there are enough runs."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.campaigns.kill_matrix.scaling import scale_engine

if TYPE_CHECKING:
    from tests.campaigns.kill_matrix.tally import Tally

_RESULT = Path(__file__).parents[3] / "bench" / "results" / "kill_matrix.json"
_WRITE_S = 30.0
_SHOWN = (
    "runs",
    "runs_without_ledger",
    "loss",
    "loss_outside_window",
    "never_resolved",
    "double_posts",
    "by_group",
)


def main() -> None:
    """Exit status 1 when something was lost outside the window, or is unresolved."""
    options = _options()
    # Before anything of the engine is imported: what has taken a constant over keeps it.
    scale_engine(options.scale)
    from tests.campaigns.kill_matrix import tally
    from vault_service.telemetry import configure_logging

    # Stopped is stopped in order: a server that nobody ends outlives us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    configure_logging("error", json=False)
    known = tally.read(options.resume, options.seed)
    end = time.monotonic() + options.limit_s
    while known.runs < options.runs and time.monotonic() < end:
        left_s = min(options.chunk_s, end - time.monotonic())
        _chunk(known, options, left_s)
        tally.write(known, options.resume)
    facts = known.facts
    print(json.dumps({name: facts[name] for name in _SHOWN}, indent=1))
    bad = facts["loss_outside_window"] or facts["never_resolved"] or facts["double_posts"]
    sys.exit(1 if bad else 0)


def _chunk(known: Tally, options: argparse.Namespace, limit_s: float) -> None:
    from tests.campaigns.kill_matrix import tally
    from tests.campaigns.kill_matrix.campaign import Chunk, run_chunk

    started = time.monotonic()
    runs = options.runs - known.runs
    chunk = Chunk(
        known.next,
        runs,
        limit_s,
        options.seed,
        options.slots,
        options.transit,
        frozenset(filter(None, options.kinds.split(","))),
        frozenset(filter(None, options.groups.split(","))),
        tuple(known.facts["under_way"]),
    )
    done, written_s = 0, started

    def note(result: dict[str, Any], under_way: list[int]) -> None:
        nonlocal done, written_s
        done += 1
        known.count(chunk, result, under_way)
        if (now := time.monotonic()) - written_s > _WRITE_S:
            written_s = now
            tally.write(known, options.resume)
            rate = done / (now - started)
            print(f"{done} runs, {rate:.1f} a second", file=sys.stderr, flush=True)

    databases = run_chunk(chunk, note)
    known.end(chunk, done, databases, time.monotonic() - started)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.kill_matrix")
    parser.add_argument("--runs", type=int, default=10_000, help="in all, with those of the file")
    parser.add_argument("--chunk-s", type=float, default=86_400.0)
    parser.add_argument("--limit-s", type=float, default=86_400.0, help="of this call, in chunks")
    parser.add_argument("--resume", type=Path, default=_RESULT, help="the file to go on with")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slots", type=int, default=80)
    parser.add_argument("--scale", type=float, default=0.5, help="of all times of the engine")
    parser.add_argument("--kinds", default="", help="of providers: n,m,g-60; none: all")
    parser.add_argument("--groups", default="", help="of runs: plain,odd; none: all")
    parser.add_argument("--transit", action="store_true", help="every process asks OpenBao itself")
    return parser.parse_args()


if __name__ == "__main__":
    main()
