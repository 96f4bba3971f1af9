"""``python -m tests.campaigns.all``: one campaign after another, each that has no clean result of
this state of the source.

Stopped and started again it goes on with the first that is missing; the kill matrix goes on inside.
Each is a process of its own. Exit status 1 when one of them failed or had no time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from tests.campaigns.results import SOURCE, is_done

# The longest last; the kill matrix keeps its own result, and how far it has come.
NAMES = ("cancelled", "clocks", "outage", "race", "away")
_KILLS = "kill_matrix"
_STOP_S = 30.0


def main() -> None:
    """As the module says."""
    options = _options()
    wanted = [*NAMES, *([_KILLS] if options.kills else [])]
    failed = []
    for name in options.only or wanted:
        if name != _KILLS and is_done(name) and not options.again:
            print(f"{name}: there is a clean result of {SOURCE}", flush=True)
            continue
        started = time.monotonic()
        status = _run(name, options.limit_s)
        took_s = time.monotonic() - started
        print(f"{name}: {'ok' if status == 0 else 'FAILED'}, {took_s:.0f} s", flush=True)
        failed += [name] * (status != 0)
    sys.exit(1 if failed else 0)


def _run(name: str, limit_s: float) -> int:
    """Its exit status."""
    if name == _KILLS:
        argv = ["tests.campaigns.kill_matrix", "--limit-s", f"{limit_s:g}"]
    else:
        file = f"tests/campaigns/test_{name}.py"
        argv = ["pytest", "-q", "-m", "long", file, "--timeout", f"{limit_s:g}"]
    with subprocess.Popen([sys.executable, "-m", *argv]) as process:
        try:
            # What it has begun it ends by itself where it can.
            return process.wait(limit_s + _STOP_S if name != _KILLS else None)
        except subprocess.TimeoutExpired:
            process.terminate()
            return process.wait(_STOP_S)
        except KeyboardInterrupt:
            process.terminate()
            process.wait(_STOP_S)
            raise


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.all")
    parser.add_argument("--only", nargs="*", choices=(*NAMES, _KILLS), help="these, in this order")
    parser.add_argument("--kills", action="store_true", help="the kill matrix too, at the end")
    parser.add_argument("--again", action="store_true", help="also what has a result already")
    parser.add_argument("--limit-s", type=float, default=3_600.0, help="of each campaign")
    return parser.parse_args()


if __name__ == "__main__":
    main()
