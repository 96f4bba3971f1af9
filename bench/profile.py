"""Where the time of a call goes: py-spy on the service under load, grouped by what it works for.

``python -m bench.profile PATH_OF_PY_SPY`` (py-spy is no dependency: install it beside). Samples
hold the interpreter's lock, so the kernel and the C core's own threads are not in them; what
happens inside grpc's compiled code shows as the event loop's handle.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.deployment import deployment

# The first that is found in a stack, from the innermost frame outwards, has the sample.
_PARTS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("record: SQL, driver and pool", ("Database.", "asyncpg/")),
    ("record: gathering and columns", ("gather.py", "postgres/audit.py", "postgres/rows.py")),
    ("record: making it", ("recorder.py",)),
    ("log line", ("telemetry.py", "structlog/", "_log_outcome")),
    ("envelope: open, fingerprint", ("vault_service/crypto/",)),
    ("policy and tenant", ("gate.py", "cedar.py")),
    ("row from memory", ("known_grants.py",)),
    ("request, reply and names", ("token_servicer.py", "translate.py", "names.py", "fields.py")),
    ("identity, budget, ids", ("handling.py", "caller.py", "clock.py", "timeouts.py")),
    ("use case", ("get_access_token.py",)),
    ("event loop and gRPC", ("",)),
)


def main() -> None:
    """Load the service, sample it, print shares."""
    with deployment(64) as deployed, tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "stacks"
        argv = [
            sys.argv[1], "record", "-p", str(deployed.pids["vault"]), "-d", "10", "-r", "200",
            "-f", "raw", "-F", "--gil", "-o", str(out),
        ]  # fmt: skip
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as spy:
            deployed.load("vault", connections=16, streams=4, measure_s=12)
            spy.wait()
        shares = Counter[str]()
        for line in out.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            shares[_part(stack.split(";"))] += int(count)
    total = sum(shares.values())
    for part, count in shares.most_common():
        print(f"{100 * count / total:5.1f} %  {part}")


def _part(stack: Sequence[str]) -> str:
    for frame in reversed(stack):
        for part, marks in _PARTS[:-1]:
            if any(mark in frame for mark in marks):
                return part
    return _PARTS[-1][0]


if __name__ == "__main__":
    main()
