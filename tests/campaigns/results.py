"""Keeps what a campaign found in bench/results/, with the state of the source that it was about."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = _ROOT / "bench" / "results"
# The service, its client, and all that plays the campaigns.
_SOURCES: Final = ("vault_service", "clients/python", "tests/campaigns", "tests/support")
_SUFFIXES: Final = frozenset({".py", ".sql", ".cedarschema", ".json", ".toml"})


def source_digest() -> str:
    """One for the state of the source, so that results of two states are never taken for one."""
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for file in sorted((_ROOT / folder).rglob("*")):
            if file.suffix in _SUFFIXES and file.is_file():
                name = str(file.relative_to(_ROOT)).encode()
                digest.update(name + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


SOURCE: Final = source_digest()  # as it was when this process took it in


def keep(name: str, what: str, command: str, result: object, *, clean: bool) -> None:
    """Write ``name``.json: what was run, how to run it again, where, and what came of it.

    ``clean``: whether it found nothing wrong.
    """
    document = {
        "what": what,
        "command": command,
        "source": SOURCE,
        "machine": machine(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "clean": clean,
        "result": result,
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def machine() -> str:
    """What it ran on."""
    return f"{platform.machine()}, {os.cpu_count()} cores, shared"


def is_done(name: str) -> bool:
    """Whether there is a clean result of this state of the source."""
    file = FOLDER / f"{name}.json"
    if not file.exists():
        return False
    known = json.loads(file.read_text())
    return known.get("source") == SOURCE and known.get("clean") is True
