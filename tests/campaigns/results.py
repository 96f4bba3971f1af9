"""Keeps what a campaign found in bench/results/."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

_FOLDER = Path(__file__).parents[2] / "bench" / "results"


def keep(name: str, what: str, command: str, result: object) -> None:
    """Write ``name``.json: what was run, how to run it again, where, and what came of it."""
    document = {
        "what": what,
        "command": command,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "result": result,
    }
    (_FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
