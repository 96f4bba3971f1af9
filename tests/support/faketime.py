"""Another wall clock for one process, by libfaketime from PyPI; its monotonic clock stays as it is.

The wheel has one library, for x86-64 and glibc. Where it cannot be loaded the tests skip.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

_LIBRARY = Path("vendor/libfaketime/src/libfaketime.so.1")
_DAY_S = 86_400


def require_faketime() -> Path:
    """Where the library is; skips the test where it does not work."""
    # Not imported: the package looks at the environment of the process that imports it.
    spec = importlib.util.find_spec("libfaketime")
    if spec is None or spec.origin is None:
        pytest.skip("libfaketime is not installed")
    library = Path(spec.origin).parent / _LIBRARY
    probe = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env=dict(os.environ) | faked(library, "+1d"),
        capture_output=True,
        text=True,
        check=False,
    )
    told = probe.stdout.strip()
    shifted = told and float(told) - time.time() > _DAY_S / 2
    if not shifted or probe.stderr:
        pytest.skip(f"libfaketime does not work on this machine: {probe.stderr.strip()[:200]}")
    return library


def faked(library: Path, offset: str) -> dict[str, str]:
    """The variables of a process whose wall clock is off by this ("+1d", "-1d")."""
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # File times as they are: they are compared with those of other processes.
        "NO_FAKE_STAT": "1",
    }


def faked_by(library: Path, file: Path) -> dict[str, str]:
    """As ``faked``, by an offset in a file that may change: the clock jumps within a second."""
    variables = faked(library, "+0") | {
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
    }
    del variables["FAKETIME"]
    return variables
